"""Checks of settings, with errors that name the option of the command line."""

import math
import os
from collections.abc import Collection
from pathlib import Path

from experiments.cli.settings import Settings

# The largest count of a backend, in 32 bits.
MOST = 2**31 - 1
# A sheet of Excel has 2**20 rows, and a run may have two phases.
MOST_EPOCHS = 500_000
# Of one network: 8 GiB in float32, beside gradients and moments of the same size.
MOST_WEIGHTS = 2**31


def check_log_dir(path: Path) -> None:
    """Raises `OSError` if a folder of runs, which may be new, is not writable."""
    above = path
    while not os.path.exists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise unwritable(path, f"{above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise unwritable(path, f"{above} may not be written to")


def unwritable(log_dir: Path, reason: str) -> OSError:
    """The error for a folder of runs that is not writable."""
    return OSError(
        f"`--log-dir` must be a folder that can be written to: {reason}. Received: "
        f"--log-dir {log_dir}"
    )


def require(condition: bool, settings: Settings, name: str, allowed: str) -> None:
    """Raises `ValueError` unless a condition holds.

    Args:
        condition: Whether a setting is within its bounds.
        settings: All settings.
        name: Name of the setting.
        allowed: The requirement, as the rest of "it must".
    """
    if condition:
        return
    value = getattr(settings, name)
    value = int(value) if isinstance(value, bool) else value
    raise ValueError(
        f"`{option(name)}` must {allowed}. Received: {option(name)} {value}"
    )


def at_least_one(settings: Settings, *counts: str) -> None:
    """Raises `ValueError` unless a setting is a valid count or `None`."""
    for name in counts:
        value = getattr(settings, name)
        if value is None:
            continue
        most = MOST_EPOCHS if name.endswith("epochs") else MOST
        require(value >= 1, settings, name, "be at least 1")
        require(value <= most, settings, name, f"be at most {most}")


def few_weights(settings: Settings, count: int, *sizes: str) -> None:
    """Raises `ValueError` if a network has too many weights.

    Args:
        settings: All settings.
        count: Number of the weights.
        sizes: Names of the settings that determine it.
    """
    if count <= MOST_WEIGHTS:
        return
    allowed, needed = (f"{weights / 2**28:,.1f}" for weights in (MOST_WEIGHTS, count))
    received = " ".join(f"{option(name)} {getattr(settings, name)}" for name in sizes)
    raise ValueError(
        f"{', '.join(f'`{option(name)}`' for name in sizes)} must be smaller: weights "
        f"may take {allowed} GiB in float32, and these would take {needed}. "
        f"Received: {received}"
    )


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
    """The command-line option of a setting."""
    return "--" + name.replace("_", "-")
