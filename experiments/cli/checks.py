"""Checks of settings, with errors that name the option of the command line."""

import math
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

# Returns what a value must, as the rest of "it must", or nothing if it does so.
Rule = Callable[[Any], str]

# The largest count of a backend, in 32 bits.
MOST = 2**31 - 1
# A sheet of Excel has 2**20 rows, and a run may have two phases.
MOST_EPOCHS = 500_000
# Of one network: 8 GiB in float32, beside gradients and moments of the same size.
MOST_WEIGHTS = 2**31


def must(holds: Callable[[Any], bool], allowed: str) -> Rule:
    """The rule that a condition holds."""
    return lambda value: "" if holds(value) else allowed


def count(least: int = 1, most: int = MOST) -> Rule:
    """The rule for a number of things."""

    def rule(value: int) -> str:
        if value < least:
            return f"be at least {least}"
        return f"be at most {most}" if value > most else ""

    return rule


EPOCHS = count(most=MOST_EPOCHS)
POSITIVE = must(lambda x: math.isfinite(x) and x > 0, "be a positive number")
NOT_NEGATIVE = must(
    lambda x: math.isfinite(x) and x >= 0, "be a number that is not negative"
)
SHARE = must(lambda x: 0 < x < 1, "lie in (0, 1)")
SHARE_OR_ALL = must(lambda x: 0 < x <= 1, "lie in (0, 1]")
SHARE_OR_NONE = must(lambda x: 0 <= x < 1, "lie in [0, 1)")


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


def require(condition: bool, settings: object, name: str, allowed: str) -> None:
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


def few_weights(settings: object, count: int, *sizes: str) -> None:
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


def one_of(settings: object, name: str, allowed: Collection[str]) -> None:
    """Raises `ValueError` unless a setting is one of some words."""
    valid = getattr(settings, name) in allowed
    require(valid, settings, name, f"be one of {', '.join(map(str, allowed))}")


def option(name: str) -> str:
    """The command-line option of a setting."""
    return "--" + name.replace("_", "-")
