"""`load_text`: text in one language, of a corpus by name, a file or a folder."""

import os
import warnings
from pathlib import Path

from dlrt.datasets._corpus import PARTS, Text, clean, read_lines
from dlrt.datasets._errors import DatasetFileError
from dlrt.datasets._load_corpus import load_corpus
from dlrt.datasets._named import find_path
from dlrt_names.data_sets import CORPORA

_FILES = {
    "train": ("train.txt",),
    "validation": ("validation.txt", "valid.txt", "val.txt"),
    "test": ("test.txt",),
}
# Of so many lines of a file, the last but one is for validation, the last for testing.
_PERIOD = 20


def load_text(name: str | os.PathLike[str] = "auto") -> Text:
    """Loads text for language models.

    The named texts are the English sides of the corpora of `load_corpus`:
    `"pt_en"`, `"ted"`, the generated `"phrases"`, and `"auto"`, which is
    `"pt_en"` where `DLRT_DATA_DIR` has it, else the phrases with a warning.

    A folder holds `train.txt`, `validation.txt` (or `valid.txt`, or `val.txt`)
    and `test.txt`. Of a single file, whatever its name, the lines with text
    are dealt out: of every 20 in order, 18 are for training, the next one is
    for validation and the last one for testing.

    Files are UTF-8, and a line ends with a line feed, with or without a
    carriage return before it. Lines without text are left out, white space
    at the ends of others too, and text is brought to Unicode form NFC.

    Args:
        name: One of the names above, or the path of a folder or file. What
            has the name of a text is reached as `"./<name>"` or as a `Path`.

    Returns:
        A `Text`; its `name` and `source` tell what was loaded from where.

    Raises:
        ValueError: If `name` is neither a text nor an existing folder or file,
            or `DLRT_DATA_DIR` is not an existing directory.
        DatasetFileError: A `ValueError`, if a folder lacks a file or has several for
            one part, a part has no line with text, a single file has fewer than 20,
            or something else than UTF-8 text.
        DatasetUnavailableError: An `OSError`, if the named text cannot be had.

    Example:
    >>> text = load_text("phrases")
    >>> text
    Text(name='phrases', source='embedded')
    >>> len(text.train), len(text.validation), len(text.test)
    (60000, 1000, 1000)
    """
    if name in CORPORA:
        # What it warns of concerns the caller of this function.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            corpus = load_corpus(name)
        for warning in caught:
            warnings.warn(warning.message, stacklevel=2)
        lines = {
            part: tuple(pair.target for pair in getattr(corpus, part)) for part in PARTS
        }
        return Text(corpus.name, corpus.source, **lines)
    path = find_path(name, CORPORA, "an existing file or folder", Path.exists)
    if path.is_dir():
        return Text(path.resolve().name, str(path), **_read_folder(path))
    return Text(path.stem, str(path), **_read_file(path))


def _read_folder(folder: Path) -> dict[str, tuple[str, ...]]:
    parts = {}
    for part, names in _FILES.items():
        found = [folder / name for name in names if (folder / name).exists()]
        if len(found) != 1:
            some = " and ".join(path.name for path in found) or "none"
            raise DatasetFileError(
                f"{folder}: must have one file named {' or '.join(names)}. Found: "
                f"{some}"
            )
        parts[part] = _with_text(found[0])
        if not parts[part]:
            raise DatasetFileError(f"{found[0]}: no line with text")
    return parts


def _read_file(path: Path) -> dict[str, tuple[str, ...]]:
    lines = _with_text(path)
    if len(lines) < _PERIOD:
        raise DatasetFileError(
            f"{path}: must have at least {_PERIOD} lines with text, to be parted for "
            f"training, validation and testing. Found: {len(lines)}"
        )
    last = _PERIOD - 1
    return {
        "train": tuple(x for i, x in enumerate(lines) if i % _PERIOD < last - 1),
        "validation": lines[last - 1 :: _PERIOD],
        "test": lines[last::_PERIOD],
    }


def _with_text(path: Path) -> tuple[str, ...]:
    return tuple(line for line in map(clean, read_lines(path)) if line)
