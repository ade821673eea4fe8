"""Finds every problem of an archive, for `validate`, and the actions of `repair`."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from dlrt.history import atomic_file
from experiments.archive import archived_tests, old_names
from experiments.archive.archived_logs import Log, Problem, State
from experiments.archive.archived_tests import ArchivedTest, Place
from experiments.archive.moves import Action
from experiments.runs.log_format import LOGS, REASON, is_stray
from experiments.runs.names import Name

# A writer keeps its temporary file for moments; an older one is a leftover.
_ABANDONED = 600.0


def find_problems(root: Path, found: Iterable[ArchivedTest]) -> Iterator[Problem]:
    """Yields the problems of the tests that were found under a root."""
    first: dict[tuple[Name, str], Path] = {}
    for path in find_leftovers(root):
        yield Problem(path, "it is the rest of a killed writer; `repair` removes it")
    for test in found:
        if test.place is Place.WRONG:
            if not (test.folder / REASON).is_file():
                yield Problem(test.folder, f"there is no {REASON}")
            continue
        if test.folder.is_dir():
            logs = test.logs()
            if not (logs and all(log.run for log in logs)):
                yield from _check_name(test)
            in_use = archived_tests.in_use(test.folder)
            yield from _check_folder(test, in_use)
            yield from _check_logs(test, logs, in_use)
        if test.name is not None:
            for path in test.workbooks():
                # A test in progress has its finished workbooks elsewhere, but none
                # twice.
                other = first.setdefault((test.name, path.stem), path)
                if other != path:
                    yield Problem(path, f"the same cell of the same run is {other}")


def plan_repairs(root: Path, found: Iterable[ArchivedTest]) -> Iterator[Action]:
    """Actions that lose nothing, in the order to carry them out.

    Tests in use are left alone, and so are those that need a decision by a person.
    """
    for path in find_leftovers(root):
        yield Action(f"remove {path}", partial(path.unlink, missing_ok=True))
    for test in found:
        folder, name = test.folder, test.name
        if test.place is Place.WRONG or name is None or archived_tests.in_use(folder):
            continue
        logs, place = test.logs(), archived_tests.choose_place(name)
        state = archived_tests.judge(logs)
        if state in (State.DAMAGED, State.DIVERGED):
            problems = (problem for log in logs for problem in log.problems)
            reason = "\n".join(str(p) for p in problems if p.state is not None)
            text = f"move {folder} to {root / Place.WRONG}: {reason.splitlines()[0]}"
            yield Action(text, partial(archived_tests.reject, root, folder, reason))
        elif state is State.FINISHED and test.place is not place:
            text = f"move {folder} to {root / place}: it is finished"
            yield Action(text, partial(archived_tests.finish, root, folder))


def find_leftovers(root: Path) -> list[Path]:
    """Temporary files of writers that were killed."""
    latest = time.time() - _ABANDONED
    found = []
    for path in sorted(root.rglob(".*.tmp*")):
        with contextlib.suppress(FileNotFoundError):
            if atomic_file.find_goal(path) and path.stat().st_mtime < latest:
                found.append(path)
    return found


def _check_name(test: ArchivedTest) -> Iterator[Problem]:
    folder, name = test.folder, test.name
    if name is None:
        text = "the name is not of the grammar of tests"
        with contextlib.suppress(ValueError):
            modern = old_names.modernize(folder.name)
            text = f"the name is an old one; `convert` makes {modern} of it"
        yield Problem(folder, text)
    elif test.place not in (Place.ACTIVE, archived_tests.choose_place(name)):
        yield Problem(folder, f"it belongs to {archived_tests.choose_place(name)}")


def _check_folder(test: ArchivedTest, in_use: bool) -> Iterator[Problem]:
    if not test.workbooks() and not in_use:
        yield Problem(test.folder, "there is no workbook")
    for path in sorted((test.folder / LOGS).glob("*")):
        if is_stray(path):
            continue
        if path.suffix == ".csv":
            yield Problem(path, "is not a workbook; `convert` makes one of it")
        elif path.suffix != ".xlsx" or not path.is_file():
            yield Problem(path, "is not a workbook")


def _check_logs(
    test: ArchivedTest, logs: Iterable[Log], in_use: bool
) -> Iterator[Problem]:
    finished = set()
    for log in logs:
        yield from log.problems
        if log.state is State.FINISHED:
            finished.add(log.path.stem)
        elif log.state is State.UNFINISHED and test.name is not None:
            if log.epochs == 0 and not in_use:
                yield Problem(log.path, "there is no epoch in it")
            elif test.place is not Place.ACTIVE:
                text = f"it ends at epoch {log.epochs} of {log.wanted}"
                yield Problem(log.path, f"{text}, but lies with finished ones")
    for path in sorted(test.folder.rglob("*.keras")):
        stem = path.name.removeprefix(".").rsplit(".", 1)[0]
        if stem in finished and not in_use:
            yield Problem(path, "it is left over from a cell that is finished")
