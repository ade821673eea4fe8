"""The small data set that comes with the package."""

from importlib import resources

import numpy as np

from dlrt.datasets._dataset import Arrays
from dlrt.datasets._files import NUM_CLASSES

_SIDE = 8
_MAX_VALUE = 16
_SCALE = 3
_BORDER = 2
_TEST_STRIDE = 5
_SEED = 0


def load_digits(data_dir: object = None) -> Arrays:
    """Loads the embedded handwritten digits, 1,437 + 360 images.

    The 8x8 images are enlarged to 24x24 by bilinear interpolation and framed by a
    border of 2 black pixels. They are not looked for in `data_dir`. See `DIGITS.md` for
    origin and licence.
    """
    file = resources.files("dlrt.datasets").joinpath("digits.npz")
    with file.open("rb") as stream:
        with np.load(stream, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
    images, labels = _enlarge(images), labels.astype(np.int64)
    train, test = _split_indices(labels)
    parts = images[train], labels[train], images[test], labels[test]
    return Arrays(*parts, source="embedded", num_classes=NUM_CLASSES)


def _enlarge(images: np.ndarray) -> np.ndarray:
    # All weights are multiples of 1 / _SCALE, so the sums are done in integers
    # and the result is the same to the last bit on every machine.
    weights = _bilinear_weights()
    enlarged = weights @ images.astype(np.int64) @ weights.T
    scaled = enlarged.astype(np.float32) / np.float32(_MAX_VALUE * _SCALE**2)
    return np.pad(scaled, ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER)))


def _bilinear_weights() -> np.ndarray:
    """Returns the 24x8 interpolation matrix, times `_SCALE`, with half-pixel centres.

    The image is continued by its edge pixels.
    """
    position = np.arange(_SIDE * _SCALE)
    # Distance from the first centre, in units of an enlarged pixel.
    offset = position - (_SCALE - 1) // 2
    left, right_weight = np.divmod(offset, _SCALE)
    weights = np.zeros((_SIDE * _SCALE, _SIDE), np.int64)
    np.add.at(weights, (position, np.clip(left, 0, _SIDE - 1)), _SCALE - right_weight)
    np.add.at(weights, (position, np.clip(left + 1, 0, _SIDE - 1)), right_weight)
    return weights


def _split_indices(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training and test indices, stratified, in file order."""
    # `RandomState`, because NumPy promises never to change its stream.
    order = np.random.RandomState(_SEED).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    test = np.zeros(len(labels), bool)
    test[by_class[::_TEST_STRIDE]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
