"""The digits that come with the library."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import dlrt.datasets
from dlrt.datasets import (
    load,
)
from dlrt.datasets._digits import _bilinear_weights, _enlarge

pytestmark = pytest.mark.tensorflow_only


def test_digits_file() -> None:
    path = Path(dlrt.datasets.__path__[0], "digits.npz")
    with np.load(path, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() == 16
    documented = Path(dlrt.datasets.__path__[0], "DIGITS.md").read_text()
    for array in (images, labels):
        assert hashlib.sha256(array.tobytes()).hexdigest() in documented


def test_digits() -> None:
    dataset = load("digits")
    assert (dataset.name, dataset.source) == ("digits", "embedded")
    assert dataset.num_classes == 10
    assert dataset.x_train.shape == (1437, 28, 28)
    assert dataset.x_test.shape == (360, 28, 28)
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.float32
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64
    assert dataset.x_train.min() == 0
    assert dataset.x_train.max() == 1
    train, test = np.bincount(dataset.y_train), np.bincount(dataset.y_test)
    total = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    np.testing.assert_array_equal(train + test, total)
    assert np.all(np.abs(test - total / 5) < 1)


def test_digits_are_the_same_everywhere() -> None:
    dataset = load("digits")
    # Multiples of 1/144 by construction, so this is exact.
    units = np.rint(dataset.x_test * 144).astype("<u2")
    np.testing.assert_array_equal(units.astype(np.float32) / 144, dataset.x_test)
    digest = hashlib.sha256(units.tobytes() + dataset.y_test.astype("u1").tobytes())
    assert digest.hexdigest() == (
        "c7dbc711947c23058cee8d854dce01e783a57ede61b70609f8d3a967eaf4976c"
    )


def test_digits_parts_are_disjoint_and_complete() -> None:
    dataset = load("digits")
    path = Path(dlrt.datasets.__path__[0], "digits.npz")
    with np.load(path, allow_pickle=False) as archive:
        originals = _enlarge(archive["images"])
    together = np.concatenate([dataset.x_train, dataset.x_test])
    assert sorted(x.tobytes() for x in together) == sorted(
        x.tobytes() for x in originals
    )


def test_enlarging_by_hand() -> None:
    weights = _bilinear_weights()
    np.testing.assert_array_equal(weights.sum(axis=1), 3)
    np.testing.assert_array_equal(weights[:5, 0], [3, 3, 2, 1, 0])
    np.testing.assert_array_equal(weights[-5:, -1], [0, 1, 2, 3, 3])
    image = np.zeros((1, 8, 8), np.uint8)
    image[0, 3, 4] = 16
    (enlarged,) = _enlarge(image)
    tent = np.array([1, 2, 3, 2, 1]) / 3
    np.testing.assert_allclose(enlarged[10:15, 13:18], np.outer(tent, tent), rtol=1e-6)
    assert enlarged.sum() == pytest.approx(9)


def test_enlarging_keeps_the_border_black() -> None:
    (enlarged,) = _enlarge(np.full((1, 8, 8), 16, np.uint8))
    expected = np.zeros((28, 28), np.float32)
    expected[2:-2, 2:-2] = 1
    np.testing.assert_array_equal(enlarged, expected)


def test_loaded_twice_is_equal_and_independent() -> None:
    first, second = load("digits"), load("digits")
    np.testing.assert_array_equal(first.x_train, second.x_train)
    np.testing.assert_array_equal(first.y_test, second.y_test)
    first.x_train[:] = 0
    assert load("digits").x_train.max() == 1


def test_digits_search_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRT_DATA_DIR", "absent")
    assert load("digits").source == "embedded"
