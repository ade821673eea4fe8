"""Readers of arrays in files, with every defect reported as a `DatasetFileError`."""

import gzip
import math
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dlrt.datasets._dataset import Arrays, Dataset, check
from dlrt.datasets._errors import DatasetFileError

NUM_CLASSES = 10
_KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_IMAGE_SHAPE = (28, 28)
_CIFAR10_PLANES = (3, 32, 32)

_IDX_UINT8 = b"\x00\x00\x08"


def read_npz(path: Path) -> Arrays:
    """Reads a file with the arrays `x_train`, `y_train`, `x_test` and `y_test`."""
    with reporting(path), path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise DatasetFileError(f"{path}: not a complete npz (zip) archive")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive]
            if missing:
                raise DatasetFileError(
                    f"{path}: no array named {', '.join(missing)} among {archive.files}"
                )
            arrays = [archive[key] for key in _KEYS]
    return _checked(path, *arrays)


def read_idx_directory(directory: Path) -> Arrays:
    """Reads the four gzipped idx files of MNIST and Fashion-MNIST in a directory."""
    return _checked(directory, *(_read_idx(directory / name) for name in IDX_FILES))


def read_cifar10(path: Path) -> Arrays:
    """Reads the binary version of CIFAR-10: records of a label and three planes."""
    parts: dict[str, list[np.ndarray]] = {"data": [], "test": []}
    with reporting(path), tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            kind, _, rest = Path(member.name).name.partition("_batch")
            file = archive.extractfile(member)
            if kind not in parts or not rest.endswith(".bin") or file is None:
                continue
            records = np.frombuffer(file.read(), np.uint8)
            parts[kind].append(records.reshape(-1, 1 + math.prod(_CIFAR10_PLANES)))
        train, test = (np.concatenate(batches) for batches in parts.values())
    images = *_cifar10_images(train), *_cifar10_images(test)
    return _checked(path, *images, shape=(32, 32, 3))


def _cifar10_images(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    planes = records[:, 1:].reshape(-1, *_CIFAR10_PLANES)
    return np.moveaxis(planes, 1, -1), records[:, 0]


def _read_idx(path: Path) -> np.ndarray:
    with reporting(path), gzip.open(path, "rb") as stream:
        content = stream.read()
    # The header: a type code, the number of axes, then each axis's length as
    # a big-endian 32-bit integer.
    if len(content) < 4 or content[:3] != _IDX_UINT8:
        raise DatasetFileError(f"{path}: not an idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(
        int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)
    )
    size = len(content) - start
    expected = int(np.prod(shape, dtype=object))
    if size != expected:
        raise DatasetFileError(
            f"{path}: the header promises shape {shape}, {expected} bytes, "
            f"but {max(size, 0)} bytes follow"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


@contextmanager
def reporting(path: Path | str) -> Iterator[None]:
    """Turns any error from reading a file into a `DatasetFileError` that names it."""
    try:
        yield
    except DatasetFileError:
        raise
    # Nearly any exception can come out of numpy, zipfile or gzip when the bytes
    # of a file are damaged.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetFileError(f"{path}: cannot be read: {reason}") from error


def _checked(where: Path, *parts: Any, shape: tuple[int, ...] = _IMAGE_SHAPE) -> Arrays:
    x_train, y_train, x_test, y_test = parts
    with reporting(where):
        for part, images in (("x_train", x_train), ("x_test", x_test)):
            if images.dtype != np.uint8:
                raise ValueError(f"{part} must be uint8, but is {images.dtype}")
            if images.shape[1:] != shape or len(images) == 0:
                raise ValueError(
                    f"{part} must have shape (N, {', '.join(map(str, shape))}) with "
                    f"N > 0, but has {images.shape}"
                )
        name = where.name
        check(Dataset(name, x_train, y_train, x_test, y_test, NUM_CLASSES, ""), "it")
    return Arrays(x_train, y_train, x_test, y_test, num_classes=NUM_CLASSES)
