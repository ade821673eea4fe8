"""Reads files of a run other than its log, with errors for damaged ones."""

import contextlib
import json
import math
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]

from dlrt.history import atomic_file

# The most that a file may unpack to: Keras doesn't compress, and compressed weights get
# little smaller unless they carry no information.
_MOST_EXPANSION = 20
_ALWAYS_ALLOWED = 2**28
_WEIGHTS = "model.weights.h5"


class Unusable(ValueError):
    """Raised if a file can't be used; the message is the reason."""


@contextlib.contextmanager
def reading(path: Path, what: str, flag: str = "") -> Iterator[None]:
    """Turns any error that a damaged file raises while it is read into one kind.

    A `.keras` or `.h5` file is checked first.

    Args:
        path: The file, or a folder.
        what: What can't be read, as the beginning of a sentence.
        flag: Option that the path was given by.

    Raises:
        ValueError: If it can't be read.
    """
    try:
        _check(path)
        yield
    except Exception as error:
        # For damaged files, zip, HDF5, JSON and NumPy raise all kinds of errors.
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, Unusable):
            reason = str(error)
        raise ValueError(
            f"{what} can't be read ({textwrap.shorten(reason, 300)}). "
            f"Received: {f'{flag} {path}'.strip()}"
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Writes readable JSON, replacing an earlier file."""
    atomic_file.replace(path, f"{json.dumps(content, indent=2)}\n".encode())


def _check(path: Path) -> None:
    if path.is_dir():
        if path.suffix == ".keras":
            raise Unusable("it is a folder")
        return
    if not path.exists():
        raise Unusable("there is no such file")
    size = path.stat().st_size
    if not size:
        raise Unusable("it is empty")
    if path.suffix == ".h5":
        _check_expansion(_unpacked(path), size)
    elif path.suffix == ".keras":
        if not zipfile.is_zipfile(path):
            raise Unusable("it is not a .keras file, or only a part of one")
        with zipfile.ZipFile(path) as archive:
            _check_expansion(sum(member.file_size for member in archive.filelist), size)
            if _WEIGHTS in archive.namelist():
                with archive.open(_WEIGHTS) as weights:
                    _check_expansion(_unpacked(weights), size)


def _unpacked(file: Any) -> int:
    """Number of bytes that the arrays in an HDF5 file are to have."""
    counts = []

    def count(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            counts.append(item.dtype.itemsize * math.prod(item.shape or ()))

    with h5py.File(file, "r") as content:
        content.visititems(count)
    return sum(counts)


def _check_expansion(unpacked: int, size: int) -> None:
    if unpacked > max(_ALWAYS_ALLOWED, _MOST_EXPANSION * size):
        raise Unusable(
            f"it has {size / 1e6:.3g} MB and would unpack to {unpacked / 1e6:.3g} MB"
        )
