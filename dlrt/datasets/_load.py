"""`load`: one data set from the first place that has it."""

import os
import warnings
from pathlib import Path

import numpy as np

from dlrt.datasets._data_dir import ENVIRONMENT_VARIABLE, own_directory
from dlrt.datasets._dataset import Dataset
from dlrt.datasets._digits import load_digits
from dlrt.datasets._download import BASE_URL
from dlrt.datasets._errors import (
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
)
from dlrt.datasets._files import NUM_CLASSES, RawArrays, read_npz
from dlrt.datasets._image_folders import ClassFolders, read_archive, read_folder
from dlrt.datasets._keras_cache import CACHE_ENTRIES

_NAMES = ("auto", "mnist", "fashion_mnist", "cifar10", "digits")
_CIFAR10 = "cifar10"
# What the images of a folder may take once they are scaled: float32, in colour.
_MOST_BYTES = 2**35
_PIXEL_BYTES = 12


def load(
    name: str | os.PathLike[str] = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Loads a data set of images in classes.

    `"mnist"`, `"fashion_mnist"` (28x28) and `"cifar10"` (32x32 in colour) are
    searched for in this order:

    1. In `data_dir` or, without that argument, in the directory that the
       environment variable `DLRT_DATA_DIR` names: `<name>.npz`, which holds
       `x_train`, `y_train`, `x_test` and `y_test` as unsigned bytes; of
       `"cifar10"` a folder of that name, as below, or one in `cifar10.tar.gz`.
    2. The cache of `keras.datasets`, below `KERAS_HOME` or `~/.keras`.
    3. A download, which fills that cache: the one that `keras.datasets` uses,
       or of `"cifar10"` the binary version from its author.

    No file is ever deleted or overwritten, and none that holds pickled
    objects is loaded. `"digits"` comes with the package and is searched for
    nowhere.

    A folder holds images as `train/<class>/<image>` and `test/<class>/<image>`,
    or as `<class>/<image>`, of which every fifth of a class is for testing. The
    parts may be called "Training" and "Testing" too, in any case, or "seg_train" and
    "seg_test", and lie within the classes; one called "val", "valid", "validation"
    or "dev" is for testing where there is no other for that. Images are upright as
    their EXIF tags say, on white where they are transparent; those with 16 bits keep
    them. What is in the folder besides is left out, and folders within those of
    classes count as one, with a warning that counts and names them.

    Args:
        name: One of `"mnist"`, `"fashion_mnist"`, `"cifar10"`, `"digits"` and
            `"auto"`, which is MNIST where it can be had, else the digits with a
            warning; or the path of a folder. A folder that has the name of a
            data set is reached as `"./<name>"` or as a `Path`.
        data_dir: A directory to search first, instead of the one that
            `DLRT_DATA_DIR` names.
        image_size: Height and width that the images of a folder are scaled to.
            Without it, all of them must have the same.

    Returns:
        A `Dataset`; its `name` and `source` tell what was loaded from where.

    Raises:
        ValueError: If `name` is neither a data set nor an existing folder,
            `image_size` is no pair of positive integers, for no folder or so large
            that images would take more than 32 GiB, or `data_dir` or
            `DLRT_DATA_DIR` is not an existing directory.
        DatasetFileError: If a file in such a directory cannot be used; images with
            several frames, with values of 32 bits, or above the limit of Pillow,
            are among them. It is a `ValueError`, and no other place is searched
            then.
        DatasetUnavailableError: If the named data set is in none of the
            places. It is an `OSError`.

    Example:
    >>> dataset = load("digits")
    >>> dataset
    Dataset(name='digits', num_classes=10, source='embedded')
    >>> dataset.x_train.shape, dataset.x_test.shape
    ((1437, 28, 28), (360, 28, 28))
    """
    if not isinstance(name, str) or name not in _NAMES:
        return _of_folder(name, image_size)
    if image_size is not None:
        raise ValueError(
            "`image_size` is for the images of a folder. Received: "
            f"image_size={image_size}, name={name!r}"
        )
    if name == "digits":
        return load_digits()
    if name != "auto":
        return _search(name, data_dir)
    try:
        return _search("mnist", data_dir)
    except DatasetUnavailableError as error:
        warnings.warn(
            "MNIST could not be had. THE SMALL EMBEDDED DIGITS ARE USED INSTEAD: "
            "results are not MNIST results. Set the environment variable "
            f"{ENVIRONMENT_VARIABLE} to a folder with mnist.npz, or load "
            '"digits".\n'
            f"mnist.npz is at {BASE_URL}mnist.npz. {error}",
            DatasetFallbackWarning,
            stacklevel=2,
        )
        return load_digits()


def _of_folder(
    name: str | os.PathLike[str], image_size: tuple[int, int] | None
) -> Dataset:
    is_path = isinstance(name, str | os.PathLike) and os.fspath(name)
    if not is_path or not Path(name).expanduser().is_dir():
        raise ValueError(
            f"`name` must be one of {_NAMES} or the path of a folder. Received: "
            f"name={name!r}"
        )
    if image_size is not None and not _is_size(image_size):
        raise ValueError(
            "`image_size` must be a pair of positive integers, height and width. "
            f"Received: image_size={image_size!r}"
        )
    path = Path(name).expanduser()
    if image_size is not None:
        _check_memory(path, image_size)
    found = read_folder(path, image_size)
    return _of_class_folders(path.absolute().name, found, str(path))


def _is_size(value: object) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(type(n) is int and n > 0 for n in value)  # type: ignore[attr-defined]


def _check_memory(folder: Path, image_size: tuple[int, int]) -> None:
    count = sum(path.is_file() for path in folder.rglob("*"))
    needed = count * image_size[0] * image_size[1] * _PIXEL_BYTES
    if needed > _MOST_BYTES:
        raise ValueError(
            f"`image_size` must be smaller: images may take {_MOST_BYTES / 2**30:g} "
            f"GiB, and the {count} files in {folder} would take up to "
            f"{needed / 2**30:.3g}. Received: image_size={tuple(image_size)}"
        )


def _own_cifar10(directory: Path) -> ClassFolders | None:
    """CIFAR-10 in the user's directory, `None` if it is not there."""
    folder, archive = directory / _CIFAR10, directory / f"{_CIFAR10}.tar.gz"
    if folder.is_dir():
        return read_folder(folder)
    return read_archive(archive) if os.path.lexists(archive) else None


def _search(name: str, data_dir: str | os.PathLike[str] | None) -> Dataset:
    tried = []

    source, directory = own_directory(data_dir)
    if directory is None:
        tried.append(f"{source} is not set")
    elif name == _CIFAR10:
        own = _own_cifar10(directory)
        if own is not None:
            return _of_class_folders(name, own, source)
        tried.append(f"{source} ({directory}) has no {name} and no {name}.tar.gz")
    elif not os.path.lexists(directory / f"{name}.npz"):
        tried.append(f"{source} ({directory}) has no {name}.npz")
    else:
        return _dataset(name, read_npz(directory / f"{name}.npz"), source)

    entry = CACHE_ENTRIES[name]
    unusable: DatasetFileError | None = None
    missing = entry.missing()
    if missing:
        tried.append(f"the Keras cache ({entry.directory}) has no {', '.join(missing)}")
    else:
        try:
            return _dataset(name, entry.read(entry.directory), "the Keras cache")
        except DatasetFileError as error:
            unusable = error
            tried.append(f"the Keras cache cannot be used: {error}")

    try:
        arrays = entry.download()
    except (OSError, DatasetFileError) as error:
        tried.append(f"the download failed: {error}")
        raise DatasetUnavailableError(
            f"The data set {name!r} could not be had. Tried: {'; '.join(tried)}"
        ) from error
    if unusable is not None:
        warnings.warn(
            f"{unusable}. A new download was used instead, but not kept, as no file is "
            "overwritten. Delete or move the file for the next download to be kept.",
            stacklevel=3,
        )
    return _dataset(name, arrays, "download")


def _of_class_folders(name: str, found: ClassFolders, source: str) -> Dataset:
    if found.remarks:
        # By whoever has called `load`.
        warnings.warn(f"{name}: {'; '.join(found.remarks)}", stacklevel=4)
    return _dataset(name, found.arrays, source, found.class_names)


def _dataset(
    name: str, arrays: RawArrays, source: str, class_names: tuple[str, ...] = ()
) -> Dataset:
    return Dataset(
        name=name,
        x_train=_scale(arrays.x_train),
        y_train=arrays.y_train.astype(np.int64),
        x_test=_scale(arrays.x_test),
        y_test=arrays.y_test.astype(np.int64),
        num_classes=len(class_names) or NUM_CLASSES,
        source=source,
        class_names=class_names,
    )


def _scale(images: np.ndarray) -> np.ndarray:
    scaled = images.astype(np.float32)
    scaled /= 255
    return scaled
