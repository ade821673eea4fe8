import numpy as np
import pytest
from helpers import array, dense, tensor

from dlrt import Factors


def draw(shape=(9, 6)):
    return np.random.default_rng(0).normal(size=shape)


def tail(matrix, rank):
    return np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[rank:])


@pytest.mark.parametrize("shape", [(9, 6), (6, 9)], ids=str)
@pytest.mark.parametrize("rank", [1, 4, 6])
def test_from_dense_is_the_best_approximation(shape, rank):
    w = draw(shape)
    factors = Factors.from_dense(tensor(w), rank)
    assert [tuple(f.shape) for f in factors] == [
        (shape[0], rank),
        (rank, rank),
        (shape[1], rank),
    ]
    error = np.linalg.norm(dense(factors) - w)
    assert error == pytest.approx(tail(w, rank), rel=1e-10, abs=1e-12)
    np.testing.assert_allclose(array(factors.to_dense()), dense(factors), atol=1e-13)
    for basis in (array(factors.u), array(factors.v)):
        np.testing.assert_allclose(basis.T @ basis, np.eye(rank), atol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-6, 0.2, 0.5, 0.95])
def test_from_dense_within_a_tolerance_has_the_smallest_rank(tolerance):
    w = draw()
    factors = Factors.from_dense(tensor(w), tolerance=tolerance)
    rank, allowed = factors.s.shape[0], tolerance * np.linalg.norm(w)
    assert np.linalg.norm(dense(factors) - w) <= allowed
    assert rank == 1 or tail(w, rank - 1) > allowed


def test_from_dense_prefers_the_rank():
    assert Factors.from_dense(tensor(draw()), 2, 1e-9).s.shape == (2, 2)


def test_from_dense_takes_numpy_arrays():
    w = draw().astype("float32")
    np.testing.assert_allclose(dense(Factors.from_dense(w, 6)), w, atol=1e-5)


def test_from_dense_needs_a_rank_or_a_tolerance():
    with pytest.raises(ValueError, match="`rank` and `tolerance`"):
        Factors.from_dense(tensor(draw()))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_truncated_is_the_best_approximation(rank):
    # Coefficients that are neither diagonal nor sorted.
    q = Factors.from_dense(tensor(draw()), 4)
    full = Factors(q.u, tensor(draw((4, 4))), q.v)
    truncated = full.truncated(rank)
    assert truncated.s.shape == (rank, rank)
    error = np.linalg.norm(dense(truncated) - dense(full))
    assert error == pytest.approx(tail(dense(full), rank), rel=1e-10)


@pytest.mark.parametrize("rank", [4, 5])
def test_truncated_keeps_factors_that_are_small_enough(rank):
    factors = Factors.from_dense(tensor(draw()), 4)
    assert factors.truncated(rank) is factors


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"rank": 0}, "`rank` must be a positive integer.*rank=0"),
        ({"rank": 7}, r"`rank` must be at most min\(n, m\) = 6 .*rank=7"),
        ({"rank": 2.0}, "`rank` must be a positive integer.*rank=2.0"),
        ({"tolerance": 1.5}, r"`tolerance` must lie in \(0, 1\).*1.5"),
        ({"matrix": draw().astype("complex64"), "rank": 2}, "`matrix`.*complex64"),
        ({"matrix": np.eye(3, dtype="int32"), "rank": 2}, "`matrix`.*int32"),
        ({"matrix": np.full((3, 3), np.nan), "rank": 2}, "`matrix` must be finite"),
        ({"matrix": np.ones(3), "rank": 1}, r"`matrix` must be a matrix.*\(3,\)"),
        ({"matrix": None, "rank": 1}, "`matrix` must be a matrix.*NoneType"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Factors.from_dense(**{"matrix": draw((9, 6)), **arguments})


def test_truncated_needs_a_rank():
    with pytest.raises(ValueError, match="`rank` must be a positive integer.*0"):
        Factors.from_dense(draw(), 2).truncated(0)
