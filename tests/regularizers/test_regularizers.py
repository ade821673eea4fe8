import keras
import numpy as np
import pytest
from helpers import array
from keras import ops

from dlrt.backend.autodiff import vector_jacobian
from dlrt.regularizers import Hoyer, Orthogonality

REGULARIZERS = [
    Hoyer(0.3),
    Hoyer(0.3, squared=True),
    Orthogonality(0.3),
    Orthogonality(0.3, axis=0),
]


def value(regularizer, x, dtype="float64"):
    return float(regularizer(ops.convert_to_tensor(x, dtype)))


def gradient(regularizer, x, dtype="float64"):
    x = ops.convert_to_tensor(x, dtype)
    (found,) = vector_jacobian(regularizer, (x,), ops.ones((), dtype))
    return array(found)


def numerical(function, point, step=1e-6):
    result = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        shift = np.zeros_like(point)
        shift[index] = step
        result[index] = (function(point + shift) - function(point - shift)) / (2 * step)
    return result


def test_hoyer_is_the_ratio_of_norms():
    s = np.array([3.0, -4.0, 0.0])
    assert value(Hoyer(0.5), s) == pytest.approx(0.5 * 7 / 5)
    assert value(Hoyer(0.5, squared=True), s) == pytest.approx(0.5 * 49 / 25)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_hoyer_counts_entries_of_one_size(size):
    s = np.zeros(10)
    s[:size] = 0.3
    assert value(Hoyer(1.0), s) == pytest.approx(np.sqrt(size))
    assert value(Hoyer(1.0, squared=True), s) == pytest.approx(size)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_hoyer_is_the_same_at_every_scale(scale):
    s = np.random.default_rng(0).normal(size=6)
    for hoyer in (Hoyer(0.3), Hoyer(0.3, squared=True)):
        assert value(hoyer, scale * s, "float32") == pytest.approx(value(hoyer, s))


@pytest.mark.parametrize("squared", [False, True])
def test_hoyer_of_nothing_is_flat(squared):
    hoyer = Hoyer(0.3, squared)
    assert value(hoyer, np.zeros(4)) == 0
    np.testing.assert_array_equal(gradient(hoyer, np.zeros(4)), np.zeros(4))
    assert np.isfinite(gradient(hoyer, np.array([0.0, 2.0, 0.0]))).all()
    assert np.isnan(value(hoyer, [1.0, np.nan]))


@pytest.mark.parametrize("squared", [False, True])
def test_one_entry_has_nothing_to_lose(squared):
    np.testing.assert_allclose(gradient(Hoyer(0.3, squared), np.array([1.7])), 0)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda r: str(r.get_config()))
def test_gradients(regularizer):
    shape = (6,) if isinstance(regularizer, Hoyer) else (3, 2, 4)
    x = np.random.default_rng(0).normal(size=shape)
    expected = numerical(lambda point: value(regularizer, point), x)
    np.testing.assert_allclose(gradient(regularizer, x), expected, atol=1e-6)


@pytest.mark.parametrize("axis", [-1, 0, 1, -2])
def test_orthogonality_sees_one_axis_as_vectors(axis):
    kernel = np.random.default_rng(0).normal(size=(2, 4, 3))
    u = np.moveaxis(kernel, axis, -1).reshape(-1, kernel.shape[axis])
    penalty = np.linalg.norm(u.T @ u - np.eye(u.shape[1])) ** 2 / u.shape[1] ** 2
    assert value(Orthogonality(0.5, axis), kernel) == pytest.approx(0.5 * penalty)


def test_orthonormal_vectors_cost_nothing():
    u, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 4)))
    assert value(Orthogonality(1.0), u.reshape(3, 4, 4)) == pytest.approx(0, abs=1e-28)
    assert value(Orthogonality(1.0, axis=0), u.T) == pytest.approx(0, abs=1e-28)
    # Unlike Keras's penalty, it keeps their length.
    assert value(Orthogonality(1.0), 2 * u) == pytest.approx(9 / 4)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda r: str(r.get_config()))
def test_configurations(regularizer):
    serialized = keras.regularizers.serialize(regularizer)
    restored = keras.regularizers.get(serialized)
    assert type(restored) is type(regularizer)
    assert restored.get_config() == regularizer.get_config()


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), "1", None, True])
@pytest.mark.parametrize("kind", [Hoyer, Orthogonality])
def test_amounts_that_can_not_be(kind, amount):
    with pytest.raises(ValueError, match="`amount` must be a number of at least 0.*="):
        kind(amount)


@pytest.mark.parametrize("axis", [1.0, None, True])
def test_axes_that_can_not_be(axis):
    with pytest.raises(ValueError, match="`axis` must be an integer.*axis="):
        Orthogonality(1.0, axis)
