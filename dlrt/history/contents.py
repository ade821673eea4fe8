"""What may be given to a log: its configuration, and the rows of further sheets."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dlrt_names import log_schema
from dlrt_names.log_schema import CONFIGURATION, EPOCH, HISTORY, Row, cut, encode

Tables = dict[str, list[Row]]

# What Excel allows as the name of a sheet.
_MAX_NAME = 31
_FORBIDDEN = "[]:*?/\\"


def check_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a workbook will give back, or raises ValueError or TypeError."""
    for key in configuration:
        if not isinstance(key, str) or not key or log_schema.is_reserved(key):
            raise ValueError(
                f"`configuration` must have texts as keys, and none that the log adds "
                f"by itself. Received: {key!r}"
            )
    return _write_and_read(configuration, "`configuration` at key")


def compare(path: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises a `ValueError` where the stored and the given configuration differ."""
    for key in {**stored, **given}:
        if key in stored and key in given:
            old, new = encode(stored[key]), encode(given[key])
            # Excel's 2 is as good as 2.0, but True is not 1.
            if old == new and isinstance(old, bool) == isinstance(new, bool):
                continue
        before, now = (
            repr(side[key]) if key in side else "nothing" for side in (stored, given)
        )
        raise ValueError(
            f"`configuration` must equal the one stored in {path}. At key {key!r}, "
            f"{before} is stored. Received: {now}"
        )


def check_name(name: str, others: Iterable[str], foreign: Iterable[str] = ()) -> None:
    """Raises a ValueError if Excel doesn't allow a name, or there is one like it."""
    if not (
        isinstance(name, str)
        and 0 < len(name) <= _MAX_NAME
        and name.isprintable()
        and not set(name) & set(_FORBIDDEN)
        and name == name.strip("'")
    ):
        raise ValueError(
            f"`sheet` must have 1 to {_MAX_NAME} printable characters, none of "
            f"{_FORBIDDEN}, and no apostrophe at its ends. Received: sheet={name!r}"
        )
    taken = [HISTORY, CONFIGURATION, *foreign, *(n for n in others if n != name)]
    same = [other for other in taken if other.lower() == name.lower()]
    if same:
        raise ValueError(
            f"`sheet` must not be the name of another sheet, in whatever case, and "
            f"there is {same[0]!r}. Received: sheet={name!r}"
        )


def check_row(sheet: str, row: Mapping[str, Any]) -> Row:
    """Returns what a workbook will give back for a row, see `HistoryLog.add_rows`."""
    for column in row:
        if not isinstance(column, str) or not column or column == EPOCH:
            raise ValueError(
                f"`rows` must have texts as names of columns, other than {EPOCH!r}, "
                f"which the log adds by itself. Received: {column!r}"
            )
    texts = {name: cut(text) for name, text in row.items() if isinstance(text, str)}
    return _write_and_read({**row, **texts}, f"`rows` of sheet {sheet!r}, column")


def _write_and_read(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        try:
            found[name] = log_schema.decode(encode(value))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where} {name!r}: {error}") from error
    return found


def join(tables: Tables, added: Tables) -> Tables:
    """Puts the rows of both together, sheet by sheet."""
    return tables | {
        name: [*tables.get(name, []), *rows] for name, rows in added.items()
    }


def number(tables: Tables, epoch: int) -> Tables:
    """Gives rows the number of their epoch."""
    return {
        name: [{EPOCH: epoch} | row for row in rows] for name, rows in tables.items()
    }


def keep(tables: Tables, wanted: Callable[[int], bool]) -> Tables:
    """Returns the rows of wanted epochs, without the sheets that have none."""
    kept = {
        name: [row for row in rows if wanted(row[EPOCH])]
        for name, rows in tables.items()
    }
    return {name: rows for name, rows in kept.items() if rows}
