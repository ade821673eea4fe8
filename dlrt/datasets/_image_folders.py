"""Images in class folders, on disk or in an archive."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dlrt.datasets._errors import DatasetFileError
from dlrt.datasets._files import RawArrays, reporting

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_PARTS = ("train", "test")
# One image in five of each class, where a folder has no test part.
_TEST_INTERVAL = 5

Size = tuple[int, int]
# Where a file is within the folder, and what is in it.
Entry = tuple[PurePosixPath, bytes]


class ClassFolders(NamedTuple):
    """Images with the names of their classes.

    Attributes:
        arrays: Images `(N, h, w)`, or `(N, h, w, 3)` unless all are grey, and labels.
        class_names: The name of each class, sorted.
    """

    arrays: RawArrays
    class_names: tuple[str, ...]


def read_folder(directory: Path, image_size: Size | None = None) -> ClassFolders:
    """Reads `<part>/<class>/<image>`, or `<class>/<image>` without a test part.

    Args:
        directory: The folder, with parts "train" and "test".
        image_size: Height and width that images are scaled to; otherwise all have the
            same.

    Raises:
        DatasetFileError: If an image can't be read, or there are not such folders.
    """
    return _read(directory, _files_in(directory), image_size)


def read_archive(path: Path, image_size: Size | None = None) -> ClassFolders:
    """`read_folder`, of the one folder in a tar archive, which is not unpacked."""
    return _read(path, _members_of(path), image_size)


def _files_in(directory: Path) -> Iterator[Entry]:
    for path in sorted(directory.rglob("*")):
        relative = PurePosixPath(path.relative_to(directory).as_posix())
        if _is_image(relative) and path.is_file():
            with reporting(path):
                content = path.read_bytes()
            yield relative, content


def _members_of(path: Path) -> Iterator[Entry]:
    with reporting(path), tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            # Below the one folder of the archive.
            relative = PurePosixPath(*name.parts[1:])
            file = archive.extractfile(member) if _is_image(relative) else None
            if file is not None:
                yield relative, file.read()


def _is_image(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in _SUFFIXES and not hidden


def _read(
    where: Path, entries: Iterable[Entry], image_size: Size | None
) -> ClassFolders:
    images: dict[str, list[np.ndarray]] = {}
    names: dict[str, list[str]] = {}
    first: tuple[str, tuple[int, ...]] | None = None
    for path, content in sorted(_parted(where, entries), key=lambda entry: entry[0]):
        part, name = path.parts[:2]
        with reporting(where / path):
            pixels = _decoded(content, image_size)
        shape = pixels.shape[:2]
        first = first or (str(path), shape)
        if shape != first[1]:
            raise DatasetFileError(
                f"{where}: images must have one size, or `image_size` be given, but "
                f"{first[0]} has {_written(first[1])} and {path} has {_written(shape)}"
            )
        images.setdefault(part, []).append(pixels)
        names.setdefault(part, []).append(name)
    missing = [part for part in _PARTS if part not in images]
    if missing:
        raise DatasetFileError(
            f"{where}: no images in class folders of {' and '.join(missing)}; images "
            f"are files <part>/<class>/<name> with a suffix among "
            f"{', '.join(_SUFFIXES)}"
        )
    classes = sorted(set(names["train"]))
    unknown = sorted(set(names["test"]) - set(classes))
    if unknown:
        raise DatasetFileError(
            f"{where}: test has classes that train has not: {', '.join(unknown)}"
        )
    grey = all(pixels.ndim == 2 for part in images.values() for pixels in part)
    x_train, x_test = (_stacked(images[part], grey) for part in _PARTS)
    y_train, y_test = (np.searchsorted(classes, names[part]) for part in _PARTS)
    return ClassFolders(RawArrays(x_train, y_train, x_test, y_test), tuple(classes))


def _parted(where: Path, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries `<part>/<class>/...`, where there are parts and where there are none."""
    listed = list(entries)
    parts = {path.parts[0] for path, _ in listed if len(path.parts) >= 3}
    if parts & {*_PARTS}:
        yield from ((p, c) for p, c in listed if len(p.parts) >= 3)
        return
    counts: dict[str, int] = {}
    for path, content in sorted(listed, key=lambda entry: entry[0]):
        if len(path.parts) < 2:
            continue
        number = counts[path.parts[0]] = counts.get(path.parts[0], 0) + 1
        part = "test" if number % _TEST_INTERVAL == 0 else "train"
        yield PurePosixPath(part, path), content


def _decoded(content: bytes, image_size: Size | None) -> np.ndarray:
    # Where no images are read, Pillow is not waited for.
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        pixels = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if image_size is not None:
        height, width = image_size
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(pixels)


def _stacked(images: list[np.ndarray], grey: bool) -> np.ndarray:
    if grey:
        return np.stack(images)
    return np.stack([np.stack([x] * 3, axis=-1) if x.ndim == 2 else x for x in images])


def _written(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
