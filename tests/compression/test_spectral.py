"""Singular values and best approximations against decompositions of NumPy."""

import numpy as np
import pytest

from dlrt.compression.structures._spectral import (
    balanced_factors,
    best_factors,
    singular_values,
)

SHAPES = [(30, 12), (12, 30), (12, 12), (1, 5), (5, 1)]


def matrix_of(shape, rank=None, seed=0):
    """A float32 matrix, of a rank if one is given."""
    rng = np.random.default_rng(seed)
    rank = min(shape) if rank is None else rank
    product = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    return product.astype("float32")


@pytest.mark.parametrize("shape", SHAPES)
def test_values(shape):
    matrix = matrix_of(shape)
    expected = np.linalg.svd(matrix.astype("float64"), compute_uv=False)
    found = singular_values(matrix)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=3e-8 * expected[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factors", [best_factors, balanced_factors])
def test_approximations_are_the_best(factors, shape):
    matrix = matrix_of(shape)
    u, s, vt = np.linalg.svd(matrix.astype("float64"), full_matrices=False)
    for rank in range(1, min(shape) + 1):
        left, right = factors(matrix, rank)
        assert left.shape == (shape[0], rank)
        assert right.shape == (rank, shape[1])
        expected = (u[:, :rank] * s[:rank]) @ vt[:rank]
        np.testing.assert_allclose(left @ right, expected, atol=1e-6 * s[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_balanced_factors_have_equal_norms(shape):
    left, right = balanced_factors(matrix_of(shape), 1)
    np.testing.assert_allclose(np.linalg.norm(left), np.linalg.norm(right))


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("factors", [best_factors, balanced_factors])
def test_matrices_of_lower_rank(factors, rank, shape):
    matrix = matrix_of(shape, rank)
    assert np.isfinite(singular_values(matrix)).all()
    left, right = factors(matrix, 6)
    assert np.isfinite(left).all()
    assert np.isfinite(right).all()
    np.testing.assert_allclose(left @ right, matrix, atol=1e-5)
