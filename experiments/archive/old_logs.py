"""Earlier logs as tests of the present form: names, workbooks and columns.

An old log is a CSV file with semicolons and one line an epoch, or a workbook under an
old name. It is left unchanged; its conversion is written beside it. If a folder has
several logs of one network, the final one is taken, or else the longest.
"""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dlrt.callbacks import read_history
from dlrt.history import atomic_file, workbook
from dlrt_names.log_schema import CONVERTED
from experiments.archive import old_csv, old_names
from experiments.archive.moves import Action, Refusal
from experiments.runs import names
from experiments.runs.log_format import LOGS, is_stray
from experiments.runs.names import Name


def plan_conversions(folder: Path) -> Iterator[Action | str | ValueError | Refusal]:
    """The conversions to do for a folder of old logs.

    Returns:
        Actions that write new logs; as text, what need not be done; and as errors, why
        a log can't be converted.

    Raises:
        ValueError: If the form of the name of the folder is unknown.
    """
    modern = old_names.modernize(Path(os.path.abspath(folder)).name)
    name = names.parse(modern)
    target = folder.parent / modern / LOGS
    found: dict[str, list[Path]] = {}
    logs = [
        path
        for place in (folder / LOGS, folder)
        for path in sorted(place.glob("*"))
        if path.suffix.lower() in (".csv", ".xlsx") and not is_stray(path)
    ]
    if not logs:
        yield ValueError(f"there is no .csv or .xlsx file. Received: {folder}")
    for source in logs:
        try:
            found.setdefault(_choose_stem(source, name), []).append(source)
        except ValueError as error:
            yield error
    for stem, sources in found.items():
        goal = target / f"{stem}.xlsx"
        old = [source for source in sources if source.resolve() != goal.resolve()]
        try:
            source, *shorter = _order(old) if old else [goal]
            for other in shorter:
                yield f"{other} is left out: {source} is of the same network"
            if not goal.exists():
                text = f"write {goal} from {source}"
                yield Action(text, partial(_convert, source, goal, name))
            elif old:
                _check_done(source, goal)
                yield f"{goal} is there already, made from {source}"
        except (ValueError, Refusal) as error:
            yield error


def _choose_stem(path: Path, name: Name) -> str:
    """The workbook that a log becomes: by its number, or the only one of its test."""
    word = name.numbered_by
    match = re.search(rf"{word}[\s_=-]*(\d+)", path.stem, re.IGNORECASE)
    first, end = name.dims if word == "dim" or name.ranks is None else name.ranks
    if match is None and end - first > 1:
        raise ValueError(
            f"a log of a test with several must have '{word}<number>' in its name. "
            f"Received: {path}"
        )
    stem = f"{word}{first if match is None else int(match[1])}"
    names.parse_stem(stem, name)
    return stem


def _order(sources: list[Path]) -> list[Path]:
    """The logs of one network: a "final" one before others, a long before a short one.

    It raises `Refusal` if two that differ could be the first.
    """
    if len(sources) == 1:
        return sources
    rows = {source: _read_rows(source) for source in sources}

    def place(source: Path) -> tuple[bool, int]:
        return "final" in source.stem.lower(), len(rows[source])

    first, second, *others = sorted(sources, key=place, reverse=True)
    # As a text, in which "nan" equals itself.
    if place(first) == place(second) and repr(rows[first]) != repr(rows[second]):
        raise Refusal(f"{first} and {second} differ, and both are of one network")
    return [first, second, *others]


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() == ".xlsx":
        return read_history(path)[0]
    try:
        return old_csv.read(path)
    except old_csv.NoLog as error:
        raise ValueError(
            f"an old log must be a table of numbers, but {error}. Received: {path}, "
            f"line {error.line}"
        ) from error


def _check_done(source: Path, goal: Path) -> None:
    """Raises `Refusal` unless the new log has been made from the old one."""
    if source.suffix.lower() == ".csv":
        done = read_history(goal)[1].get(CONVERTED) == source.name
    else:
        done = goal.read_bytes() == source.read_bytes()
    if not done:
        raise Refusal(f"{goal} is there already, and not made from {source}")


def _convert(path: Path, goal: Path, name: Name) -> None:
    if path.suffix.lower() == ".xlsx":
        content = path.read_bytes()
    else:
        configuration = names.settings(name, *names.parse_stem(goal.stem, name))
        rows = _read_rows(path)
        content = workbook.render(rows, configuration | {CONVERTED: path.name})
    goal.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.create(goal, content)
