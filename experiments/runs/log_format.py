"""Where logs are kept, what is beside them, and when the run of a log is finished.

It needs no backend, so that every reader of logs can use it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlrt_names.log_schema import EPOCH, PHASE, TRAINING_SECONDS

# The folder of a run's workbooks, and that of tests whose training has failed, each of
# which has a file that says why.
LOGS = "historyLogs"
WRONG = "wrongTests"
REASON = "reason.txt"
# The measurements of each network of a compression run, in its folder.
TESTS = "tests.json"

# Files that other programs leave behind: locks of open workbooks, folder settings,
# earlier versions, partial downloads.
_STRAY = re.compile(
    r"[.~$].*|.*~|#.*#|.*\.(bak|tmp|part|crdownload|icloud|lnk|sb-.*)|icon\r|@eadir"
    r"|(eh)?thumbs\.db(:.*)?|desktop\.ini|__macosx|lost\+found"
    r"|system volume information",
    re.IGNORECASE,
)


def is_stray(path: Path) -> bool:
    """Whether a file is one that other programs leave beside workbooks."""
    return _STRAY.fullmatch(path.name) is not None


def workbooks(folder: Path) -> list[Path]:
    """The workbooks in a folder, by name."""
    found = sorted(folder.glob("*.xlsx"))
    return [path for path in found if path.is_file() and not is_stray(path)]


def expected_epochs(
    configuration: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    epochs: int | None = None,
) -> int | None:
    """The last epoch of a finished run, if its log tells.

    Args:
        configuration: The configuration in the log.
        rows: Its epochs.
        epochs: The planned number of epochs, if known from elsewhere than the log.
    """
    if configuration.get("train") is False:
        return None
    minutes = configuration.get("minutes")
    if minutes is not None:
        seconds = sum(row.get(TRAINING_SECONDS) or 0.0 for row in rows)
        if seconds >= 60 * minutes:
            # It ended because its time was up.
            return rows[-1][EPOCH]
    epochs = configuration.get("epochs") if epochs is None else epochs
    fine_tuning = configuration.get("fine_tune_epochs")
    if fine_tuning is None or epochs is None:
        return epochs
    # The adaptive phase ends when ranks have settled, which may be early.
    adaptive = [row[EPOCH] for row in rows if row.get(PHASE) == "adaptive"]
    fixed = any(row.get(PHASE) == "fixed" for row in rows)
    return (adaptive[-1] if fixed and adaptive else epochs) + fine_tuning


def equal(one: Any, other: Any) -> bool:
    """Whether two settings are equal, one of which may be from a workbook.

    Workbooks keep 16 digits of a number.
    """
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other
