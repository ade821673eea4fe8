"""A data set from arrays: stripes in four directions, under noise."""

import numpy as np

from dlrt import datasets

_SIZE = 28
_NUM_TRAIN, _NUM_TEST = 8000, 2000
_NOISE = 0.3


def load_gratings(data_dir=None):
    """Draws the images, the same at every call.

    Args:
        data_dir: Where `dlrt.datasets.load` is told to look for files; there are none.

    Returns:
        What `dlrt.datasets.register` asks for: `x_train, y_train, x_test, y_test`.
    """
    rng = np.random.default_rng(0)
    count = _NUM_TRAIN + _NUM_TEST
    labels = rng.integers(0, 4, count)
    angle = labels * np.pi / 4
    frequency = rng.uniform(0.5, 1.2, count)
    phase = rng.uniform(0, 2 * np.pi, count)
    rows, columns = np.mgrid[:_SIZE, :_SIZE]
    across = (
        np.cos(angle)[:, None, None] * columns + np.sin(angle)[:, None, None] * rows
    )
    stripes = np.sin(frequency[:, None, None] * across + phase[:, None, None])
    noisy = 0.5 + 0.3 * stripes + _NOISE * rng.standard_normal(stripes.shape)
    images = np.clip(noisy, 0, 1).astype("float32")
    first, second = slice(_NUM_TRAIN), slice(_NUM_TRAIN, None)
    return images[first], labels[first], images[second], labels[second]


datasets.register("gratings", load_gratings, shape=(_SIZE, _SIZE))
