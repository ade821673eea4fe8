"""Moves of files and folders that lose nothing, even with concurrent moves."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from dlrt.callbacks import read_history
from dlrt.history import atomic_file, workbook
from experiments.runs.log_format import is_stray


class Refusal(Exception):
    """Raised instead of an action that might lose data."""


class Action(NamedTuple):
    """Something that a subcommand does, and its description, a sentence."""

    text: str
    act: Callable[[], object]


def relocate(folder: Path, target: Path) -> Path:
    """Gives a test another folder, or adds its files to the test that is there.

    Raises:
        Refusal: If a file is there already with other content, which stays where it
            is, or if another process has moved the test meanwhile.
    """
    if folder.absolute() == target.absolute():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        moved = rename(folder, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        moved = False
    if not moved:
        paths = sorted(folder.rglob("*"))
        files = [path for path in paths if path.is_file() and not is_stray(path)]
        move_files({path: target / path.relative_to(folder) for path in files})
        remove_empty(folder)
    return target


def move_files(goals: dict[Path, Path]) -> None:
    """Moves every file to its goal, unless another file is there.

    Raises:
        Refusal: After all moves, if there was such a file.
    """
    conflicts = [pair for pair in goals.items() if not _move_file(*pair)]
    if conflicts:
        pairs = "; ".join(f"{path} and {goal}" for path, goal in conflicts)
        raise Refusal(f"these files differ, and both stay: {pairs}")


def have_same_content(first: Path, second: Path) -> bool:
    """Whether two files, or two logs, have the same content."""
    if first.read_bytes() == second.read_bytes():
        return True
    # Two files of one log differ in the time they were written.
    with contextlib.suppress(ValueError):
        return first.suffix == ".xlsx" and _read_all(first) == _read_all(second)
    return False


def remove_empty(folder: Path) -> None:
    """Removes a folder and its subfolders, as far as they are empty."""
    for path in sorted((folder, *folder.rglob("*")), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()


def rename(folder: Path, target: Path) -> bool:
    """Renames a folder; returns `False` if there is one of that name."""
    try:
        with losing_race(folder):
            _settle_links(folder)
            move(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def move(path: Path, target: Path) -> None:
    """Renames a file or folder; a link keeps its target."""
    if path.is_symlink() and not os.path.isabs(os.readlink(path)):
        os.symlink(os.path.realpath(path), target)
        path.unlink()
    else:
        os.rename(path, target)


def _settle_links(folder: Path) -> None:
    """Makes links that lead out of a folder independent of its location."""
    inside = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not os.path.isabs(os.readlink(path)):
            target = Path(os.path.realpath(path))
            if not target.is_relative_to(inside):
                path.unlink()
                path.symlink_to(target)


@contextlib.contextmanager
def losing_race(path: Path) -> Iterator[None]:
    """Explains the error for a file that another process has moved."""
    try:
        yield
    except FileNotFoundError as error:
        raise Refusal(
            f"{path} is not there any more; another process has moved it"
        ) from error


def _read_all(log: Path) -> str:
    """The content of a log, as text, in which "nan" equals itself."""
    parts = (read_history, workbook.read_tables, workbook.read_additions)
    return repr([read(log) for read in parts])


def _move_file(path: Path, goal: Path) -> bool:
    # By another path, through a link, this may be the very file.
    if path.resolve() == goal.resolve():
        return True
    goal.parent.mkdir(parents=True, exist_ok=True)
    with losing_race(path):
        try:
            if path.is_symlink():
                os.symlink(os.path.realpath(path), goal)
            else:
                os.link(path, goal)
        except FileExistsError:
            if not have_same_content(path, goal):
                return False
        except OSError:
            # Another file system, or one without links.
            atomic_file.create(goal, path.read_bytes())
        path.unlink()
    return True
