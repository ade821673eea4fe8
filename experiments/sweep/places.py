"""Where the workbooks of a sweep are, while they grow and when they are finished.

    <root>/<test>Run<k>/historyLogs/<name>.xlsx                  growing
    <root>/<test>Run<k>/checkpoints/<name>.keras                 to continue from
    <root>/finishedTests/<test>Run<k>/historyLogs/<name>.xlsx    5K-1K, finished
    <root>/finishedTestsFullSet/...                              all images, finished
    <root>/wrongTests/...                                        failed or diverged

A workbook moves by itself, so that sweeps which share a test don't wait for each other.
"""

from dataclasses import dataclass
from pathlib import Path

from dlrt.history import atomic_file
from experiments.archive import moves
from experiments.archive.archived_tests import CHECKPOINTS, Place, choose_place
from experiments.runs import checkpoints, names
from experiments.runs.log_format import LOGS, REASON
from experiments.sweep.grid import Network


@dataclass(frozen=True)
class Places:
    """The files of one network.

    Args:
        root: Folder of the archive.
        network: The network.
    """

    root: Path
    network: Network

    @property
    def growing(self) -> Path:
        """The workbook while the network is trained."""
        return self._log(self.root)

    @property
    def finished(self) -> Path:
        """The workbook when it is complete."""
        return self._log(self.root / choose_place(names.parse(self.network.test)))

    @property
    def wrong(self) -> Path:
        """The workbook when training has failed."""
        return self._log(self.root / Place.WRONG)

    @property
    def checkpoint(self) -> Path:
        """The model to continue from."""
        folder = self.root / self.network.test / CHECKPOINTS
        return folder / f"{self.network.name}.keras"

    def _log(self, place: Path) -> Path:
        return place / self.network.test / LOGS / f"{self.network.name}.xlsx"

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
            file.write(f"{self.network.name}: {' '.join(reason.split())}\n")
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
        checkpoints.remove_leftovers(self.checkpoint.parent, self.network.name)
        if self.growing.parent.is_dir():
            atomic_file.remove_leftovers(self.growing)
        for folder in (
            self.growing.parent,
            self.checkpoint.parent,
            self.growing.parent.parent,
        ):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                # Another network's workbook keeps the first one, and so all of them.
                return
