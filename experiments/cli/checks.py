"""Checks of settings, with errors that name the option of the command line."""

import math
import os
import re
from collections.abc import Collection
from pathlib import Path

from experiments.cli.settings import Settings
from experiments.runs import names
from experiments.runs.log_format import LOGS, WRONG

# What backends count with, in 32 bits.
MOST = 2**31 - 1
# A sheet of Excel has 2**20 rows, and a run may have two phases.
MOST_EPOCHS = 500_000
# Of one network: 8 GiB in float32, beside gradients and moments of the same size.
MOST_WEIGHTS = 2**31

# What lies in the folder of the runs beside them. Some file systems don't tell upper
# from lower case.
_RESERVED = {
    *("finishedtests", "finishedtestsfullset", WRONG.lower()),
    *("figures", "checkpoints", LOGS.lower()),
}
_MOST_NAME_BYTES = 255

# What `dlrt.datasets` knows by name. Its own errors come late, and don't name the
# option.
_IMAGES = ("auto", "mnist", "fashion_mnist", "cifar10", "digits")
_TEXTS = ("auto", "pt_en", "ted", "phrases")


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
    if run_name is not None:
        require(
            len(os.fsencode(run_name)) <= _MOST_NAME_BYTES,
            settings,
            "run_name",
            f"have at most {_MOST_NAME_BYTES} bytes",
        )
        require(
            run_name.casefold() not in _RESERVED and not _is_test(run_name),
            settings,
            "run_name",
            "be another name: this one is for a part of the archive of tests",
        )


def check_sources(settings: Settings) -> None:
    """Raises `ValueError` if what a run is to read is nowhere, as far as is known."""
    for name in ("dataset", "corpus"):
        source = getattr(settings, name, "auto")
        reads_text = name == "corpus" or getattr(settings, "reads_text", False)
        known = _TEXTS if reads_text else _IMAGES
        found = source in known or os.path.exists(source)
        allowed = f"be one of {', '.join(known)} or a path that exists"
        require(found, settings, name, allowed)
    weights = getattr(settings, "load_model", None)
    # A run that is continued has taken them already.
    found = weights is None or settings.resume or weights.exists()
    require(found, settings, "load_model", "name a file or folder that exists")


def check_log_dir(path: Path) -> None:
    """Raises `OSError` if runs can't be written to a folder, which may be new."""
    above = path
    while not os.path.exists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise unwritable(path, f"{above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise unwritable(path, f"{above} may not be written to")


def unwritable(log_dir: Path, reason: str) -> OSError:
    """The error for a folder of runs that can't be written to."""
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
        allowed: What it must do, as the rest of "it must".
    """
    if condition:
        return
    value = getattr(settings, name)
    value = int(value) if isinstance(value, bool) else value
    raise ValueError(
        f"`{option(name)}` must {allowed}. Received: {option(name)} {value}"
    )


def at_least_one(settings: Settings, *counts: str) -> None:
    """Raises `ValueError` if a setting is no number to count with, unless `None`."""
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
        sizes: Names of the settings that it follows from.
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


def _is_test(name: str) -> bool:
    try:
        names.parse(name)
    except ValueError:
        return False
    return True


def option(name: str) -> str:
    """The command line's word for a setting."""
    return "--" + name.replace("_", "-")
