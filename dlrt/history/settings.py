"""The configuration that a log records, and that a continued one must equal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrt.history import environment
from dlrt.history._cells import decode, encode

# Keys that say which process wrote a log, and what later ones met.
SESSION = "session"
RESUMED = "resumed "


def checked(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a workbook will give back for `configuration`.

    Raises:
        TypeError: A value is none of JSON's.
        ValueError: A key is no text or reserved, or a value is too long.
    """
    cells = {}
    for key, value in configuration.items():
        if not isinstance(key, str) or not key or is_reserved(key):
            raise ValueError(
                f"`configuration` must have texts as keys, and none that the log adds "
                f"by itself. Received: {key!r}"
            )
        try:
            cells[key] = encode(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`configuration` at key {key!r}: {error}") from error
    return {key: decode(cell) for key, cell in cells.items()}


def is_reserved(key: str) -> bool:
    """Whether the log adds this key by itself."""
    return key in environment.KEYS or key == SESSION or key.startswith(RESUMED)


def compare(path: Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises a `ValueError` where the stored and the given configuration differ."""
    for key in stored | given:
        if key in stored and key in given:
            old, new = encode(stored[key]), encode(given[key])
            # Excel's 2 is as good as 2.0, but True is not 1.
            if old == new and isinstance(old, bool) == isinstance(new, bool):
                continue
        raise ValueError(
            f"`configuration` must equal the one stored in {path}. At key {key!r}, "
            f"{_shown(stored, key)} is stored. Received: {_shown(given, key)}"
        )


def _shown(configuration: dict[str, Any], key: str) -> str:
    return repr(configuration[key]) if key in configuration else "nothing"
