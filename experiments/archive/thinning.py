"""Copies of logs with fewer epochs: small enough to be kept beside the code."""

from pathlib import Path

from dlrt.callbacks import read_history
from dlrt.history import atomic_file, contents, workbook
from dlrt_names.log_schema import EPOCH, SESSION
from experiments.archive.archived_tests import ArchivedTest
from experiments.runs.log_format import LOGS

# The first epochs, in which much happens, are all kept.
_FIRST = 10
# Entries of a log on the machine, not on the training.
_LEFT_OUT = ("platform", SESSION)


def thin(test: ArchivedTest, target: Path, every: int) -> list[Path]:
    """Writes copies of the workbooks of a test into a folder, and returns their paths.

    They keep the first ten epochs, each one whose number is a multiple of `every`, and
    the last, in all sheets.

    Raises:
        FileExistsError: If one of them is there already.
    """
    written = []
    for path in test.workbooks():
        rows, configuration = read_history(path)
        kept = [
            row
            for row in rows
            if row[EPOCH] <= _FIRST or row[EPOCH] % every == 0 or row is rows[-1]
        ]
        epochs = {row[EPOCH] for row in kept}
        tables = contents.keep(workbook.read_tables(path), epochs.__contains__)
        for key in _LEFT_OUT:
            configuration.pop(key, None)
        copy = target / test.folder.name / LOGS / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.create(copy, workbook.render(kept, configuration, tables))
        written.append(copy)
    return written
