"""Every problem of the archive, for `validate`, and what `repair` does about it."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlrt.history import atomic_file
from experiments.archive import archived_tests, old_names
from experiments.archive.archived_cells import Cell, Problem, State
from experiments.archive.archived_tests import ArchivedTest, Place
from experiments.runs.log_format import LOGS, REASON, is_stray
from experiments.runs.names import Name

# A writer has its temporary file for moments; an older one belongs to nobody.
_ABANDONED = 600.0


@dataclass(frozen=True)
class Repair:
    """Something that `repair` does.

    Args:
        text: What it does, as a sentence.
        act: Does it.
    """

    text: str
    act: Callable[[], object]


def problems(root: Path, found: Iterable[ArchivedTest]) -> Iterator[Problem]:
    """Names what is wrong in the tests that were found under a root."""
    known: dict[tuple[Name | None, str], Path] = {}
    yield from (_left(path) for path in leftovers(root))
    for test in found:
        if test.place is Place.WRONG:
            if not (test.folder / REASON).is_file():
                yield Problem(test.folder, f"there is no {REASON}")
            continue
        if test.folder.is_dir():
            cells = test.cells()
            if not (cells and all(cell.run for cell in cells)):
                yield from _of_name(test)
            yield from _of_folder(test)
            yield from _of_cells(test, cells)
        for path in test.workbooks() if test.name is not None else ():
            # A test in work has its finished cells elsewhere, but none in two places.
            first = known.setdefault((test.name, path.stem), path)
            if first != path:
                yield Problem(path, f"the same cell of the same run is {first}")


def repairs(root: Path, found: Iterable[ArchivedTest]) -> Iterator[Repair]:
    """What can be done without losing anything, in the order to do it.

    A test in use is left alone, and so is one that a person must decide about.
    """
    for path in leftovers(root):
        yield Repair(f"remove {path}", partial(path.unlink, missing_ok=True))
    for test in found:
        if test.place is Place.WRONG or test.name is None:
            continue
        if archived_tests.in_use(test.folder):
            continue
        cells = test.cells()
        state = archived_tests.state_of(cells)
        folder, place = test.folder, archived_tests.place_of(test.name)
        if state in (State.DAMAGED, State.DIVERGED):
            reason = "\n".join(
                str(problem)
                for cell in cells
                for problem in cell.problems
                if problem.state is not None
            )
            text = f"move {folder} to {root / Place.WRONG}: {reason.splitlines()[0]}"
            yield Repair(text, partial(archived_tests.reject, root, folder, reason))
        elif state is State.FINISHED and test.place is not place:
            text = f"move {folder} to {root / place}: it is finished"
            yield Repair(text, partial(archived_tests.finish, root, folder))


def leftovers(root: Path) -> list[Path]:
    """Temporary files of writers that were killed."""
    now = time.time()
    found = []
    for path in sorted(root.rglob(".*.tmp*")):
        try:
            age = now - path.stat().st_mtime
        except FileNotFoundError:
            continue
        if atomic_file.goal(path) and age > _ABANDONED:
            found.append(path)
    return found


def _of_name(test: ArchivedTest) -> Iterator[Problem]:
    folder, name = test.folder, test.name
    if name is None:
        yield Problem(folder, _unnamed(folder.name))
    elif test.place not in (Place.ACTIVE, archived_tests.place_of(name)):
        yield Problem(folder, f"it belongs to {archived_tests.place_of(name)}")


def _of_folder(test: ArchivedTest) -> Iterator[Problem]:
    folder = test.folder
    logs = folder / LOGS
    if not test.workbooks() and not archived_tests.in_use(folder):
        yield Problem(folder, "there is no workbook")
    if logs.is_dir():
        for path in sorted(logs.glob("*")):
            if is_stray(path):
                continue
            if path.suffix == ".csv":
                yield Problem(path, "is no workbook; `convert` makes one of it")
            elif path.suffix != ".xlsx" or not path.is_file():
                yield Problem(path, "is no workbook")


def _of_cells(test: ArchivedTest, cells: Iterable[Cell]) -> Iterator[Problem]:
    finished = set()
    in_use = archived_tests.in_use(test.folder)
    for cell in cells:
        yield from cell.problems
        if cell.state is State.FINISHED:
            finished.add(cell.path.stem)
        elif cell.state is State.UNFINISHED and test.name is not None:
            if cell.epochs == 0 and not in_use:
                yield Problem(cell.path, "there is no epoch in it")
            elif test.place is not Place.ACTIVE:
                yield Problem(cell.path, _short(cell))
    for path in sorted(test.folder.rglob("*")):
        stem = path.name.removeprefix(".").rsplit(".", 1)[0]
        if path.suffix == ".keras" and stem in finished and not in_use:
            yield Problem(path, "it is left over from a cell that is finished")


def _short(cell: Cell) -> str:
    return (
        f"it ends at epoch {cell.epochs} of {cell.wanted}, but lies with finished ones"
    )


def _left(path: Path) -> Problem:
    return Problem(path, "it is the rest of a killed writer; `repair` removes it")


def _unnamed(text: str) -> str:
    try:
        return f"the name is an old one; `convert` makes {old_names.modern(text)} of it"
    except ValueError:
        return "the name is not of the grammar of tests"
