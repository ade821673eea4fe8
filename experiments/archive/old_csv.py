"""Logs of the original implementation: CSV files with semicolons, one line an epoch.

It needs no backend.
"""

import csv
import re
from itertools import zip_longest
from pathlib import Path

from dlrt_names.log_schema import EPOCH, METRICS, RANK

Row = dict[str, float | None]

_COLUMNS = {
    f"{quantity}_{part}": prefix + metric
    for quantity, metric in (("loss", "loss"), ("acc", "accuracy"))
    for part, prefix in (("train", ""), ("val", "val_"), ("test", "test_"))
}
_RANK = re.compile(r"rank_?(\d+)")
_ABSENT = ("", "NA")


class NoLog(ValueError):
    """Raised for a file that is not such a log: why, and in which line, from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def read(path: Path) -> list[Row]:
    """Rows of a log, with the present column names and accuracies as shares.

    The first line names the columns, in any order. Lines may end with one more rank
    than it names. A last line that was cut off when the run was killed is left out.

    Raises:
        NoLog: If it is not such a log.
        OSError: If it can't be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoLog(f"it is not a text file ({error})", 1) from error
    reader = csv.reader(text.splitlines(), delimiter=";")
    lines = [(reader.line_num, cells) for cells in reader if cells]
    names = _names(lines.pop(0)[1] if lines else [])
    least = len(names)
    more = [cells[least].strip() for _, cells in lines if any(cells[least:])]
    last = _RANK.fullmatch(names[-1])
    if last and more and all(map(str.isdecimal, more)):
        names.append(f"rank{int(last[1]) + 1}")
    longest = max((len(cells) for _, cells in lines), default=0)
    if lines and not text.endswith("\n") and len(lines[-1][1]) < longest:
        lines.pop()
    rows: list[Row] = []
    previous = None
    for epoch, (line, cells) in enumerate(lines, start=1):
        if len(cells) < least or any(cells[len(names) :]):
            raise NoLog(f"{len(cells)} values stand under {least} names", line)
        pairs = zip_longest(names, cells[: len(names)], fillvalue="")
        values = {_column(n): _number(n, cell, line) for n, cell in pairs if n}
        own = values.pop(EPOCH, None)
        if previous is not None and own != previous + 1:
            raise NoLog(f"epoch {own} follows epoch {previous}", line)
        previous = own
        rows.append({EPOCH: epoch} | values)
    return _with_shares(rows, lines)


def _names(cells: list[str]) -> list[str]:
    """The names of the columns; some in between may be empty."""
    header = [name.strip().lower() for name in cells]
    names = list(filter(None, header))
    if not set(names) & set(_COLUMNS):
        raise NoLog(f"its first line names none of {', '.join(_COLUMNS)}", 1)
    if len(set(names)) < len(names):
        raise NoLog("its first line has a name twice", 1)
    return header


def _column(name: str) -> str:
    match = _RANK.fullmatch(name)
    return f"{RANK}hidden_{match[1]}" if match else _COLUMNS.get(name, name)


def _number(name: str, cell: str, line: int) -> float | None:
    text = cell.strip().replace(",", ".")
    if text in _ABSENT:
        return None
    try:
        return float(text)
    except ValueError:
        raise NoLog(f"{name!r} reads {cell!r}, which is not a number", line) from None


def _with_shares(rows: list[Row], lines: list[tuple[int, list[str]]]) -> list[Row]:
    """Rows with accuracies as shares; the file has percent if most are above 1."""
    accuracies = [name for name in METRICS if name.endswith("accuracy")]
    known = [row[name] for row in rows for name in accuracies if row.get(name)]
    percent = sum(value > 1 for value in known) > len(known) / 2
    # The most leaves room for rounding.
    unit, most, divisor = ("percent", 100.01, 100) if percent else ("shares", 1.01, 1)
    shares = []
    for row, (line, _) in zip(rows, lines, strict=True):
        found = {name: row[name] for name in accuracies if row.get(name)}
        for name, value in found.items():
            if value > most:
                raise NoLog(f"{name} is {value:g}, but most are {unit}", line)
        shares.append(row | {name: value / divisor for name, value in found.items()})
    return shares
