"""Reader for files of text, line by line."""

import codecs
import re
import unicodedata
from pathlib import Path

from dlrt.datasets._errors import DatasetFileError

# Unicode's category Cc but for the tab, which is ordinary space.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a file of UTF-8 text as they are, or says what is wrong.

    Lines end with a line feed, with or without a carriage return before it. No other
    character ends a line, as editors and Python's `splitlines` disagree on which do,
    and one line too many shifts all that follow. A mark of byte order at the start is
    skipped.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetFileError(f"{path}: cannot be read: {error.strerror}") from error
    content = content.removeprefix(codecs.BOM_UTF8)
    # What follows the last line feed is a line only if there is something.
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    return [_decode(line, path, number) for number, line in enumerate(lines, start=1)]


def clean(line: str) -> str:
    """A line in Unicode form NFC, without space at either end."""
    return unicodedata.normalize("NFC", line.strip())


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetFileError(
            f"{path}, line {number}: byte {error.start + 1} "
            f"(0x{line[error.start]:02x}) is not valid UTF-8: {error.reason}"
        ) from error
    control = _CONTROL_CHARACTER.search(text)
    if control:
        raise DatasetFileError(
            f"{path}, line {number}: the control character "
            f"U+{ord(control.group()):04X} is not text"
        )
    return text
