"""The two factors of a product, each stepped along its own gradient."""

import numpy as np
import pytest
from problems import array, dense, factors_of, field_for, random_factors, tensor

from dlrt import integrators


@pytest.fixture
def start():
    return random_factors(11, 7, 3)


def test_factorized_follows_the_gradients_of_its_two_factors(start):
    g = field_for(start, 1.0)
    a_, s_, b_ = map(array, integrators.get("factorized").prepare(start))
    np.testing.assert_array_equal(s_, np.eye(3))
    np.testing.assert_allclose(a_ @ b_.T, dense(start), atol=1e-14)
    assert np.linalg.norm(a_) == pytest.approx(np.linalg.norm(b_), rel=1e-12)

    h = 0.1
    end = integrators.step(
        "factorized", lambda t, w: tensor(g), 0.0, start, h, substep=integrators.euler
    )
    expected = (a_ + h * g @ b_) @ (b_ + h * g.T @ a_).T
    np.testing.assert_allclose(dense(end), expected, atol=1e-13)


def test_factorized_gradients_from_those_of_the_layer(start):
    # A layer reports G V, Uᵀ G V, Gᵀ U for the factors that it holds.
    integrator = integrators.get("factorized")
    u, s, v = map(array, start)
    g = field_for(start, 1.0)
    galerkin = {"u": tensor(g @ v), "s": tensor(u.T @ g @ v), "v": tensor(g.T @ u)}
    gradients = integrator.gradients(start, galerkin)
    a_, _, b_ = map(array, integrator.prepare(start))
    np.testing.assert_allclose(array(gradients["u"]), g @ b_, atol=1e-12)
    np.testing.assert_allclose(array(gradients["v"]), g.T @ a_, atol=1e-12)


def test_factorized_keeps_its_form():
    prepared = integrators.get("factorized").prepare(random_factors(8, 6, 2))
    again = integrators.get("factorized").prepare(prepared)
    for new, old in zip(again, prepared, strict=True):
        np.testing.assert_allclose(array(new), array(old), atol=1e-15)


def test_factorized_of_a_zero_matrix():
    start = factors_of(np.zeros((5, 4)), 2)
    prepared = integrators.get("factorized").prepare(start)
    np.testing.assert_array_equal(dense(prepared), 0.0)
    assert np.isfinite(array(prepared.v)).all()
