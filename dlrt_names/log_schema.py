"""What a log is made of: sheets, columns, the keys of its configuration, and cells.

Whatever writes or reads logs takes these from here.
"""

import bisect
import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
CellValue = str | int | float | bool

# Sheets: those that every log has, and those that some runs add.
HISTORY = "history"
CONFIGURATION = "configuration"
LAYERS = "layers"
TRANSLATIONS = "translations"

# Columns of the configuration.
KEY = "key"
PAIR = (KEY, "value")

# Columns of the history, which begin and end with these.
EPOCH = "epoch"
SECONDS = "seconds"
PARAMETERS = "parameters prediction"
TRAINED_PARAMETERS = "parameters training"
COMPRESSION = "compression"
LEARNING_RATE = "learning rate"
FIRST = (EPOCH, SECONDS)
LAST = (PARAMETERS, TRAINED_PARAMETERS, COMPRESSION, LEARNING_RATE)
VALIDATION, TEST = "val_", "test_"
METRICS = tuple(
    part + metric for part in ("", VALIDATION, TEST) for metric in ("loss", "accuracy")
)
# Those that runs add.
PHASE = "phase"
SPEED = "tokens/second"
TRAINING_SECONDS = "training seconds"
SCORING_SECONDS = "scoring seconds"
BLEU, CHRF = f"{TEST}bleu", f"{TEST}chrf"
# What the columns of counts begin with, and those of a layer.
COUNTS = "parameters "
RANK = "rank "
WIDTH = "width "
SPECTRUM = "singular values/"
# Keras and callbacks log these under other names.
_LOGGED = {
    "parameters": PARAMETERS,
    "learning_rate": LEARNING_RATE,
}

# Keys that a log adds to its configuration: what the process met, which one it was, and
# what later ones met.
FACTS = frozenset(
    {
        *("python version", "keras version", "backend", "backend version"),
        *("numpy version", "dlrt version", "platform", "cpu count", "start time"),
        *("git commit", "git dirty"),
    }
)
SESSION = "session"
RESUMED = "resumed "
# The key by which a converted log names the old one.
CONVERTED = "converted from"

# A value that an epoch does not have.
MISSING = "NA"
_NON_FINITE = ("nan", "inf", "-inf")
# Excel cuts longer texts, and numbers with more digits.
_MAX_TEXT = 32_767
_MAX_INTEGER = 10**15
_ELLIPSIS = "…"


def column_of(name: str) -> str:
    """Returns the column for a value that Keras calls `name` in its logs."""
    for start in (RANK, WIDTH):
        kind = f"{start.strip()}/"
        if name.startswith(kind):
            return start + name.removeprefix(kind)
    return _LOGGED.get(name, name)


def order_columns(names: Iterable[str]) -> list[str]:
    """Groups the columns of the history; within a group the given order stays.

    The order is: epoch and seconds; metrics of training, of validation (`val_`), of
    the test set (`test_`), the loss first in each; other logged values, which have a
    "/" in their names; ranks; counts and the learning rate.
    """

    def group(name: str) -> tuple[int, int]:
        if name in FIRST:
            return 0, FIRST.index(name)
        if name in LAST:
            return 6, LAST.index(name)
        if name.startswith(RANK):
            return 5, 0
        for number, prefix in ((2, VALIDATION), (3, TEST)):
            if name.startswith(prefix):
                return number, int(name != prefix + "loss")
        return (4, 0) if "/" in name else (1, int(name != "loss"))

    return sorted(dict.fromkeys([*FIRST, *names]), key=group)


def order_table(names: Iterable[str]) -> list[str]:
    """Puts the epoch before the columns of a further sheet, which stay in order."""
    return list(dict.fromkeys([EPOCH, *names]))


def is_reserved(key: str) -> bool:
    """Whether a log adds this key to its configuration by itself."""
    return key in FACTS or key == SESSION or key.startswith(RESUMED)


def to_cell(value: Any) -> CellValue:
    """Returns what a cell of a table holds for a value."""
    if value is None:
        return MISSING
    if isinstance(value, str) and value == MISSING:
        # It is no missing value.
        return json.dumps(value)
    return encode(value)


def from_cell(cell: Any) -> Any:
    """Returns the value that a cell of a table stands for; inverse of `to_cell`."""
    return None if cell == MISSING else decode(cell)


def history_value(column: str, cell: Any) -> Any:
    """Does what `from_cell` does, and makes counts int and other numbers float."""
    value = from_cell(cell)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if column == EPOCH or column.startswith((RANK, COUNTS)):
        return int(value) if value == value // 1 else value
    return float(value)


def encode(value: Any) -> CellValue:
    """Returns what a cell holds for a JSON-like value; `decode` is the inverse.

    Numbers, booleans and texts go in as they are, numbers with the 16 digits that
    the file format keeps. Everything else becomes JSON text, and so does a text that
    would be mistaken for it.

    Raises:
        TypeError: The value is none of JSON's.
        ValueError: The text is longer than a cell can be.
    """
    if _is_numpy(value, "generic"):
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
    """Counts characters as Excel does: those beyond the first 65,536 are two."""
    return len(text) + sum(character > "\uffff" for character in text)


def _is_plain(text: str) -> bool:
    # Empty cells lose their type, XML changes or forbids control characters.
    return text != "" and all(map(_is_kept, text)) and decode(text) == text


def _is_kept(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) in ("Zs", "Cf")


def _json_default(value: Any) -> Any:
    if _is_numpy(value, "generic", "ndarray"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"not a value of JSON: {value!r} of type {type(value).__name__}")


def _is_numpy(value: Any, *kinds: str) -> bool:
    """Whether a value is of a class of NumPy's, without which `--help` has to work."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(
        value, tuple(getattr(numpy, kind) for kind in kinds)
    )
