"""Images in class folders, on disk or in an archive."""

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from dlrt.datasets._dataset import Arrays
from dlrt.datasets._decode import Size, decode, suffixes
from dlrt.datasets._errors import DatasetFileError
from dlrt.datasets._files import reporting
from dlrt.datasets._places import assign_parts

# How many names of files that are left out are shown.
_SHOWN = 3

# Where something is, what errors call it, and what reads it: `None` for a folder.
Entry = tuple[PurePosixPath, str, Callable[[], bytes] | None]


def read_folder(directory: Path, image_size: Size | None = None) -> Arrays:
    """Reads `<part>/<class>/<image>`, or `<class>/<image>` without parts.

    Images are coloured unless all are grey, and scaled to the height and width that are
    given; otherwise all have the same. Labels count the sorted names of classes.
    """
    return _read(directory, _files_in(directory), image_size)


def read_archive(path: Path, image_size: Size | None = None) -> Arrays:
    """`read_folder`, of a tar archive, which is not unpacked."""
    return _read(path, _members_of(path), image_size)


def _files_in(directory: Path) -> Iterator[Entry]:
    def fail(error: OSError) -> None:
        raise error

    with reporting(directory):
        for place, folders, files in os.walk(directory, onerror=fail, followlinks=True):
            here = Path(place)
            for path in (here / name for name in folders):
                above = map(Path.resolve, path.parents)
                if path.is_symlink() and path.resolve() in above:
                    raise DatasetFileError(f"{path}: is a link to a folder above it")
                yield _below(directory, path), str(path), None
            for path in (here / name for name in files):
                yield _below(directory, path), str(path), partial(_content, path)


def _below(directory: Path, path: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(directory).as_posix())


def _content(path: Path) -> bytes:
    # A pipe, for one, would be waited for.
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    return path.read_bytes()


def _members_of(path: Path) -> Iterator[Entry]:
    with reporting(path), tarfile.open(path) as archive:
        for member in archive:
            relative = PurePosixPath(member.name)
            name = f"{path}, {member.name}"
            if member.isdir():
                yield relative, name, None
            else:
                file = archive.extractfile(member) if _is_image(relative) else None
                content = b"" if file is None else file.read()
                yield relative, name, partial(bytes, content)


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_image(path: PurePosixPath) -> bool:
    return path.suffix.lower() in suffixes() and not _is_hidden(path)


def _read(where: Path, entries: Iterable[Entry], image_size: Size | None) -> Arrays:
    folders: set[PurePosixPath] = set()
    readers: dict[PurePosixPath, tuple[str, Callable[[], bytes]]] = {}
    for path, name, read in entries:
        if read is None:
            folders.add(path)
        else:
            readers[path] = name, read
    images = sorted(filter(_is_image, readers))
    found = assign_parts(where, images)
    pixels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    names: dict[str, list[str]] = {"train": [], "test": []}
    first: tuple[PurePosixPath, tuple[int, ...]] | None = None
    for path, part, class_name in found.used:
        image = decode(*readers[path], image_size)
        shape = image.shape[:2]
        first = first or (path, shape)
        if shape != first[1]:
            raise DatasetFileError(
                f"{where}: images must have one size, or `image_size` be given, but "
                f"{first[0]} has {_written(first[1])} and {path} has {_written(shape)}"
            )
        pixels[part].append(image)
        names[part].append(class_name)
    classes = sorted(set(names["train"]))
    unknown = sorted(set(names["test"]) - set(classes))
    if unknown:
        raise DatasetFileError(
            f"{where}: test has classes that train has not: {', '.join(unknown)}"
        )
    grey = all(image.ndim == 2 for part in pixels.values() for image in part)
    x_train, x_test = (_stack(part, grey) for part in pixels.values())
    y_train, y_test = (np.searchsorted(classes, part) for part in names.values())
    hidden = set(filter(_is_hidden, readers))
    full = {folder for path in images for folder in path.parents}
    # The outermost ones; what is in a hidden folder is hidden as well.
    empty = [
        folder
        for folder in sorted(folders - full)
        if folder.parent in full and not _is_hidden(folder)
    ]
    left_out = {
        "hidden files": sorted(hidden),
        "files that are no images": sorted(set(readers) - hidden - set(images)),
        "folders without images": empty,
        "images outside of class folders": found.outside,
        "images for validation": found.validation,
    }
    remarks = [
        _counted(f"{what} left out", paths) for what, paths in left_out.items() if paths
    ]
    if found.within:
        what = "folders within those of classes, all of whose images are of that class"
        remarks.append(_counted(what, found.within))
    if found.tested_on is not None:
        remarks.append(f"the images in {found.tested_on} are taken for testing")
    parts = x_train, y_train, x_test, y_test
    return Arrays(*parts, class_names=tuple(classes), remarks=tuple(remarks))


def _counted(what: str, paths: Sequence[PurePosixPath]) -> str:
    shown = ", ".join(map(str, paths[:_SHOWN]))
    more = ", ..." if len(paths) > _SHOWN else ""
    return f"{what}: {len(paths):,} ({shown}{more})"


def _stack(images: list[np.ndarray], grey: bool) -> np.ndarray:
    if not grey:
        images = [np.stack([x] * 3, axis=-1) if x.ndim == 2 else x for x in images]
    stacked = np.stack(images)
    # Some have more bits than uint8, and are of float32.
    if stacked.dtype != np.uint8:
        stacked /= 255
    return stacked


def _written(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
