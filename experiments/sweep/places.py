"""Where the workbooks of a sweep are, while they grow and when they are finished.

    <root>/<test>Run<k>/historyLogs/<name>.xlsx                  growing
    <root>/<test>Run<k>/checkpoints/<name>.keras                 to continue from
    <root>/finishedTests/<test>Run<k>/historyLogs/<name>.xlsx    5K-1K, finished
    <root>/finishedTestsFullSet/...                              all images, finished
    <root>/wrongTests/...                                        failed or diverged

A workbook moves by itself, so that sweeps which share a test don't wait for each other.
"""

from pathlib import Path

from dlrt.history import atomic_file
from experiments.archive import moves
from experiments.archive.archived_tests import CHECKPOINTS, Place, choose_place
from experiments.runs import checkpoints, names
from experiments.runs.log_format import LOGS, REASON
from experiments.sweep.grid import Network


class Places:
    """The files of one network.

    Args:
        root: Folder of the archive.
        network: The network.

    Attributes:
        growing: The workbook while the network is trained.
        finished: The workbook when it is complete.
        wrong: The workbook when training has failed.
        checkpoint: The model to continue from.
    """

    def __init__(self, root: Path, network: Network) -> None:
        test, self._name = network.test, network.name
        log = Path(test, LOGS, f"{network.name}.xlsx")
        self.growing = root / log
        self.finished = root / choose_place(names.parse(test)) / log
        self.wrong = root / Place.WRONG / log
        self.checkpoint = root / test / CHECKPOINTS / f"{network.name}.keras"

    def state(self) -> str:
        """`"finished"`, `"wrong"`, `"begun"` or `"new"`."""
        # In this order: a workbook only moves from the first place to the others.
        begun = self.growing.exists()
        if self.finished.exists():
            return "finished"
        if self.wrong.exists():
            return "wrong"
        return "begun" if begun else "new"

    def finish(self) -> None:
        """Moves the complete workbook to its place."""
        self._move(self.finished)

    def reject(self, reason: str) -> None:
        """Moves the workbook of a failed training away, and notes why."""
        note = self.wrong.parent.parent / REASON
        note.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.check(note)
        with open(note, "a", encoding="utf-8") as file:
            file.write(f"{self._name}: {' '.join(reason.split())}\n")
        self._move(self.wrong)

    def _move(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise FileExistsError(f"a finished log is never overwritten: {target}")
        if self.growing.exists():
            moves.move(self.growing, target)
        self.tidy()

    def tidy(self) -> None:
        """Removes what a finished network, or a killed process, has left behind."""
        self.checkpoint.unlink(missing_ok=True)
        checkpoints.remove_leftovers(self.checkpoint.parent, self._name)
        logs = self.growing.parent
        if logs.is_dir():
            atomic_file.remove_leftovers(self.growing)
        for folder in (logs, self.checkpoint.parent, logs.parent):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                # Another network's workbook keeps the first one, and so all of them.
                return
