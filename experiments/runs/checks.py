"""Checks of the settings that all runs share, with errors that name the option."""

import contextlib
import os
import re

from dlrt_names.data_sets import CORPORA, IMAGES
from experiments.cli.checks import require
from experiments.cli.settings import Settings
from experiments.runs import names
from experiments.runs.log_format import LOGS, WRONG

# What lies in the folder of the runs beside them. Some file systems don't tell upper
# from lower case.
_RESERVED = {
    *("finishedtests", "finishedtestsfullset", WRONG.lower()),
    *("figures", "checkpoints", LOGS.lower()),
}


def check_run(settings: Settings) -> None:
    """Raises `ValueError` if a setting that all experiments share is out of bounds."""
    seed, name = settings.seed, settings.run_name
    require(0 <= seed < 2**32, settings, "seed", "lie between 0 and 2**32 - 1")
    if name is None:
        return
    plain = re.fullmatch(r"\w[\w.+-]*", name) is not None
    own = name.casefold() not in _RESERVED and not _is_test(name)
    for valid, allowed in (
        (plain, "be a folder's name of letters, digits and . _ + -"),
        (len(os.fsencode(name)) <= 255, "have at most 255 bytes"),
        (own, "be another name: this one is for a part of the archive of tests"),
    ):
        require(valid, settings, "run_name", allowed)


def check_sources(settings: Settings) -> None:
    """Raises `ValueError` if the input of a run is missing, as far as is known.

    The library's errors come late and don't name the option.
    """
    for name in ("dataset", "corpus"):
        source = getattr(settings, name, "auto")
        reads_text = name == "corpus" or getattr(settings, "reads_text", False)
        known = CORPORA if reads_text else IMAGES
        found = source in known or os.path.exists(source)
        allowed = f"be one of {', '.join(known)} or a path that exists"
        require(found, settings, name, allowed)
    weights = getattr(settings, "load_model", None)
    # A continued run has read them already.
    found = weights is None or settings.resume or weights.exists()
    require(found, settings, "load_model", "name a file or folder that exists")


def _is_test(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return names.parse(name) is not None
    return False
