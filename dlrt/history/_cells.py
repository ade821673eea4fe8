"""What a cell of a workbook holds in place of a value, and the way back."""

import bisect
import json
import math
import os
import unicodedata
from typing import Any

import numpy as np

CellValue = str | int | float | bool

_NON_FINITE = ("nan", "inf", "-inf")
# Excel cuts longer texts, and numbers with more digits.
_MAX_TEXT = 32_767
_MAX_INTEGER = 10**15
_ELLIPSIS = "…"


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
    text = _as_text(value)
    if _length(text) > _MAX_TEXT:
        raise ValueError(
            f"a cell holds at most {_MAX_TEXT} characters. Received: {_length(text)}"
        )
    return text


def cut(text: str) -> str:
    """Returns a text that a cell holds: if too long, its beginning and an ellipsis."""
    if _length(_as_text(text)) <= _MAX_TEXT:
        return text
    beginnings = range(min(len(text), _MAX_TEXT))
    end = bisect.bisect_right(
        beginnings, _MAX_TEXT, key=lambda end: _length(_as_text(text[:end] + _ELLIPSIS))
    )
    return text[: end - 1] + _ELLIPSIS


def _as_text(value: Any) -> str:
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, default=_json_default, sort_keys=True)


def _length(text: str) -> int:
    """Characters as Excel counts them: those beyond the first 65,536 are two."""
    return len(text) + sum(character > "\uffff" for character in text)


def _is_plain(text: str) -> bool:
    # Empty cells lose their type, XML changes or forbids control characters.
    return text != "" and all(map(_is_kept, text)) and decode(text) == text


def _is_kept(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) in ("Zs", "Cf")


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
    except (ValueError, RecursionError):
        return cell
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) >= _MAX_INTEGER else cell
    # Of what JSON can say, a cell holds numbers and truth values without it.
    return value if value is None or isinstance(value, str | list | dict) else cell
