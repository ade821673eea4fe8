"""Logs of the original implementation: CSV files with semicolons, one line an epoch.

It needs no backend.
"""

import csv
import re
from pathlib import Path

from experiments._log_format import METRICS, RANK

Row = dict[str, float | None]

_COLUMNS = {
    f"{quantity}_{part}": prefix + metric
    for quantity, metric in (("loss", "loss"), ("acc", "accuracy"))
    for part, prefix in (("train", ""), ("val", "val_"), ("test", "test_"))
}
_RANK = re.compile(r"rank_?(\d+)")
_ABSENT = ("", "NA")


class NoLog(ValueError):
    """A file that is no such log.

    Args:
        reason: What is wrong, as a sentence.
        line: Where, counted from 1.
    """

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def read(path: Path) -> list[Row]:
    """Rows of a log, with the columns of the present ones and accuracies as shares.

    The first line names the columns, in any order. A last line that was cut off when
    its run was killed is left out.

    Raises:
        NoLog: It is no such log.
        OSError: It can't be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoLog(f"it is no text file ({error})", 1) from error
    reader = csv.reader(text.splitlines(), delimiter=";")
    lines = [(reader.line_num, cells) for cells in reader if cells]
    header = _header(lines[0][1] if lines else [])
    if not text.endswith("\n") and len(lines[-1][1]) < len(header):
        lines.pop()
    rows = []
    for epoch, (line, cells) in enumerate(lines[1:], start=1):
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise NoLog(f"{len(cells)} values stand under {len(header)} names", line)
        named = [pair for pair in zip(header, cells, strict=False) if pair[0]]
        values = {_column(name): _number(name, cell, line) for name, cell in named}
        rows.append({"epoch": epoch} | values)
    return _with_shares(rows)


def _header(cells: list[str]) -> list[str]:
    """The names, of which some in between may be empty."""
    header = [name.strip().lower() for name in cells]
    while header and not header[-1]:
        header.pop()
    names = [name for name in header if name]
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
        raise NoLog(f"{name!r} reads {cell!r}, which is no number", line) from None


def _with_shares(rows: list[Row]) -> list[Row]:
    """Rows whose accuracies are shares, also if the file has percent."""
    accuracies = [name for name in METRICS if name.endswith("accuracy")]
    found = [row[name] for row in rows for name in accuracies if row.get(name)]
    if not any(accuracy > 1 for accuracy in found):
        return rows
    return [
        row | {name: row[name] / 100 for name in accuracies if row.get(name)}
        for row in rows
    ]
