"""The XML of a sheet: rows of a log that grow, and around them whatever others add."""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.dom import minidom
from xml.sax.saxutils import escape, quoteattr

from dlrt.history._own_cells import Table
from dlrt.history._package import BOLD, MAIN, Growing, Part, find_root
from dlrt_names.log_schema import CellValue, Row, encode, to_cell

# Characters of the widest column that is as wide as its texts.
_MAX_WIDTH = 60
_MIN_WIDTH = 10
# In a text of XML, stand for rows and for the number of one; nobody writes these.
_ROWS, _NUMBER = "\ue000rows", "\ue000number"

Cells = dict[int, str]


@dataclass
class Surroundings:
    """What a sheet holds besides the values of a log, as XML; nothing by default.

    Cells of a row and column: the log's `own` and their `styles`, `others` in other
    columns, and those `below` the log's rows, which give way to new ones. `said` is
    what else a row says as a whole, and `scope` what one without a prefix must say of
    its name.
    """

    table: Table
    head: str = ""
    tail: str = "</sheetData></worksheet>"
    scope: str = ""
    said: dict[int, str] = field(default_factory=dict)
    own: dict[int, Cells] = field(default_factory=dict)
    styles: dict[int, Cells] = field(default_factory=dict)
    others: dict[int, Cells] = field(default_factory=dict)
    below: dict[int, Cells] = field(default_factory=dict)


class Sheet:
    """A sheet that is written again and again, with more rows.

    A row is turned into XML and compressed once, unless it has columns that those
    before it lack.

    Args:
        order: Puts the names of columns in order.
        cell: Returns what a cell holds for a value.
        widen: Whether columns are as wide as their texts, so that these can be read.
        found: What others have written into it.
    """

    def __init__(
        self,
        order: Callable[[Iterable[str]], list[str]],
        cell: Callable[[Any], CellValue] = to_cell,
        widen: bool = False,
        found: Surroundings | None = None,
    ) -> None:
        self._order = order
        self._cell_value = cell
        self._widen = widen and found is None
        self._bold = BOLD if found is None else ""
        self._found = found or Surroundings(Table({}, {}))
        self._header = self._found.table.header
        self._begin([])

    def render(self, rows: Sequence[Row]) -> Part:
        """Returns the sheet with these rows; the first may be those of last time."""
        known = len(self._rows)
        same = known <= len(rows) and all(map(operator.is_, self._rows, rows))
        if not (same and self._add(rows[known:])):
            self._begin(rows)
            self._add(rows)
        return self._growing.finish((self._rest() + self._found.tail).encode())

    def _begin(self, rows: Sequence[Row]) -> None:
        """Lays the columns out for some rows, and writes what comes before these."""
        names = self._order(name for row in rows for name in row)
        found = self._found
        # Nobody's column is moved: new ones come behind all that there are.
        self._columns = {name: n for n, name in found.table.columns.items()}
        others = [*found.others.values(), *found.below.values()]
        used = {column for cells in others for column in cells}
        last = max(used | found.table.columns.keys(), default=0)
        new = [name for name in names if name not in self._columns]
        self._columns |= {name: n for n, name in enumerate(new, start=last + 1)}
        self._widths = {name: len(name) + 2 for name in self._columns}
        for row in rows if self._widen else ():
            self._stretch(row)
        self._rows: list[Row] = []
        self._number = self._header
        self._growing = Growing()
        self._growing.write((found.head or self._head()).encode())
        for number in range(1, self._header):
            self._write(number)
        self._write(self._header, {name: name for name in self._columns})

    def _head(self) -> str:
        widths = (
            f'<col min="{n}" max="{n}" width="{self._width(name)}" customWidth="1"/>'
            for name, n in self._columns.items()
        )
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="{MAIN}">'
            '<sheetViews><sheetView workbookViewId="0"><pane xSplit="1" ySplit="1" '
            'topLeftCell="B2" activePane="bottomRight" state="frozen"/></sheetView>'
            f"</sheetViews><cols>{''.join(widths)}</cols><sheetData>"
        )

    def _width(self, name: str) -> int:
        width = max(_MIN_WIDTH, self._widths[name])
        return min(width, _MAX_WIDTH) if self._widen else width

    def _stretch(self, row: Row) -> bool:
        """Makes columns wider for a row's texts, and returns whether any was."""
        before = [self._width(name) for name in self._columns]
        for name in list(self._columns)[1:]:
            length = len(str(self._cell_value(row.get(name)))) + 2
            self._widths[name] = max(self._widths[name], length)
        return before != [self._width(name) for name in self._columns]

    def _add(self, rows: Sequence[Row]) -> bool:
        """Writes rows behind the others; returns whether the layout has allowed it."""
        numbers = list(self._found.table.cells)
        for row in rows:
            if not row.keys() <= self._columns.keys():
                return False
            if self._widen and self._stretch(row):
                return False
            index = len(self._rows)
            number = numbers[index] if index < len(numbers) else self._number + 1
            for other in range(self._number + 1, number):
                self._write(other)
            self._write(number, row)
            self._rows.append(row)
            self._number = number
        return True

    def _write(self, number: int, row: Mapping[str, Any] | None = None) -> None:
        """Writes a row, with the cells of the log if it is one of its rows."""
        cells = dict(self._found.others.get(number, {}))
        if row is not None:
            for name, column in self._columns.items():
                cells[column] = self._cell(number, column, row.get(name))
        self._growing.write(self._row(number, cells).encode())

    def _row(self, number: int, cells: Cells) -> str:
        said = self._found.scope + self._found.said.get(number, "")
        texts = "".join(cells[column] for column in sorted(cells))
        return f'<row r="{number}"{said}>{texts}</row>' if texts or said else ""

    def _cell(self, number: int, column: int, value: Any) -> str:
        header = number == self._header
        content = encode(value) if header else self._cell_value(value)
        found = self._found
        text = found.own.get(number, {}).get(column)
        if text is not None and found.table.holds(number, column, content, value):
            return text
        styles = found.styles.get(number, {})
        # A new name looks like the first one.
        place = min(styles, default=column) if header else column
        style = styles.get(place, self._bold if header else "")
        start = f'<c r="{_letters(column)}{number}"'
        if style:
            start += f' s="{style}"'
        if isinstance(content, bool):
            return f'{start} t="b"><v>{int(content)}</v></c>'
        if isinstance(content, str):
            # Not a text in a list of texts, which would have to be written each time.
            kept = f'<t xml:space="preserve">{escape(content)}</t>'
            return f'{start} t="inlineStr"><is>{kept}</is></c>'
        return f"{start}><v>{content}</v></c>"

    def _rest(self) -> str:
        """Returns what is below the rows of the log."""
        found = self._found
        shift = max(self._number - found.table.end, 0)
        below = {number + shift: cells for number, cells in found.below.items()}
        rows = ""
        for number in sorted({*below, *found.others, *found.said}):
            if number > self._number:
                cells = below.get(number, {}) | found.others.get(number, {})
                rows += self._row(number, cells).replace(_NUMBER, str(number))
        return rows


def read_surroundings(content: bytes, table: Table) -> Surroundings:
    """Finds what a sheet of this XML holds besides the values of a log."""
    # Whoever reads a workbook has it imported; writing does without.
    from openpyxl.utils.cell import coordinate_to_tuple

    document = minidom.parseString(content)
    root = find_root(document)
    (data,) = root.getElementsByTagNameNS("*", "sheetData")
    found = Surroundings(table)
    if root.prefix:
        found.scope = f" xmlns={quoteattr(root.namespaceURI or '')}"
    # It says how many rows there are.
    for node in root.getElementsByTagNameNS("*", "dimension"):
        root.removeChild(node)
    number = 0
    for row in data.getElementsByTagNameNS("*", "row"):
        number = int(row.getAttribute("r") or number + 1)
        found.said[number] = "".join(
            f" {name}={quoteattr(value)}"
            for name, value in row.attributes.items()
            if name not in ("r", "spans")
        )
        column = 0
        for cell in row.getElementsByTagNameNS("*", "c"):
            reference = cell.getAttribute("r")
            column = coordinate_to_tuple(reference)[1] if reference else column + 1
            letter = _letters(column)
            cell.setAttribute("r", f"{letter}{number}")
            if column not in table.columns or number < table.header:
                found.others.setdefault(number, {})[column] = cell.toxml()
            elif number == table.header or number in table.cells:
                found.own.setdefault(number, {})[column] = cell.toxml()
                style = cell.getAttribute("s")
                found.styles.setdefault(number, {})[column] = style
            elif number > table.end:
                cell.setAttribute("r", f"{letter}{_NUMBER}")
                found.below.setdefault(number, {})[column] = cell.toxml()
    while data.firstChild is not None:
        data.removeChild(data.firstChild)
    data.appendChild(document.createTextNode(_ROWS))
    found.head, found.tail = document.toxml("UTF-8").decode().split(_ROWS)
    return found


@functools.cache
def _letters(column: int) -> str:
    """Returns what Excel calls a column: "A" for 1, "AA" for 27."""
    before, last = divmod(column - 1, 26)
    return (_letters(before) if before else "") + chr(ord("A") + last)
