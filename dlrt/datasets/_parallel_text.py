"""Reader for parallel text: two files a part, line i translating line i."""

import codecs
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dlrt.datasets._corpus import SentencePair
from dlrt.datasets._errors import DatasetFileError

PARTS = ("train", "validation", "test")

# Unicode's category Cc but for the tab, which is ordinary space.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class ParallelText(NamedTuple):
    """The pairs of one part, and how many were left out as blank."""

    pairs: tuple[SentencePair, ...]
    num_dropped: int


def read_folder(
    folder: Path, source_language: str, target_language: str
) -> dict[str, ParallelText]:
    """Reads and checks a corpus of the files `<part>.<language>`.

    Lines end with a line feed, with or without a carriage return before it.
    No other character ends a line, as editors and Python's `splitlines`
    disagree on which do, and one line too many shifts all that follow. A mark
    of byte order at the start of a file is skipped.

    Args:
        folder: Where the six files are.
        source_language: The suffix of the files to translate from.
        target_language: The suffix of their translations.

    Returns:
        The text of each of `PARTS`.

    Raises:
        DatasetFileError: If files are missing, cannot be read, hold something
            else than lines of UTF-8 text, or do not go together.
    """
    languages = (source_language, target_language)
    names = [f"{part}.{language}" for part in PARTS for language in languages]
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise DatasetFileError(f"{folder}: no file named {', '.join(missing)}")
    return {
        part: _read_part(*(folder / f"{part}.{language}" for language in languages))
        for part in PARTS
    }


def clean_pairs(pairs: Iterable[tuple[str, str]]) -> ParallelText:
    """Strips and normalises both sides, and drops pairs with a blank side.

    Args:
        pairs: A sentence and its translation each.
    """
    cleaned = [SentencePair(_clean(source), _clean(target)) for source, target in pairs]
    kept = tuple(pair for pair in cleaned if pair.source and pair.target)
    return ParallelText(kept, len(cleaned) - len(kept))


def _clean(sentence: str) -> str:
    return unicodedata.normalize("NFC", sentence.strip())


def _read_part(source_path: Path, target_path: Path) -> ParallelText:
    sources, targets = _read_lines(source_path), _read_lines(target_path)
    if len(sources) != len(targets):
        raise DatasetFileError(
            f"{source_path} has {len(sources)} lines, but {target_path} has "
            f"{len(targets)}: line i of one must translate line i of the other"
        )
    text = clean_pairs(zip(sources, targets, strict=True))
    if not text.pairs:
        raise DatasetFileError(
            f"{source_path} and {target_path}: no line with text in both"
        )
    return text


def _read_lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetFileError(f"{path}: cannot be read: {error.strerror}") from error
    content = content.removeprefix(codecs.BOM_UTF8)
    # What follows the last line feed is a line only if there is something.
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    return [_decode(line, path, number) for number, line in enumerate(lines, start=1)]


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
