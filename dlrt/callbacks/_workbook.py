"""The Excel form of a training history: what its two sheets hold, and its reading."""

import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
from openpyxl.cell import Cell
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

Row = dict[str, Any]
CellValue = str | int | float | bool

HISTORY = "history"
CONFIGURATION = "configuration"
MISSING = "NA"

_FIRST = ("epoch", "seconds")
_LAST = ("parameters prediction", "parameters training", "compression", "learning rate")
_RANK = "rank "
_NON_FINITE = ("nan", "inf", "-inf")
# Excel cuts longer texts, and numbers with more digits.
_MAX_TEXT = 32_767
_MAX_INTEGER = 10**15


def read_history(path: str | os.PathLike[str]) -> tuple[list[Row], dict[str, Any]]:
    """Reads a workbook that `HistoryLog` wrote.

    Args:
        path: The `.xlsx` file.

    Returns:
        The rows of the history, one dictionary an epoch with the column names as
        keys and `None` where the workbook says "NA", and the configuration as a
        dictionary.

    Raises:
        ValueError: The file is not such a workbook.
    """
    path = Path(path)
    try:
        workbook = openpyxl.load_workbook(path, data_only=True)
    except OSError:
        raise
    except Exception as error:  # openpyxl lets through what zipfile or XML raise.
        raise _unusable(path, f"it cannot be read as Excel ({error})") from error
    for name in (HISTORY, CONFIGURATION):
        if name not in workbook.sheetnames:
            raise _unusable(path, f"it has no sheet {name!r}")
    return (
        _read_rows(path, _read_table(workbook[HISTORY])),
        _read_configuration(path, _read_table(workbook[CONFIGURATION])),
    )


def _unusable(path: Path, reason: str) -> ValueError:
    return ValueError(f"`path` must be a workbook of HistoryLog, but {reason}: {path}")


def _read_table(sheet: Worksheet) -> list[list[Any]]:
    """Returns the cells, without what a spreadsheet program adds around them."""
    rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    header = rows[0] if rows else []
    while header and header[-1] is None:
        header.pop()
    rows = [row[: len(header)] for row in rows]
    return [row for row in rows if any(cell is not None for cell in row)]


def _read_rows(path: Path, table: Sequence[Sequence[Any]]) -> list[Row]:
    columns = list(table[0]) if table else []
    if tuple(columns[:2]) != _FIRST:
        raise _unusable(path, f"sheet {HISTORY!r} does not begin with {_FIRST}")
    if len(set(columns)) < len(columns) or not _are_texts(columns):
        raise _unusable(path, f"sheet {HISTORY!r} has columns without a name of theirs")
    rows = []
    last = -1
    for cells in table[1:]:
        row = {
            column: _read_number(column, cell)
            for column, cell in zip(columns, cells, strict=True)
        }
        epoch = row["epoch"]
        if not isinstance(epoch, int) or epoch <= last:
            raise _unusable(
                path,
                f"the epochs in sheet {HISTORY!r} must be whole and increase, "
                f"and {cells[0]!r} follows {last}",
            )
        last = epoch
        rows.append(row)
    return rows


def _read_number(column: str, cell: Any) -> Any:
    value = None if cell == MISSING else decode(cell)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if column == "epoch" or column.startswith((_RANK, "parameters ")):
        return int(value) if value == value // 1 else value
    return float(value)


def _read_configuration(path: Path, table: Sequence[Sequence[Any]]) -> dict[str, Any]:
    if not table or tuple(table[0]) != ("key", "value"):
        raise _unusable(path, f"sheet {CONFIGURATION!r} has other columns")
    configuration = {key: decode(value) for key, value in table[1:]}
    if len(configuration) < len(table) - 1 or not _are_texts(configuration):
        raise _unusable(path, f"sheet {CONFIGURATION!r} has keys twice or without text")
    return configuration


def _are_texts(names: Iterable[Any]) -> bool:
    return all(isinstance(name, str) for name in names)


def render(rows: Sequence[Row], configuration: dict[str, Any]) -> bytes:
    """Returns the content of the workbook."""
    columns = order_columns(name for row in rows for name in row)
    workbook = openpyxl.Workbook()
    history = workbook.active
    history.title = HISTORY
    _write_table(
        history,
        columns,
        [[_history_cell(row.get(column)) for column in columns] for row in rows],
    )
    _write_table(
        workbook.create_sheet(CONFIGURATION),
        ["key", "value"],
        [[key, encode(value)] for key, value in configuration.items()],
    )
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()


def order_columns(names: Iterable[str]) -> list[str]:
    """Groups the names of columns; within a group the given order stays.

    The order is: epoch and seconds; metrics of training, of validation (`val_`), of
    the test set (`test_`), the loss first in each; other logged values, which have a
    "/" in their names; ranks; counts and the learning rate.
    """

    def group(name: str) -> tuple[int, int]:
        if name in _FIRST:
            return 0, _FIRST.index(name)
        if name in _LAST:
            return 6, _LAST.index(name)
        if name.startswith(_RANK):
            return 5, 0
        for number, prefix in ((2, "val_"), (3, "test_")):
            if name.startswith(prefix):
                return number, int(name != prefix + "loss")
        return (4, 0) if "/" in name else (1, int(name != "loss"))

    return sorted(dict.fromkeys([*_FIRST, *names]), key=group)


def _history_cell(value: Any) -> CellValue:
    return MISSING if value is None else encode(value)


def _write_table(
    sheet: Worksheet, header: Sequence[str], table: Sequence[Sequence[CellValue]]
) -> None:
    for row_number, values in enumerate([header, *table], start=1):
        for column_number, value in enumerate(values, start=1):
            cell: Cell = sheet.cell(row_number, column_number, value)
            if isinstance(value, str):
                # Text that begins with "=" is no formula.
                cell.data_type = "s"
            if row_number == 1:
                cell.font = Font(bold=True)
    for column_number, name in enumerate(header, start=1):
        letter = openpyxl.utils.get_column_letter(column_number)
        sheet.column_dimensions[letter].width = max(10, len(name) + 2)
    sheet.freeze_panes = "B2"


def encode(value: Any) -> CellValue:
    """Returns what a cell holds for a JSON-like value; `decode` is the inverse.

    Numbers, booleans and texts go in as they are, numbers with the 16 digits that
    the file format keeps. Everything else becomes JSON text, and so does a text that
    would be mistaken for it.

    Raises:
        TypeError: The value is none of JSON's.
        ValueError: The text is longer than a cell can be.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float):
        return float(f"{value:.16g}") if math.isfinite(value) else str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < _MAX_INTEGER:
        return value
    if isinstance(value, str) and _is_plain(value):
        text = value
    else:
        text = json.dumps(value, default=_json_default, sort_keys=True)
    if len(text) > _MAX_TEXT:
        raise ValueError(
            f"a cell holds at most {_MAX_TEXT} characters. Received: {len(text)}"
        )
    return text


def _is_plain(text: str) -> bool:
    # Empty cells lose their type, XML changes or forbids control characters.
    return text != "" and text.isprintable() and decode(text) == text


def _json_default(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"not a value of JSON: {value!r} of type {type(value).__name__}")


def decode(cell: Any) -> Any:
    """Returns the value that `encode` put into a cell."""
    if not isinstance(cell, str):
        return cell
    if cell in _NON_FINITE:
        return float(cell)
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) >= _MAX_INTEGER else cell
    # Of what JSON can say, a cell holds numbers and truth values without it.
    return value if value is None or isinstance(value, str | list | dict) else cell
