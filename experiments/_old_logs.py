"""Earlier logs as tests of the present form: names, cells and columns.

An old log is a CSV file with semicolons and one line an epoch, or a workbook under an
old name. Nothing of it is changed; what it becomes is written beside it.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlrt.callbacks import _atomic_file, _workbook, read_history
from experiments import _archive_cell, _old_csv, _old_names, names
from experiments._archive_moves import Refusal
from experiments._log_format import LOGS
from experiments.names import Name

_SOURCE = "converted from"


@dataclass(frozen=True)
class Conversion:
    """A log to write.

    Args:
        source: The old log.
        goal: The new one.
        render: Returns the content of the new one.
    """

    source: Path
    goal: Path
    render: Callable[[], bytes]

    def act(self) -> None:
        """Writes the new log.

        Raises:
            ValueError: If the old one can't be read.
            FileExistsError: If another process has just written it.
        """
        content = self.render()
        self.goal.parent.mkdir(parents=True, exist_ok=True)
        _atomic_file.create(self.goal, content)


def conversions(folder: Path) -> Iterator[Conversion]:
    """The logs to write for a folder of old ones, without those written already.

    Raises:
        ValueError: If the name of the folder or of a log is of no known form.
        Refusal: If there is another file where a log belongs.
    """
    modern = _old_names.modern(Path(os.path.abspath(folder)).name)
    name = names.parse(modern)
    sources: dict[Path, Path] = {}
    for source in _logs(folder):
        stem = _stem(source, name)
        goal = folder.parent / modern / LOGS / f"{stem}.xlsx"
        if goal in sources:
            raise Refusal(f"{source} and {sources[goal]} would both become {goal}")
        sources[goal] = source
        if source == goal or _is_done(source, goal):
            continue
        render: Callable[[], bytes] = source.read_bytes
        if source.suffix == ".csv":
            render = partial(_workbook_of, source, name, stem)
        yield Conversion(source, goal, render)


def _logs(folder: Path) -> list[Path]:
    places = (folder / LOGS, folder)
    return [
        path
        for place in places
        for path in sorted(place.glob("[!.]*"))
        if path.suffix in (".csv", ".xlsx")
    ]


def _stem(path: Path, name: Name) -> str:
    """The workbook that a log becomes: by its number, or the only one of its test."""
    several = names.has_several_ranks(name)
    word = "rank" if several else "dim"
    match = re.search(rf"{word}[\s_=-]*(\d+)", path.stem, re.IGNORECASE)
    first, end = (name.ranks if several else None) or name.dims
    if match is None and end - first > 1:
        raise ValueError(
            f"a log of a test with several must have '{word}<number>' in its name. "
            f"Received: {path}"
        )
    stem = f"{word}{first if match is None else int(match[1])}"
    names.position(stem, name)
    return stem


def _is_done(source: Path, goal: Path) -> bool:
    if not goal.exists():
        return False
    if source.suffix == ".csv":
        done = read_history(goal)[1].get(_SOURCE) == source.name
    else:
        done = goal.read_bytes() == source.read_bytes()
    if not done:
        raise Refusal(f"{goal} is there already, and not made from {source}")
    return True


def _workbook_of(path: Path, name: Name, stem: str) -> bytes:
    width, rank = names.position(stem, name)
    configuration = _archive_cell.settings(name, width, rank) | {_SOURCE: path.name}
    try:
        rows = _old_csv.read(path)
    except _old_csv.NoLog as error:
        raise ValueError(
            f"an old log must be a table of numbers, but {error}. Received: {path}, "
            f"line {error.line}"
        ) from error
    return _workbook.render(rows, configuration)
