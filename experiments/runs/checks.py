"""Checks of the settings that all runs share, with errors that name the option."""

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
_MOST_NAME_BYTES = 255


def check_run(settings: Settings) -> None:
    """Checks the settings that all experiments share.

    Raises:
        ValueError: If one is out of bounds.
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
    try:
        names.parse(name)
    except ValueError:
        return False
    return True
