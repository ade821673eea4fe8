"""Renames a test, and makes one test of several."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlrt.callbacks import read_history
from experiments.archive import archived_logs, archived_tests, moves
from experiments.archive.archived_tests import ArchivedTest, Place
from experiments.archive.moves import Refusal
from experiments.runs import names
from experiments.runs.log_format import LOGS
from experiments.runs.names import Name


def find(root: Path, text: str, rule: str = "") -> Path:
    """The folder that a command-line argument names: a path, or a test's name.

    Raises:
        ValueError: If there is none, with the rule that the argument breaks, or if
            tests in several places have the name.
    """
    folder = _locate(root, text)
    if folder is None:
        rule = rule or f"a test must be a folder of {root}"
        raise ValueError(f"{rule}. Received: {text}")
    return folder


def rename(root: Path, old: str, new: str) -> Path:
    """Gives a test another name, which must agree with its logs.

    Raises:
        ValueError: If a name is wrong, or a log contradicts the new one.
        Refusal: If there is a test of the new name, or the old one is in use.
    """
    folder = find(root, old)
    name = names.parse(new)
    taken = _locate(root, new)
    if taken is not None:
        raise Refusal(f"there is a test of this name: {taken}")
    _refuse_in_use(folder)
    for path in ArchivedTest(folder, Place.ACTIVE).workbooks():
        log = read_history(path)
        for problem in archived_logs.find_contradictions(path, *log, name):
            raise ValueError(
                f"a name must agree with the logs, but {problem.text}. Received: {path}"
            )
    parent = folder.parent
    if parent.name in archived_tests.FINISHED:
        parent = parent.parent / archived_tests.choose_place(name)
    return moves.relocate(folder, parent / new)


def merge(root: Path, sources: Sequence[str], target: str) -> Path:
    """Makes one test of several whose names differ only in widths or ranks.

    Nothing is moved unless everything can be. Files that are neither workbooks nor
    checkpoints stay in the sources.

    Raises:
        ValueError: If the names differ in anything else, or a network of a source is
            not in the target.
        Refusal: If two files that would become one differ, or a source is in use.
    """
    folders = [find(root, source) for source in sources]
    goal = _locate(root, target) or _choose_folder(root, folders, target)
    name = names.parse(goal.name)
    goals: dict[Path, Path] = {}
    for folder in folders:
        if folder.absolute() != goal.absolute():
            _refuse_in_use(folder)
            goals |= _plan_moves(folder, goal, name)
    first: dict[Path, Path] = {}
    for path, its_goal in goals.items():
        other = first.setdefault(its_goal, its_goal if its_goal.exists() else path)
        if other != path and not moves.have_same_content(path, other):
            raise Refusal(
                f"these files differ, and nothing was moved: {path} and {other}"
            )
    moves.move_files(goals)
    for folder in folders:
        moves.remove_empty(folder)
    return goal


def _locate(root: Path, text: str) -> Path | None:
    if Path(text).is_dir():
        return Path(text)
    found = [
        folder
        for folder in (root / place / text for place in Place)
        if folder.is_dir() and not archived_tests.is_left_behind(folder)
    ]
    if len(found) > 1:
        places = ", ".join(map(str, found))
        raise ValueError(
            f"a test must be named by its folder: {places}. Received: {text}"
        )
    return found[0] if found else None


def _choose_folder(root: Path, folders: Sequence[Path], target: str) -> Path:
    if Path(target).name != target:
        return Path(target)
    parents = {folder.parent.absolute() for folder in folders}
    inside = parents <= {(root / place).absolute() for place in Place}
    return (parents.pop() if inside and len(parents) == 1 else root) / target


def _refuse_in_use(folder: Path) -> None:
    if archived_tests.in_use(folder):
        raise Refusal(f"a process works on {folder}")


def _plan_moves(folder: Path, goal: Path, target: Name) -> dict[Path, Path]:
    """Where each log of a source goes, and its checkpoint."""
    source = names.parse(folder.name)
    same = replace(source, dims=target.dims, ranks=target.ranks) == target
    if not same or (source.ranks is None) != (target.ranks is None):
        raise ValueError(
            "tests that become one must have names that differ only in the ranges of "
            f"widths or ranks. Received: {folder.name}, and {names.compose(target)}"
        )
    goals = {}
    for path in ArchivedTest(folder, Place.ACTIVE).workbooks():
        stem = names.compose_stem(target, *names.parse_stem(path.stem, source))
        names.parse_stem(stem, target)
        goals[path] = goal / LOGS / f"{stem}.xlsx"
        for checkpoint in folder.rglob(f"{path.stem}.keras"):
            inner = checkpoint.relative_to(folder).with_name(f"{stem}.keras")
            goals[checkpoint] = goal / inner
    return goals
