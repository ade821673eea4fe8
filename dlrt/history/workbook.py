"""The Excel form of a training history: its reading, and its writing with more rows."""

import os
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrt.history._own_cells import Table, find_table, find_tables
from dlrt.history._package import Package, is_own
from dlrt.history._sheet import Sheet, Surroundings, read_surroundings
from dlrt_names import log_schema
from dlrt_names.log_schema import CONFIGURATION, EPOCH, HISTORY, PAIR, Row

if TYPE_CHECKING:
    import openpyxl
    from openpyxl.worksheet.worksheet import Worksheet


def read_history(path: str | os.PathLike[str]) -> tuple[list[Row], dict[str, Any]]:
    """Reads a workbook that `HistoryLog` wrote.

    Args:
        path: The `.xlsx` file.

    Returns:
        The rows of the history, one dictionary an epoch with the column names as keys
        and `None` where the workbook says "NA", and the configuration as a dictionary.

    Raises:
        ValueError: The file is not such a workbook.
    """
    path = Path(path)
    workbook = _open(path)
    return _read_rows(path, workbook[HISTORY]), _read_configuration(path, workbook)


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
    names = [sheet.title for sheet in find_tables(workbook)]
    if name not in names:
        raise ValueError(
            f"`name` must be that of a sheet in {path}, of which there "
            f"{'are ' + ', '.join(map(repr, names)) if names else 'is none'} besides "
            f"{HISTORY!r} and {CONFIGURATION!r}. Received: name={name!r}"
        )
    return _read_rows(path, workbook[name])


def read_tables(path: str | os.PathLike[str]) -> dict[str, list[Row]]:
    """Reads all sheets besides history and configuration, see `read_table`."""
    path = Path(path)
    return _read_tables(path, _open(path))


def read_log(path: Path) -> tuple[list[Row], dict[str, Any], dict[str, list[Row]]]:
    """Does what `read_history` and `read_tables` do, with one look at the file."""
    workbook = _open(path)
    rows = _read_rows(path, workbook[HISTORY])
    configuration = _read_configuration(path, workbook)
    return rows, configuration, _read_tables(path, workbook)


def read_additions(path: str | os.PathLike[str]) -> list[tuple[str, ...]]:
    """Returns what somebody else has added to a workbook, to be compared."""
    path = Path(path)
    workbook = _open(path)
    own = [HISTORY, CONFIGURATION, *(sheet.title for sheet in find_tables(workbook))]
    found: list[tuple[str, ...]] = []
    for sheet in workbook.worksheets:
        table = find_table(sheet) if sheet.title in own else Table({}, {})
        for cell in (cell for row in sheet.iter_rows() for cell in row):
            ours = cell.column in table.columns and (
                cell.row == table.header or cell.row in table.cells
            )
            if cell.value is not None and not ours:
                found.append((sheet.title, cell.coordinate, repr(cell.value)))
    with zipfile.ZipFile(path) as archive:
        kinds = ("charts", "comments", "drawings", "media")
        found += [(n,) for n in archive.namelist() if any(kind in n for kind in kinds)]
    return found


def _open(path: Path) -> "openpyxl.Workbook":
    # It takes a while to import, which a program that only trains should not wait for.
    import openpyxl

    if path.exists() and not path.is_file():
        raise _unusable(path, "it is no regular file")
    try:
        with warnings.catch_warnings():
            # It warns of what it does not know in sheets, which is not the log's.
            warnings.simplefilter("ignore", UserWarning)
            workbook = openpyxl.load_workbook(path, data_only=True)
    except OSError:
        raise
    except Exception as error:  # openpyxl lets through what zipfile or XML raise.
        raise _unusable(path, f"it cannot be read as Excel ({error})") from error
    for name in (HISTORY, CONFIGURATION):
        if name not in workbook.sheetnames:
            raise _unusable(path, f"it has no sheet {name!r}")
    return workbook


def _unusable(path: Path, reason: str) -> ValueError:
    return ValueError(f"`path` must be a workbook of HistoryLog, but {reason}: {path}")


def _read_tables(path: Path, workbook: "openpyxl.Workbook") -> dict[str, list[Row]]:
    sheets = find_tables(workbook)
    tables = {sheet.title: _read_rows(path, sheet) for sheet in sheets}
    return {name: rows for name, rows in tables.items() if rows}


def _read_rows(path: Path, sheet: "Worksheet") -> list[Row]:
    """Reads the history, or a further sheet, which may have several rows an epoch."""
    title, table, is_history = sheet.title, find_table(sheet), sheet.title == HISTORY
    columns = list(table.columns.values())
    if not (columns or table.cells or is_history):
        return []
    first = log_schema.FIRST if is_history else (EPOCH,)
    if tuple(columns[: len(first)]) != first:
        names = " and ".join(map(repr, first))
        raise _unusable(path, f"sheet {title!r} does not begin with {names}")
    if not _are_texts(columns) or len(set(columns)) < len(columns):
        raise _unusable(path, f"sheet {title!r} has columns without a name of theirs")
    value = (
        log_schema.history_value
        if is_history
        else lambda _, cell: log_schema.from_cell(cell)
    )
    rows = [
        {name: value(name, cell) for name, cell in zip(columns, cells, strict=True)}
        for cells in table.rows()
    ]
    step, verb = (1, "increase") if is_history else (0, "not decrease")
    last = -step
    for epoch in (row[EPOCH] for row in rows):
        if not isinstance(epoch, int) or epoch < last + step:
            raise _unusable(
                path,
                f"the epochs in sheet {title!r} must be whole and {verb}, and "
                f"{epoch!r} follows {last}",
            )
        last = epoch
    return rows


def _read_configuration(path: Path, workbook: "openpyxl.Workbook") -> dict[str, Any]:
    table = find_table(workbook[CONFIGURATION])
    if tuple(table.columns.values()) != PAIR:
        raise _unusable(path, f"sheet {CONFIGURATION!r} has other columns")
    pairs = table.rows()
    configuration = {key: log_schema.decode(value) for key, value in pairs}
    if len(configuration) < len(pairs) or not _are_texts(configuration):
        raise _unusable(path, f"sheet {CONFIGURATION!r} has keys twice or without text")
    return configuration


def _are_texts(names: Iterable[Any]) -> bool:
    return all(isinstance(name, str) for name in names)


def render(
    rows: Sequence[Row],
    configuration: Mapping[str, Any],
    tables: Mapping[str, Sequence[Row]] | None = None,
) -> bytes:
    """Returns the content of a workbook with these rows, of further sheets by name."""
    return Book().render(rows, configuration, tables or {})


class Book:
    """A workbook that is written again and again, at the price of what is new in it.

    It may begin with a file of `HistoryLog`, in which others have put something that is
    kept. The further sheets there that are the log's are those known, by default all
    that look like them.
    """

    def __init__(
        self, path: Path | None = None, known: Collection[str] | None = None
    ) -> None:
        self._begin()
        content = None if path is None else path.read_bytes()
        if path is None or content is None or is_own(content):
            return
        workbook = _open(path)
        own = [HISTORY, CONFIGURATION, *(s.title for s in find_tables(workbook))]
        tables = {name: find_table(workbook[name]) for name in own}
        if known is not None:
            own = [n for n in own if n in (*own[:2], *known) or not tables[n].cells]
        try:
            self._package = Package(content)
            for name in own:
                found = read_surroundings(self._package.text(name), tables[name])
                self._sheets[name] = _sheet(name, found)
        except Exception as error:
            raise _unusable(
                path, f"what others have added to it can't be kept ({error})"
            ) from error

    def _begin(self) -> None:
        self._package = Package()
        self._sheets: dict[str, Sheet] = {}
        self._configuration: dict[str, Any] | None = None

    @property
    def others(self) -> list[str]:
        """The names of sheets that somebody else has added."""
        return [name for name in self._package.titles if name not in self._sheets]

    def render(
        self,
        rows: Sequence[Row],
        configuration: Mapping[str, Any],
        tables: Mapping[str, Sequence[Row]],
    ) -> bytes:
        """Returns the file's content; a ValueError if a foreign sheet is in the way."""
        lost = self._sheets.keys() - {HISTORY, CONFIGURATION, *tables}
        if self._package.own and lost:
            self._begin()
        self._set(HISTORY, rows)
        if configuration != self._configuration:
            pairs = [
                dict(zip(PAIR, pair, strict=True)) for pair in configuration.items()
            ]
            self._set(CONFIGURATION, pairs)
            self._configuration = dict(configuration)
        for name in dict.fromkeys([*self._sheets, *tables]):
            if name not in (HISTORY, CONFIGURATION):
                self._set(name, tables.get(name, []))
        return self._package.render()

    def _set(self, name: str, rows: Sequence[Row]) -> None:
        if name not in self._sheets:
            taken = [other for other in self.others if other.lower() == name.lower()]
            if taken:
                raise ValueError(
                    f"rows can't be written to a sheet {name!r}, since there is one of "
                    f"that name already that is not the log's: {taken[0]!r}"
                )
            self._package.add_sheet(name)
            self._sheets[name] = _sheet(name)
        self._package.set(name, self._sheets[name].render(rows))


def _sheet(name: str, found: Surroundings | None = None) -> Sheet:
    if name == HISTORY:
        return Sheet(log_schema.order_columns, found=found)
    if name == CONFIGURATION:
        return Sheet(lambda _: list(PAIR), log_schema.encode, found=found)
    return Sheet(log_schema.order_table, widen=True, found=found)
