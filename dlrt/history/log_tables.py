"""The rows of further sheets of a log: what they may hold, and which are kept."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from dlrt.history._cells import cut, decode, encode
from dlrt.history.schema import CONFIGURATION, EPOCH, HISTORY, Row

Tables = dict[str, list[Row]]

# What Excel allows as the name of a sheet.
_MAX_NAME = 31
_FORBIDDEN = "[]:*?/\\"


def check_name(
    name: str, others: Collection[str], foreign: Collection[str] = ()
) -> None:
    """Raises if a sheet must not have this name.

    Args:
        name: The name.
        others: Names of sheets that are there.
        foreign: Names of those that somebody else has added.

    Raises:
        ValueError: Excel doesn't allow the name, or takes it for that of another sheet.
    """
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
    others = [other for other in others if other != name]
    taken = [HISTORY, CONFIGURATION, *foreign, *others]
    same = [other for other in taken if other.lower() == name.lower()]
    if same:
        raise ValueError(
            f"`sheet` must not be the name of another sheet, in whatever case, and "
            f"there is {same[0]!r}. Received: sheet={name!r}"
        )


def checked_row(sheet: str, row: Mapping[str, Any]) -> Row:
    """Returns what a workbook will give back for a row, with texts cut that are long.

    Raises:
        TypeError: A value is none of JSON's.
        ValueError: A column has no allowed name, or a value is too long.
    """
    cells = {}
    for column, value in row.items():
        if not isinstance(column, str) or not column or column == EPOCH:
            raise ValueError(
                f"`rows` must have texts as names of columns, other than {EPOCH!r}, "
                f"which the log adds by itself. Received: {column!r}"
            )
        try:
            value = cut(value) if isinstance(value, str) else value
            cells[column] = encode(value)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"`rows` of sheet {sheet!r}, column {column!r}: {error}"
            ) from error
    return {column: decode(cell) for column, cell in cells.items()}


def joined(tables: Tables, added: Tables) -> Tables:
    """The rows of both, sheet by sheet."""
    return tables | {
        name: [*tables.get(name, []), *rows] for name, rows in added.items()
    }


def extended(tables: Tables, waiting: Tables, epoch: int) -> Tables:
    """Some tables and the rows of a new epoch, which get its number."""
    return joined(
        tables,
        {
            name: [{EPOCH: epoch} | row for row in rows]
            for name, rows in waiting.items()
        },
    )


def tables_until(tables: Tables, epoch: int) -> Tables:
    """The rows up to an epoch, without the sheets that have none."""
    return _kept(tables, lambda row: row[EPOCH] <= epoch)


def tables_at(tables: Tables, epochs: Collection[int]) -> Tables:
    """The rows of some epochs, without the sheets that have none."""
    return _kept(tables, lambda row: row[EPOCH] in epochs)


def _kept(tables: Tables, keep: Callable[[Row], bool]) -> Tables:
    kept = {name: [row for row in rows if keep(row)] for name, rows in tables.items()}
    return {name: rows for name, rows in kept.items() if rows}
