"""Training, validation and test part of a data set."""

import dataclasses

import numpy as np
import pytest

from dlrt.datasets import (
    Dataset,
    load,
    split,
)

pytestmark = pytest.mark.tensorflow_only


def numbered(num_train: int, num_test: int) -> Dataset:
    """A data set whose images are 1x1 and hold their own index."""
    return Dataset(
        name="numbered",
        x_train=np.arange(num_train, dtype=np.float32).reshape(-1, 1, 1),
        y_train=np.arange(num_train) % 10,
        x_test=np.arange(num_test, dtype=np.float32).reshape(-1, 1, 1),
        y_test=np.arange(num_test) % 10,
        num_classes=10,
        source="test",
    )


def ids(images: np.ndarray) -> np.ndarray:
    return images.ravel().astype(int)


@pytest.mark.parametrize(
    ("val_size", "fraction", "sizes"),
    [
        (10000, 1.0, (50000, 10000, 10000)),
        (1 / 6, 1.0, (50000, 10000, 10000)),
        (1 / 6, 0.1, (5000, 1000, 1000)),
        (np.int64(1000), 0.1, (5000, 1000, 1000)),
        (np.float32(0.25), 1, (45000, 15000, 10000)),
        (1, 0.001, (59, 1, 10)),
    ],
)
def test_split_sizes(
    val_size: float, fraction: float, sizes: tuple[int, int, int]
) -> None:
    splits = split(numbered(60000, 10000), val_size, fraction=fraction)
    assert (len(splits.x_train), len(splits.x_val), len(splits.x_test)) == sizes
    train, val, test = ids(splits.x_train), ids(splits.x_val), ids(splits.x_test)
    assert len(np.union1d(train, val)) == sizes[0] + sizes[1]
    assert len(np.unique(test)) == sizes[2]
    for part, labels in (
        (train, splits.y_train),
        (val, splits.y_val),
        (test, splits.y_test),
    ):
        np.testing.assert_array_equal(labels, part % 10)


def test_split_depends_on_the_seed_only() -> None:
    dataset = numbered(1000, 100)
    first, second = split(dataset, 200, seed=1), split(dataset, 200, seed=1)
    other = split(dataset, 200, seed=2)
    np.testing.assert_array_equal(first.x_train, second.x_train)
    np.testing.assert_array_equal(first.x_val, second.x_val)
    assert not np.array_equal(np.sort(ids(first.x_val)), np.sort(ids(other.x_val)))
    assert not np.array_equal(ids(first.x_val), np.sort(ids(first.x_val)))


def test_all_test_images_keep_their_order() -> None:
    dataset = numbered(50, 30)
    np.testing.assert_array_equal(split(dataset, 10, seed=3).x_test, dataset.x_test)


def test_fraction_takes_a_random_share_of_the_test_images() -> None:
    test = ids(split(numbered(1000, 1000), 10, fraction=0.1).x_test)
    assert len(test) == 100
    assert test.max() > 500


def test_split_keeps_the_shape_and_copies() -> None:
    dataset = load("digits")
    splits = split(dataset, 0.2)
    assert splits.x_val.shape == (287, 28, 28)
    assert splits.x_train.shape == (1150, 28, 28)
    splits.x_train[:] = 2
    splits.x_test[:] = 2
    splits.y_test[:] = 2
    assert dataset.x_train.max() == 1
    assert dataset.x_test.max() == 1
    assert dataset.y_test.max() == 9


def test_label_noise_statistics() -> None:
    dataset = numbered(60000, 100)
    clean = split(dataset, 10000, seed=5)
    noisy = split(dataset, 10000, seed=5, label_noise=0.4)
    np.testing.assert_array_equal(noisy.x_train, clean.x_train)
    np.testing.assert_array_equal(noisy.x_val, clean.x_val)
    np.testing.assert_array_equal(noisy.y_val, clean.y_val)
    np.testing.assert_array_equal(noisy.y_test, clean.y_test)
    np.testing.assert_array_equal(dataset.y_train, np.arange(60000) % 10)

    # 20,000 labels are drawn; nine in ten of them differ from the old one.
    differs = noisy.y_train != clean.y_train
    mean, deviation = 18000, np.sqrt(20000 * 0.9 * 0.1)
    assert abs(differs.sum() - mean) < 5 * deviation
    for label in range(10):
        count = np.sum(noisy.y_train[differs] == label)
        assert abs(count - mean / 10) < 5 * np.sqrt(mean / 10)
    assert noisy.y_train.dtype == clean.y_train.dtype
    assert noisy.y_train.min() == 0
    assert noisy.y_train.max() == 9


def test_label_noise_is_seeded_and_nested() -> None:
    dataset = numbered(1000, 10)
    clean, low, again, high = (
        split(dataset, 100, seed=4, label_noise=noise).y_train
        for noise in (0.0, 0.2, 0.2, 0.6)
    )
    np.testing.assert_array_equal(low, again)
    replaced = low != clean
    assert 0 < replaced.sum() <= 180
    np.testing.assert_array_equal(high[replaced], low[replaced])
    assert (high != clean).sum() > replaced.sum()


def test_label_noise_is_independent_of_the_permutation() -> None:
    # With the permutation's own stream, the replaced positions would be the
    # first positions of a related order in every split.
    dataset = numbered(2000, 10)
    positions = [
        np.flatnonzero(
            split(dataset, 1000, seed=seed, label_noise=0.5).y_train
            != split(dataset, 1000, seed=seed).y_train
        )
        for seed in range(20)
    ]
    images = [
        ids(split(dataset, 1000, seed=seed).x_train)[at]
        for seed, at in enumerate(positions)
    ]
    # About 450 of 1000 each; the means of uniform draws stay near the middle.
    assert abs(np.mean(np.concatenate(positions)) - 500) < 5 * 289 / np.sqrt(9000)
    assert abs(np.mean(np.concatenate(images)) - 1000) < 5 * 577 / np.sqrt(9000)


def test_unsigned_labels_can_be_noised() -> None:
    dataset = numbered(100, 10)
    small = dataclasses.replace(dataset, y_train=dataset.y_train.astype(np.uint8))
    assert split(small, 10, label_noise=0.9).y_train.dtype == np.uint8


@pytest.mark.parametrize(
    "val_size", [0, -1, 0.0, 1.0, -0.1, 1.5, float("nan"), True, None, "10", [3]]
)
def test_invalid_val_size(val_size: object) -> None:
    with pytest.raises(ValueError, match="`val_size` must") as caught:
        split(numbered(100, 10), val_size)  # type: ignore[arg-type]
    assert f"val_size={val_size!r}" in str(caught.value)


@pytest.mark.parametrize("val_size", [100, 101, 10**9])
def test_val_size_not_smaller_than_the_number_of_images(val_size: int) -> None:
    with pytest.raises(ValueError, match=rf"training images, 100\. .*={val_size}$"):
        split(numbered(100, 10), val_size)


def test_val_size_is_compared_with_the_images_that_are_kept() -> None:
    with pytest.raises(ValueError, match="training images, 50"):
        split(numbered(100, 10), 60, fraction=0.5)


@pytest.mark.parametrize("val_size", [0.001, 0.999])
def test_share_that_leaves_a_part_empty(val_size: float) -> None:
    with pytest.raises(ValueError, match="`val_size` must leave some of the 100"):
        split(numbered(100, 10), val_size)


@pytest.mark.parametrize("seed", [-1, 0.5, None, True, "0"])
def test_invalid_seed(seed: object) -> None:
    with pytest.raises(ValueError, match="`seed` must"):
        split(numbered(100, 10), 10, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan"), True, None, "1"])
def test_invalid_fraction(fraction: object) -> None:
    with pytest.raises(ValueError, match="`fraction` must be a number") as caught:
        split(numbered(100, 10), 10, fraction=fraction)  # type: ignore[arg-type]
    assert repr(fraction) in str(caught.value)


def test_fraction_that_keeps_no_test_image() -> None:
    with pytest.raises(ValueError, match="`fraction` must keep some of the 100"):
        split(numbered(100, 10), 1, fraction=0.04)


@pytest.mark.parametrize("label_noise", [-0.1, 1, 1.0, float("nan"), False, None, "0"])
def test_invalid_label_noise(label_noise: object) -> None:
    with pytest.raises(ValueError, match="`label_noise` must"):
        split(
            numbered(100, 10),
            10,
            label_noise=label_noise,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": np.arange(100)}, r"\[0, 10\). Received: y_train from 0 to 99"),
        ({"y_test": np.full(10, -1)}, "y_test from -1 to -1"),
        ({"num_classes": 9}, r"labels in \[0, 9\)"),
        ({"y_train": np.zeros(99, int)}, r"y_train of shape \(99,\)"),
        ({"y_train": np.zeros(100)}, "y_train of dtype float64"),
        ({"y_test": [0] * 10}, "y_test of type list"),
        (
            {"x_test": np.zeros((0, 1, 1)), "y_test": np.zeros(0, int)},
            "must have images",
        ),
    ],
)
def test_invalid_dataset(changes: dict[str, object], message: str) -> None:
    dataset = dataclasses.replace(numbered(100, 10), **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        split(dataset, 10)


def test_something_else_as_dataset() -> None:
    with pytest.raises(ValueError, match="`dataset` must be a `Dataset`. .* tuple"):
        split((1, 2), 10)  # type: ignore[arg-type]
