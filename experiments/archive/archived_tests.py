"""The archive of tests: where a test lies, what state it is in, and its moves.

Under the root, active tests lie directly; a finished test is moved to the folder of its
kind, and one that failed or diverged to `wrongTests`, with a `reason.txt`. Every move
is one rename, so that only one of several processes succeeds and nothing is
overwritten. A process that trains a network has claimed it, see `claims`.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dlrt.history import atomic_file
from experiments.archive import archived_logs, moves
from experiments.archive.archived_logs import Log, State
from experiments.archive.claims import any_held
from experiments.runs import log_format, names
from experiments.runs.log_format import LOGS, REASON, is_stray
from experiments.runs.names import Name

CHECKPOINTS = "checkpoints"
_TEST = re.compile(r"test.*dim", re.IGNORECASE)
# Logs of single runs, which share the folder, are named after their network.
_SINGLE_RUN = re.compile(r"(dense|low-rank)-\d+x\d+-.+\.xlsx")
# A test that failed again is put beside the first one.
_AGAIN = re.compile(r"\.\d+$")


class Place(StrEnum):
    """The folders under the root."""

    ACTIVE = ""
    FINISHED = "finishedTests"
    FINISHED_FULL_SET = "finishedTestsFullSet"
    WRONG = log_format.WRONG


FINISHED = Place.FINISHED, Place.FINISHED_FULL_SET


@dataclass(frozen=True)
class ArchivedTest:
    """A test somewhere in the archive: its folder, and the place that this lies in."""

    folder: Path
    place: Place

    @property
    def name(self) -> Name | None:
        """Its parsed name; `None` if it does not follow the grammar."""
        text = self.folder.name
        if self.place is Place.WRONG:
            text = _AGAIN.sub("", text)
        with contextlib.suppress(ValueError):
            return names.parse(text)
        return None

    def workbooks(self) -> list[Path]:
        """Its workbooks, by their numbers."""
        paths = log_format.workbooks(self.folder / LOGS)
        return sorted(paths, key=lambda path: (len(path.stem), path.stem))

    def logs(self) -> list[Log]:
        """Reads all its workbooks, which takes a while.

        Workbooks that another process moves meanwhile are left out.
        """
        found, called_test = [], _is_called_test(self.folder)
        for path in self.workbooks():
            with contextlib.suppress(FileNotFoundError):
                found.append(archived_logs.read(path, self.name, called_test))
        return found

    def size(self) -> int:
        """Number of bytes in its files."""
        count = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                count += path.stat().st_size if path.is_file() else 0
        return count


def choose_place(name: Name) -> Place:
    """Where a test with this name belongs when it is finished."""
    return Place.FINISHED if name.dataset_size < 1 else Place.FINISHED_FULL_SET


def list_tests(root: Path) -> list[ArchivedTest]:
    """All tests, by place and name.

    Single runs and other folders, figures for instance, may lie beside active tests.
    """
    return [
        ArchivedTest(folder, place)
        for place in Place
        for folder in sorted((root / place).glob("*"))
        if folder.is_dir() and not is_stray(folder)
        if place is not Place.ACTIVE or _is_test(folder)
    ]


def judge(logs: Iterable[Log]) -> State:
    """The state of a test: the worst of its logs; unfinished without any."""
    return archived_logs.worst((log.state for log in logs), State.UNFINISHED)


def finish(root: Path, folder: Path) -> Path:
    """Moves a finished test to its place, and returns its new folder.

    If a test of that name is there already, missing workbooks are added to it.

    Raises:
        ValueError: If the test is not finished.
        Refusal: If a workbook is there already with other content, and both stay, or
            if another process has moved the test.
    """
    name = names.parse(folder.name)
    state = judge(ArchivedTest(folder, Place.ACTIVE).logs())
    with moves.losing_race(folder):
        os.stat(folder)
    if state is not State.FINISHED:
        raise ValueError(
            f"`folder` must be a test whose cells are all finished. Received: "
            f"{folder}, which is {state}"
        )
    return moves.relocate(folder, root / choose_place(name) / folder.name)


def reject(root: Path, folder: Path, reason: str) -> Path:
    """Moves a test that failed to `wrongTests`, with the reason in `reason.txt`.

    Returns:
        Its new folder, with a number at the end if the name is taken.
    """
    with moves.losing_race(folder):
        atomic_file.replace(folder / REASON, f"{reason.strip()}\n".encode())
    target, number = root / Place.WRONG / folder.name, 1
    target.parent.mkdir(parents=True, exist_ok=True)
    while not moves.rename(folder, target):
        number += 1
        target = target.with_name(f"{folder.name}.{number}")
    return target


def in_use(folder: Path) -> bool:
    """Whether another process trains a network of a test."""
    files = [*(folder / LOGS).glob("*.xlsx"), *(folder / CHECKPOINTS).glob("*.keras")]
    stems = {path.stem for path in files if not is_stray(path)}
    return any_held(folder.parent, (f"{folder.name}/{stem}" for stem in stems))


def is_left_behind(folder: Path) -> bool:
    """Whether only files of other programs are left, as after a test has moved."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return bool(files) and all(map(is_stray, files))


def _is_called_test(folder: Path) -> bool:
    """Whether a folder has the name of a test, even an old one."""
    return _TEST.search(folder.name) is not None


def _is_test(folder: Path) -> bool:
    if folder.name in list(Place) or is_left_behind(folder):
        return False
    logs = [path.name for path in (folder / LOGS).glob("*") if not is_stray(path)]
    single = any(map(_SINGLE_RUN.fullmatch, logs))
    return _is_called_test(folder) or bool(logs and not single)
