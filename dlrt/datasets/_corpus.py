"""Corpora and texts, as they are loaded, and readers of their files."""

import codecs
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from dlrt.datasets._errors import DatasetFileError
from dlrt.phrases.sentence_pair import SentencePair as SentencePair

_Line = TypeVar("_Line")

PARTS = ("train", "validation", "test")
# Unicode's category Cc but for the tab, which is ordinary space.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class _Parts(Generic[_Line]):
    name: str
    source: str
    train: tuple[_Line, ...] = field(repr=False)
    validation: tuple[_Line, ...] = field(repr=False)
    test: tuple[_Line, ...] = field(repr=False)


class Corpus(_Parts[SentencePair]):
    """Sentence pairs for training and testing a translator.

    Every sentence is one non-empty line in Unicode form NFC, without space at
    either end.

    Args:
        name: Which corpus this is. After a fallback this is the name of the
            corpus that was loaded, not the one that was preferred.
        source: Where the text came from: `"DLRT_DATA_DIR"`, `"tensorflow-datasets"`,
            `"embedded"` or the path of the folder or file that was asked for.
        train: Pairs to train on.
        validation: Pairs to choose settings by.
        test: Pairs to report results on.
    """


class Text(_Parts[str]):
    """Lines of text in three parts, for language models.

    Every line has text, is in Unicode form NFC, and has no space at either end. The
    arguments are those of `Corpus`, with lines instead of pairs.
    """


def read_folder(folder: Path, source_language: str, target_language: str) -> Corpus:
    """Reads a corpus of the files `<part>.<language>`, see `read_lines`.

    The pairs are as they are, blank sides included. A `DatasetFileError` says which
    file is missing or damaged, or that two do not go together.
    """
    languages = (source_language, target_language)
    names = [f"{part}.{language}" for part in PARTS for language in languages]
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise DatasetFileError(f"{folder}: no file named {', '.join(missing)}")
    parts = {
        part: _read_part(*(folder / f"{part}.{language}" for language in languages))
        for part in PARTS
    }
    return Corpus(folder.resolve().name, str(folder), **parts)


def clean_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[SentencePair, ...]:
    """Strips and normalises both sides, and drops pairs with a blank side."""
    cleaned = (SentencePair(clean(source), clean(target)) for source, target in pairs)
    return tuple(pair for pair in cleaned if pair.source and pair.target)


def _read_part(source_path: Path, target_path: Path) -> tuple[SentencePair, ...]:
    sources, targets = read_lines(source_path), read_lines(target_path)
    if len(sources) != len(targets):
        raise DatasetFileError(
            f"{source_path} has {len(sources)} lines, but {target_path} has "
            f"{len(targets)}: line i of one must translate line i of the other"
        )
    pairs = tuple(map(SentencePair, sources, targets))
    if not any(clean(source) and clean(target) for source, target in pairs):
        raise DatasetFileError(
            f"{source_path} and {target_path}: no line with text in both"
        )
    return pairs


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
    return [_decode(line, path, i) for i, line in enumerate(lines, start=1)]


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
