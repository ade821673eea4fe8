"""Checks of settings, with errors that name the option of the command line."""

import math
import re
from collections.abc import Collection

from experiments._settings import Settings


def check_run(settings: Settings) -> None:
    """Checks the settings that all experiments share.

    Raises:
        ValueError: If one is outside of its bounds.
    """
    seed, run_name = settings.seed, settings.run_name
    require(0 <= seed < 2**32, settings, "seed", "lie between 0 and 2**32 - 1")
    require(
        run_name is None or re.fullmatch(r"\w[\w.+-]*", run_name) is not None,
        settings,
        "run_name",
        "be a folder's name of letters, digits and . _ + -",
    )


def require(condition: bool, settings: Settings, name: str, allowed: str) -> None:
    """Raises `ValueError` unless a condition holds.

    Args:
        condition: Whether a setting is within its bounds.
        settings: All settings.
        name: Name of the setting.
        allowed: What it must do, as the rest of "it must".
    """
    if condition:
        return
    value = getattr(settings, name)
    value = int(value) if isinstance(value, bool) else value
    raise ValueError(
        f"`{option(name)}` must {allowed}. Received: {option(name)} {value}"
    )


def at_least_one(settings: Settings, *names: str) -> None:
    """Raises `ValueError` if one of some settings is below 1, unless it is `None`."""
    for name in names:
        value = getattr(settings, name)
        require(value is None or value >= 1, settings, name, "be at least 1")


def positive(settings: Settings, name: str) -> None:
    """Raises `ValueError` unless a setting is a finite number above 0."""
    value = getattr(settings, name)
    valid = math.isfinite(value) and value > 0
    require(valid, settings, name, "be a positive number")


def one_of(settings: Settings, name: str, allowed: Collection[str]) -> None:
    """Raises `ValueError` unless a setting is one of some words."""
    valid = getattr(settings, name) in allowed
    require(valid, settings, name, f"be one of {', '.join(allowed)}")


def option(name: str) -> str:
    """The command line's word for a setting."""
    return "--" + name.replace("_", "-")
