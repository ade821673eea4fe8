"""`load`: one data set from the first place that has it."""

import os
import warnings

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
from dlrt.datasets._keras_cache import CACHE_ENTRIES

_NAMES = ("auto", "mnist", "fashion_mnist", "digits")


def load(name: str = "auto", data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Loads a data set of 28x28 images in ten classes.

    `"mnist"` and `"fashion_mnist"` are searched for in this order:

    1. `<name>.npz` in `data_dir` or, without that argument, in the directory
       that the environment variable `DLRT_DATA_DIR` names. The file holds
       `x_train`, `y_train`, `x_test` and `y_test` as unsigned bytes.
    2. The cache of `keras.datasets`, below `KERAS_HOME` or `~/.keras`.
    3. The download that `keras.datasets` uses, which fills that cache.

    No file is ever deleted or overwritten, and none that holds pickled
    objects is loaded. `"digits"` comes with the package and is searched for
    nowhere.

    Args:
        name: One of `"mnist"`, `"fashion_mnist"`, `"digits"` and `"auto"`,
            which is MNIST where it can be had, else the digits with a
            warning.
        data_dir: A directory to search first, instead of the one that
            `DLRT_DATA_DIR` names.

    Returns:
        A `Dataset`; its `name` and `source` tell what was loaded from where.

    Raises:
        ValueError: If `name` is unknown, or `data_dir` or `DLRT_DATA_DIR` is
            not an existing directory.
        DatasetFileError: If the file in that directory cannot be used. It is
            a `ValueError`, and no other place is searched then.
        DatasetUnavailableError: If the named data set is in none of the
            places. It is an `OSError`.

    Example:
    >>> dataset = load("digits")
    >>> dataset
    Dataset(name='digits', num_classes=10, source='embedded')
    >>> dataset.x_train.shape, dataset.x_test.shape
    ((1437, 28, 28), (360, 28, 28))
    """
    if name not in _NAMES:
        raise ValueError(f"`name` must be one of {_NAMES}. Received: name={name!r}")
    if name == "digits":
        return load_digits()
    if name != "auto":
        return _search(name, data_dir)
    try:
        return _search("mnist", data_dir)
    except DatasetUnavailableError as error:
        warnings.warn(
            "MNIST could not be had. THE SMALL EMBEDDED DIGITS ARE USED INSTEAD: "
            "results are not MNIST results and not comparable with them. "
            f"To get MNIST, download {BASE_URL}mnist.npz into a directory and set "
            f"the environment variable {ENVIRONMENT_VARIABLE} to it, or load it "
            "once with a network connection. To use the digits without this "
            f'warning, load "digits". Details: {error}',
            DatasetFallbackWarning,
            stacklevel=2,
        )
        return load_digits()


def _search(name: str, data_dir: str | os.PathLike[str] | None) -> Dataset:
    tried = []

    source, directory = own_directory(data_dir)
    if directory is None:
        tried.append(f"{source} is not set")
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


def _dataset(name: str, arrays: RawArrays, source: str) -> Dataset:
    return Dataset(
        name=name,
        x_train=_scale(arrays.x_train),
        y_train=arrays.y_train.astype(np.int64),
        x_test=_scale(arrays.x_test),
        y_test=arrays.y_test.astype(np.int64),
        num_classes=NUM_CLASSES,
        source=source,
    )


def _scale(images: np.ndarray) -> np.ndarray:
    scaled = images.astype(np.float32)
    scaled /= 255
    return scaled
