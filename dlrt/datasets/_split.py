"""`split`: training, validation and test part of a data set."""

from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np

from dlrt.datasets._dataset import Dataset, check


@dataclass(frozen=True, eq=False)
class Splits:
    """The three parts of a data set, as `split` returns them.

    Args:
        x_train: Images to train on.
        y_train: Labels to train on, some of them replaced if label noise was asked for.
        x_val: Images to choose settings by.
        y_val: Labels of `x_val`.
        x_test: Images to report results on.
        y_test: Labels of `x_test`.
    """

    x_train: np.ndarray = field(repr=False)
    y_train: np.ndarray = field(repr=False)
    x_val: np.ndarray = field(repr=False)
    y_val: np.ndarray = field(repr=False)
    x_test: np.ndarray = field(repr=False)
    y_test: np.ndarray = field(repr=False)


def split(
    dataset: Dataset,
    val_size: int | float,
    seed: int = 0,
    fraction: float = 1.0,
    label_noise: float = 0.0,
) -> Splits:
    """Splits the training images into a training and a validation part.

    Every random choice depends on `seed` and the numbers of images only, and
    the label noise does not change which image goes where. With one seed, a
    higher `label_noise` replaces the same labels and more.

    Args:
        dataset: What `load` returned.
        val_size: The size of the validation part: an int is a number of images, a float
            in (0, 1) a share of the training images that `fraction` keeps.
        seed: A non-negative int that fixes every random choice.
        fraction: The share of the training images, before the validation part is taken
            from them, and of the test images to keep, in (0, 1].
        label_noise: The share of the labels of the training part, in [0, 1), to replace
            by labels drawn uniformly from all classes. A drawn label may be the right
            one. Validation and test labels stay as they are.

    Returns:
        A `Splits`.

    Raises:
        ValueError: If an argument is not as described, or a part would have no image.

    Example:
    >>> from dlrt.datasets import load
    >>> splits = split(load("digits"), val_size=237)
    >>> len(splits.x_train), len(splits.x_val), len(splits.x_test)
    (1200, 237, 360)
    """
    check(dataset)
    if not _is_integer(seed) or seed < 0:
        raise ValueError(f"`seed` must be a non-negative int. Received: seed={seed!r}")
    if not _is_real(fraction) or not 0 < fraction <= 1:
        raise ValueError(
            f"`fraction` must be a number in (0, 1]. Received: fraction={fraction!r}"
        )
    if not _is_real(label_noise) or not 0 <= label_noise < 1:
        raise ValueError(
            "`label_noise` must be a number in [0, 1). "
            f"Received: label_noise={label_noise!r}"
        )
    sizes = len(dataset.x_train), len(dataset.x_test)
    num_kept, num_test = (round(fraction * size) for size in sizes)
    if num_kept == 0 or num_test == 0:
        raise ValueError(
            f"`fraction` must keep some of the {sizes[0]} training and {sizes[1]} test "
            f"images. Received: fraction={fraction!r}"
        )
    num_val = _num_validation(val_size, num_kept)

    # One stream for each choice, so that none depends on the others.
    train_rng, test_rng, noise_rng = (
        np.random.default_rng(sequence)
        for sequence in np.random.SeedSequence(int(seed)).spawn(3)
    )
    kept = train_rng.permutation(len(dataset.x_train))[:num_kept]
    val, train = kept[:num_val], kept[num_val:]
    test = np.sort(test_rng.permutation(len(dataset.x_test))[:num_test])
    y_train = dataset.y_train[train]
    return Splits(
        x_train=dataset.x_train[train],
        y_train=_with_noise(y_train, label_noise, dataset.num_classes, noise_rng),
        x_val=dataset.x_train[val],
        y_val=dataset.y_train[val],
        x_test=dataset.x_test[test],
        y_test=dataset.y_test[test],
    )


def _with_noise(
    labels: np.ndarray, label_noise: float, num_classes: int, rng: np.random.Generator
) -> np.ndarray:
    replaced = rng.permutation(len(labels))[: round(label_noise * len(labels))]
    # Drawn for all labels, so that the draw for one does not depend on `label_noise`.
    drawn = rng.integers(num_classes, size=len(labels), dtype=np.int64)
    noisy = labels.copy()
    noisy[replaced] = drawn[replaced]
    return noisy


def _num_validation(val_size: int | float, num_images: int) -> int:
    if _is_integer(val_size):
        num_val = int(val_size)
        if num_val >= num_images:
            raise ValueError(
                "`val_size` must be smaller than the number of training images, "
                f"{num_images}. Received: val_size={val_size!r}"
            )
        if num_val > 0:
            return num_val
    elif _is_real(val_size) and 0 < val_size < 1:
        num_val = round(val_size * num_images)
        if 0 < num_val < num_images:
            return num_val
        raise ValueError(
            f"`val_size` must leave some of the {num_images} training images for "
            f"training and some for validation. Received: val_size={val_size!r}"
        )
    raise ValueError(
        "`val_size` must be a positive int (a number of images) or a float in "
        f"(0, 1) (a share of them). Received: val_size={val_size!r}"
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
