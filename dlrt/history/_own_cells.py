"""Which cells of a workbook are a log's.

People add columns, remarks and sheets to a workbook. The names of the log's own columns
are bold, and its sheets stay still at their first row and column; all else is somebody
else's. So are rows below its own that are no epochs.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlrt_names import log_schema
from dlrt_names.log_schema import CONFIGURATION, EPOCH, HISTORY, SESSION, CellValue

if TYPE_CHECKING:
    import openpyxl
    from openpyxl.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

# Number of the row with the names of columns, unless people have put some above it.
HEADER = 1
# How many rows people may have put there.
_MAX_ABOVE = 10

# What programs call the copy of a sheet; the last of these may be a name of the log's
# own, unless it is of its history.
_COPIES = (r"(.+) \(\d+\)", r"(.+) Copy\d*", r"Copy of (.+)", rf"({HISTORY})_\d+")


@dataclass(frozen=True)
class Table:
    """The cells of a sheet that are a log's.

    Columns have names, and cells have values, by the numbers of rows and columns;
    `header` is that of the row with the names.
    """

    columns: dict[int, Any]
    cells: dict[int, dict[int, Any]]
    header: int = HEADER

    @property
    def end(self) -> int:
        return max(self.cells, default=self.header)

    def rows(self) -> list[list[Any]]:
        return [list(values.values()) for values in self.cells.values()]

    def holds(self, number: int, column: int, content: CellValue, value: Any) -> bool:
        """Whether a cell says the same as a value, or the content made of it."""
        if number == self.header:
            return True
        found = self.cells[number][column]
        if found is None:
            return value is None
        return found == content and isinstance(found, bool) == isinstance(content, bool)


def find_table(sheet: "Worksheet") -> Table:
    """Finds the cells of a log in one of its sheets."""
    start = _start(sheet)
    (header,) = sheet.iter_rows(
        min_row=start.row, max_row=start.row, min_col=start.column
    )
    names = {cell.column: cell.value for cell in header}
    if start.font.b:
        names = {cell.column: cell.value for cell in header if cell.font.b}
    elif None in names.values():
        # Another program has left out what is bold.
        end = list(names.values()).index(None)
        names = dict(list(names.items())[:end])
    while names and names[max(names)] is None:
        names.popitem()
    cells = {}
    last = max(names, default=1)
    rows = sheet.iter_rows(min_row=start.row + 1, max_col=last, values_only=True)
    for number, row in enumerate(rows, start=start.row + 1):
        values = {column: row[column - 1] for column in names}
        if any(value is not None for value in values.values()):
            cells[number] = values
    while cells and _is_remark(sheet.title, cells, start.row):
        cells.popitem()
    columns = {column: log_schema.decode(name) for column, name in names.items()}
    return Table(columns, cells, start.row)


def find_tables(workbook: "openpyxl.Workbook") -> list["Worksheet"]:
    """Finds the further sheets of a log, without those that somebody else has added."""
    others = [
        sheet
        for sheet in workbook.worksheets
        if sheet.title not in (HISTORY, CONFIGURATION)
        and not _is_copy(sheet.title, workbook.sheetnames)
    ]
    if _is_marked(workbook[HISTORY]):
        return [sheet for sheet in others if _is_marked(sheet)]
    return [sheet for sheet in others if sheet["A1"].value == EPOCH]


def _is_copy(title: str, titles: Collection[str]) -> bool:
    matches = (re.fullmatch(pattern, title) for pattern in _COPIES)
    return any(match is not None and match[1] in titles for match in matches)


def _start(sheet: "Worksheet") -> "Cell":
    """The cell with the name of the first column, or the one where it should be."""
    name = log_schema.KEY if sheet.title == CONFIGURATION else EPOCH
    for row in sheet.iter_rows(max_row=HEADER + _MAX_ABOVE):
        for cell in row:
            if cell.value == name:
                return cell
    return sheet.cell(HEADER, 1)


def _is_marked(sheet: "Worksheet") -> bool:
    pane = sheet.sheet_view.pane
    still = pane is not None and pane.xSplit == pane.ySplit == 1
    start = _start(sheet)
    if not (still and start.font.b):
        return False
    rows = sheet.iter_rows(min_row=start.row + 1, max_col=1, values_only=True)
    first = [value for (value,) in rows if value is not None]
    # Where epochs stand under another name, a sheet is damaged.
    damaged = first != [] and all(isinstance(value, int) for value in first)
    return start.value == EPOCH or damaged


def _is_remark(title: str, cells: dict[int, dict[int, Any]], header: int) -> bool:
    """Whether the last row of a sheet is none of the log's."""
    number = max(cells)
    first, *others = cells[number].values()
    full = None not in others
    if title == CONFIGURATION:
        # The last key of the log's own is that of the session.
        ended = any(SESSION in values.values() for values in list(cells.values())[:-1])
        return first is not None and (ended or not full)
    epoch = isinstance(first, int) and not isinstance(first, bool)
    below = number - 1 not in (header, *cells)
    return not epoch and (below or not full)
