import gradients
import keras
import numpy as np
import pytest
from keras import ops

from dlrt.backend.autodiff import vector_jacobian
from dlrt.layers._galerkin import (
    low_rank_lookup,
    low_rank_matmul,
    low_rank_matrix,
    schatten_penalty,
)

N, M, RANK = 6, 5, 3


def tensor(values):
    return ops.convert_to_tensor(np.asarray(values), dtype="float64")


def draw(orthonormal=True, values=None):
    rng = np.random.default_rng(4)
    u, v = rng.normal(size=(N, RANK)), rng.normal(size=(M, RANK))
    if orthonormal:
        u, v = np.linalg.qr(u)[0], np.linalg.qr(v)[0]
    s = rng.normal(size=(RANK, RANK))
    if values is not None:
        p, _, q = np.linalg.svd(s)
        s = (p * values) @ q
    return u, s, v


def test_product_and_its_gradients():
    # Also for factors that are not orthonormal, as those of the baseline.
    for orthonormal in (True, False):
        u, s, v = draw(orthonormal)
        rng = np.random.default_rng(0)
        x, target = rng.normal(size=(4, N)), rng.normal(size=(4, M))

        def loss(y):
            return ops.sum(ops.square(ops.sigmoid(y) - tensor(target)))  # noqa: B023

        def loss_of(w, x=x):
            return np.sum((1 / (1 + np.exp(-x @ w)) - target) ** 2)  # noqa: B023

        args = [tensor(a) for a in (x, u, s, v)]
        np.testing.assert_allclose(
            gradients.array(low_rank_matmul(*args)), x @ u @ s @ v.T, atol=1e-13
        )
        dx, du, ds, dv = gradients.of_function(
            lambda *a: loss(low_rank_matmul(*a)),  # noqa: B023
            *args,
        )
        w = u @ s @ v.T
        g = gradients.numerical(loss_of, w)
        np.testing.assert_allclose(du, g @ v, atol=1e-7)
        np.testing.assert_allclose(ds, u.T @ g @ v, atol=1e-7)
        np.testing.assert_allclose(dv, g.T @ u, atol=1e-7)
        expected = gradients.numerical(lambda y: loss_of(w, y), x)  # noqa: B023
        np.testing.assert_allclose(dx, expected, atol=1e-7)


def test_represented_and_its_gradients():
    u, s, v = draw()
    target = np.random.default_rng(0).normal(size=(N, M))
    args = [tensor(a) for a in (u, s, v)]
    np.testing.assert_allclose(
        gradients.array(low_rank_matrix(*args)), u @ s @ v.T, atol=1e-14
    )
    found = gradients.of_function(
        lambda *a: ops.sum((low_rank_matrix(*a) - tensor(target)) ** 4), *args
    )
    g = gradients.numerical(lambda w: np.sum((w - target) ** 4), u @ s @ v.T)
    for actual, expected in zip(found, (g @ v, u.T @ g @ v, g.T @ u), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("l1, l2", [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
@pytest.mark.parametrize("values", [(2.0, 1.0, 0.5), (1.0, 1.0, 1e-3)], ids=str)
def test_schatten_penalty_and_its_gradients(l1, l2, values):
    u, s, v = draw(values=np.array(values))
    args = [tensor(a) for a in (u, s, v)]

    def norms(w):
        return l1 * np.linalg.norm(w, "nuc") + l2 * np.sum(w**2)

    value = schatten_penalty(*args, l1, l2)
    assert float(value) == pytest.approx(norms(u @ s @ v.T), rel=1e-12)
    found = gradients.of_function(lambda *a: 3.0 * schatten_penalty(*a, l1, l2), *args)
    expected = gradients.galerkin(norms, u, s, v)
    for actual, name in zip(found, "usv", strict=True):
        np.testing.assert_allclose(actual, 3.0 * expected[name], atol=1e-5)


def test_schatten_penalty_at_a_kink_has_a_subgradient():
    u, _, v = draw()
    zero = tensor(np.zeros((RANK, RANK)))
    args = tensor(u), zero, tensor(v)
    assert float(schatten_penalty(*args, 1.0, 1.0)) == 0.0
    for gradient in gradients.of_function(
        lambda *a: schatten_penalty(*a, 1.0, 1.0), *args
    ):
        # Any matrix of spectral norm at most one.
        assert np.linalg.norm(gradient, 2) <= 1 + 1e-12


def test_compiled_product_has_the_same_gradients(compiled):
    u, s, v = draw()
    x = np.random.default_rng(0).normal(size=(4, N))
    args = [tensor(a) for a in (x, u, s, v)]
    y = compiled(low_rank_matmul)(*args)
    np.testing.assert_allclose(gradients.array(y), x @ u @ s @ v.T, atol=1e-13)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize(
    "function", [low_rank_matmul, low_rank_lookup, low_rank_matrix]
)
def test_columns_of_zeros_are_left_out_with_the_same_gradients(function):
    u, s, v = draw()
    wide = [np.pad(u, [(0, 0), (0, 2)]), np.pad(s, (0, 2)), np.pad(v, [(0, 0), (0, 2)])]
    factors = [tensor(factor) for factor in wide]
    inputs = {
        low_rank_matmul: [tensor(np.random.default_rng(0).normal(size=(4, N)))],
        low_rank_lookup: [ops.convert_to_tensor([3, 0, 3])],
        low_rank_matrix: [],
    }[function]

    def loss(*factors, at_rank):
        return ops.sum(function(*inputs, *factors, at_rank=at_rank) ** 4)

    whole, used = (
        gradients.of_function(
            lambda *factors: loss(*factors, at_rank=at_rank),  # noqa: B023
            *factors,
        )
        for at_rank in (False, True)
    )
    for expected, found, name in zip(whole, used, "usv", strict=True):
        expected = np.array(expected)
        # Galerkin gradients for directions that are not in use are not looked at.
        expected[:, RANK:] = 0
        if name == "s":
            expected[RANK:] = 0
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_backends_without_gradients_of_convolutions_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="TensorFlow or JAX.*backend='numpy'"):
        vector_jacobian(lambda x: x, (np.ones(2),), np.ones(2))
