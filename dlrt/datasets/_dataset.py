"""A data set: as loaders return it, and as `load` does, checked and scaled."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Arrays(NamedTuple):
    """What a loader returns, see `register`.

    Attributes:
        x_train: Training images of shape `(N, height, width)`, or `(N, height, width,
            3)` of coloured ones: uint8, or floating point numbers in [0, 1].
        y_train: Training labels, integers from 0, of shape `(N,)`.
        x_test: Test images, as `x_train`.
        y_test: Test labels, as `y_train`.
        source: Where they came from.
        num_classes: The number of classes; 0 is that of `class_names` or, without
            these, one more than the largest label.
        class_names: The name of each class, where the data set tells.
        remarks: Warnings for whoever loads them.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str = ""
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels for training and testing a classifier.

    Args:
        name: Which data set this is. After a fallback this is the name of
            the data set that was loaded, not the one that was preferred.
        x_train: Training images, float32 in [0, 1], shape `(N, height, width)`, or
            `(N, height, width, 3)` of coloured ones.
        y_train: Training labels, int64 in [0, num_classes), shape `(N,)`.
        x_test: Test images, as `x_train`.
        y_test: Test labels, as `y_train`.
        num_classes: The number of classes.
        source: Where the data came from: `"data_dir"`, `"DLRT_DATA_DIR"`,
            `"the Keras cache"`, `"download"`, `"embedded"`, or a folder's path.
        class_names: The name of each class, where the data set tells.
    """

    name: str
    x_train: np.ndarray = field(repr=False)
    y_train: np.ndarray = field(repr=False)
    x_test: np.ndarray = field(repr=False)
    y_test: np.ndarray = field(repr=False)
    num_classes: int
    source: str
    class_names: tuple[str, ...] = field(default=(), repr=False)


def scale(name: str, arrays: Arrays) -> Dataset:
    """Checks what a loader has returned, and makes float32 and int64 of it."""
    what = f"The data set {name!r}"
    x_train, y_train, x_test, y_test, source, num_classes, class_names, _ = arrays
    class_names = tuple(class_names)
    num_classes = num_classes or len(class_names)
    labels = np.asarray(y_train)
    if not num_classes and labels.size and np.issubdtype(labels.dtype, np.integer):
        num_classes = int(labels.max()) + 1
    check(Dataset(name, *arrays[:4], num_classes, source, class_names), what)
    x_train, x_test = (_scale(images, what) for images in (x_train, x_test))
    y_train, y_test = (labels.astype(np.int64) for labels in (y_train, y_test))
    parts = x_train, y_train, x_test, y_test
    return Dataset(name, *parts, num_classes, source, class_names)


def _scale(images: np.ndarray, what: str) -> np.ndarray:
    if images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        raise ValueError(
            f"{what} must have images of shape (N, height, width) or (N, height, "
            f"width, 3). Received: {images.shape}"
        )
    scaled = images.astype(np.float32)
    if images.dtype == np.uint8:
        scaled /= 255
    # But for rounding; NaN is not within.
    elif not (
        np.issubdtype(images.dtype, np.floating)
        and scaled.min() >= -1e-3
        and scaled.max() <= 1 + 1e-3
    ):
        raise ValueError(
            f"{what} must have images of type uint8, or of floating point numbers in "
            f"[0, 1]. Received: {images.dtype} from {images.min()} to {images.max()}"
        )
    return scaled


def check(dataset: object, what: str = "`dataset`") -> None:
    """Raises a `ValueError`, which calls it `what`, unless something is a data set."""
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"{what} must be a `Dataset`. Received: {type(dataset).__name__}"
        )
    for part in ("train", "test"):
        images = getattr(dataset, f"x_{part}")
        labels = getattr(dataset, f"y_{part}")
        if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
            raise ValueError(
                f"{what} must hold NumPy arrays. Received: x_{part} of type "
                f"{type(images).__name__}, y_{part} of type {type(labels).__name__}"
            )
        if len(images) == 0 or labels.shape != (len(images),):
            raise ValueError(
                f"{what} must have images and one label for each. Received: "
                f"x_{part} of shape {images.shape}, y_{part} of shape {labels.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{what} must have integer labels. Received: y_{part} of dtype "
                f"{labels.dtype}"
            )
        if labels.min() < 0 or labels.max() >= dataset.num_classes:
            raise ValueError(
                f"{what} must have labels in [0, {dataset.num_classes}). "
                f"Received: y_{part} from {labels.min()} to {labels.max()}"
            )
