"""The loaded data set, as `load` returns it."""

from dataclasses import dataclass, field

import numpy as np


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
