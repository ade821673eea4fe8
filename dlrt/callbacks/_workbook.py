"""The Excel form of a training history: what its sheets hold, and their reading."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.cell import Cell
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

from dlrt.callbacks import _excel
from dlrt.callbacks._cells import CellValue, decode, encode

Row = dict[str, Any]

HISTORY = "history"
CONFIGURATION = "configuration"
EPOCH = "epoch"
MISSING = "NA"

_FIRST = (EPOCH, "seconds")
_LAST = ("parameters prediction", "parameters training", "compression", "learning rate")
_RANK = "rank "
# Characters of the widest column that is as wide as its texts.
_MAX_WIDTH = 60


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
    workbook = _open(path)
    return (
        _read_history(path, _cells_of(workbook[HISTORY])),
        _read_configuration(path, _cells_of(workbook[CONFIGURATION])),
    )


def read_table(path: str | os.PathLike[str], name: str) -> list[Row]:
    """Reads the rows that `HistoryLog.add_rows` put into a sheet of their own.

    Args:
        path: The `.xlsx` file.
        name: Name of the sheet.

    Returns:
        The rows in their order, dictionaries with the column names as keys, of which
        the first is "epoch", and `None` where the workbook says "NA".

    Raises:
        ValueError: The file is not a workbook of `HistoryLog`, or has no such sheet.
    """
    path = Path(path)
    workbook = _open(path)
    names = [sheet.title for sheet in _table_sheets(workbook)]
    if name not in names:
        raise ValueError(
            f"`name` must be that of a sheet in {path}, of which there "
            f"{'are ' + ', '.join(map(repr, names)) if names else 'is none'} besides "
            f"{HISTORY!r} and {CONFIGURATION!r}. Received: name={name!r}"
        )
    return _read_table(path, workbook[name])


def read_tables(path: str | os.PathLike[str]) -> dict[str, list[Row]]:
    """Reads all sheets besides history and configuration, see `read_table`."""
    path = Path(path)
    sheets = _table_sheets(_open(path))
    tables = {sheet.title: _read_table(path, sheet) for sheet in sheets}
    return {name: rows for name, rows in tables.items() if rows}


def _open(path: Path) -> openpyxl.Workbook:
    try:
        workbook = openpyxl.load_workbook(path, data_only=True)
    except OSError:
        raise
    except Exception as error:  # openpyxl lets through what zipfile or XML raise.
        raise _unusable(path, f"it cannot be read as Excel ({error})") from error
    for name in (HISTORY, CONFIGURATION):
        if name not in workbook.sheetnames:
            raise _unusable(path, f"it has no sheet {name!r}")
    return workbook


def _table_sheets(workbook: openpyxl.Workbook) -> list[Worksheet]:
    return [
        sheet
        for sheet in workbook.worksheets
        if sheet.title not in (HISTORY, CONFIGURATION)
    ]


def _unusable(path: Path, reason: str) -> ValueError:
    return ValueError(f"`path` must be a workbook of HistoryLog, but {reason}: {path}")


def _cells_of(sheet: Worksheet) -> list[list[Any]]:
    """Returns the cells, without what a spreadsheet program adds around them."""
    rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    header = rows[0] if rows else []
    while header and header[-1] is None:
        header.pop()
    rows = [row[: len(header)] for row in rows]
    return [row for row in rows if any(cell is not None for cell in row)]


def _read_history(path: Path, table: Sequence[Sequence[Any]]) -> list[Row]:
    columns = [decode(name) for name in table[0]] if table else []
    if tuple(columns[:2]) != _FIRST:
        raise _unusable(path, f"sheet {HISTORY!r} does not begin with {_FIRST}")
    _check_columns(path, HISTORY, columns)
    rows = [
        {
            column: _read_number(column, cell)
            for column, cell in zip(columns, cells, strict=True)
        }
        for cells in table[1:]
    ]
    _check_epochs(path, HISTORY, rows, 1)
    return rows


def _read_table(path: Path, sheet: Worksheet) -> list[Row]:
    table = _cells_of(sheet)
    if not table:
        return []
    columns = [decode(name) for name in table[0]]
    if columns[0] != EPOCH:
        raise _unusable(path, f"sheet {sheet.title!r} does not begin with {EPOCH!r}")
    _check_columns(path, sheet.title, columns)
    rows = [
        {column: _read(cell) for column, cell in zip(columns, cells, strict=True)}
        for cells in table[1:]
    ]
    _check_epochs(path, sheet.title, rows, 0)
    return rows


def _check_columns(path: Path, sheet: str, columns: Sequence[Any]) -> None:
    if not _are_texts(columns) or len(set(columns)) < len(columns):
        raise _unusable(path, f"sheet {sheet!r} has columns without a name of theirs")


def _check_epochs(path: Path, sheet: str, rows: Sequence[Row], step: int) -> None:
    """Raises where an epoch does not exceed the one before it by at least `step`."""
    last = -step
    for row in rows:
        epoch = row[EPOCH]
        if not isinstance(epoch, int) or epoch < last + step:
            verb = "increase" if step else "not decrease"
            raise _unusable(
                path,
                f"the epochs in sheet {sheet!r} must be whole and {verb}, and "
                f"{epoch!r} follows {last}",
            )
        last = epoch


def _read(cell: Any) -> Any:
    return None if cell == MISSING else decode(cell)


def _read_number(column: str, cell: Any) -> Any:
    value = _read(cell)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if column == EPOCH or column.startswith((_RANK, "parameters ")):
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


def render(
    rows: Sequence[Row],
    configuration: Mapping[str, Any],
    tables: Mapping[str, Sequence[Row]] | None = None,
) -> bytes:
    """Returns the content of the workbook.

    Args:
        rows: The history, a dictionary an epoch.
        configuration: The configuration.
        tables: Rows of further sheets by their name, dictionaries too, each with
            the number of its epoch.
    """
    workbook = openpyxl.Workbook()
    history = workbook.active
    history.title = HISTORY
    _write_rows(history, order_columns(name for row in rows for name in row), rows)
    _write_table(
        workbook.create_sheet(CONFIGURATION),
        ["key", "value"],
        [[key, encode(value)] for key, value in configuration.items()],
    )
    for name, table in (tables or {}).items():
        columns = dict.fromkeys([EPOCH, *(column for row in table for column in row)])
        sheet = workbook.create_sheet(name)
        _write_rows(sheet, list(columns), table)
        _widen(sheet)
    return _excel.content(workbook)


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


def _write_rows(sheet: Worksheet, columns: list[str], rows: Sequence[Row]) -> None:
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    _write_table(sheet, columns, cells)


def _cell(value: Any) -> CellValue:
    if value is None:
        return MISSING
    if isinstance(value, str) and value == MISSING:
        # It is no missing value.
        return json.dumps(value)
    return encode(value)


def _write_table(
    sheet: Worksheet, header: Sequence[str], table: Sequence[Sequence[CellValue]]
) -> None:
    names = [encode(name) for name in header]
    for row_number, values in enumerate([names, *table], start=1):
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


def _widen(sheet: Worksheet) -> None:
    """Makes columns as wide as their texts, so that these can be read."""
    for cells in sheet.iter_cols(min_col=2):
        longest = max(len(str(cell.value)) for cell in cells)
        letter = cells[0].column_letter
        sheet.column_dimensions[letter].width = max(10, min(longest + 2, _MAX_WIDTH))
