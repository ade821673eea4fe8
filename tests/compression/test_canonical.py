import sys

import numpy as np
import pytest

from dlrt.compression.structures import _canonical
from dlrt.compression.structures._canonical import (
    MOST_DEGENERACY,
    OrthogonalTerms,
    compose,
    decompose_canonically,
)

pytestmark = pytest.mark.tensorflow_only

SHAPES = [(3, 5, 6), (3, 2, 5, 6), (5, 5, 1, 4), (1, 3, 4, 4), (3, 3, 1, 1)]


def kernel(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def of_rank(shape, rank, seed=0):
    rng = np.random.default_rng(seed)
    return compose([rng.normal(size=(n, rank)) for n in shape])


def degenerate():
    """`a a b + a b a + b a a`: of rank 3, a limit of tensors of rank 2."""
    a, b = np.eye(2)
    parts = [(a, a, b), (a, b, a), (b, a, a)]
    return sum(np.einsum("i,j,k->ijk", *part) for part in parts)


def squared_norms(factors):
    norms = np.prod([np.linalg.norm(f, axis=0) for f in factors], axis=0)
    return np.sum(norms**2)


def relative_error(tensor, factors):
    return np.linalg.norm(tensor - compose(factors)) / np.linalg.norm(tensor)


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_terms_sum_up_to_the_kernel(shape):
    tensor = kernel(shape)
    terms = OrthogonalTerms(tensor)
    most = len(terms.values)
    assert np.all(np.diff(terms.values) <= 0)
    for rank in {1, most // 2 or 1, most}:
        found = compose(terms.sum_of(rank))
        left = np.linalg.norm(terms.values[rank:])
        assert np.linalg.norm(tensor - found) == pytest.approx(left, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_decompositions_are_what_they_say(shape):
    tensor = 7 * kernel(shape)
    terms = OrthogonalTerms(tensor)
    for rank in {1, 2, len(terms.values)} - set(range(len(terms.values) + 1, 3)):
        found = decompose_canonically(tensor, terms, rank)
        assert [f.shape for f in found.factors] == [(n, rank) for n in shape]
        error = relative_error(tensor, found.factors)
        assert found.error == pytest.approx(error, abs=1e-9)
        start = np.linalg.norm(terms.values[rank:]) / np.linalg.norm(tensor)
        assert found.error <= start + 1e-9
        degeneracy = squared_norms(found.factors) / np.linalg.norm(tensor) ** 2
        assert found.degeneracy == pytest.approx(degeneracy)
        norms = np.array([np.linalg.norm(f, axis=0) for f in found.factors])
        np.testing.assert_allclose(norms, np.broadcast_to(norms[0], norms.shape))


@pytest.mark.parametrize("shape", [(3, 12, 14), (3, 3, 12, 14)])
def test_tensors_of_low_rank_are_found(shape):
    tensor = of_rank(shape, 4)
    found = decompose_canonically(tensor, OrthogonalTerms(tensor), 4, sweeps=300)
    assert found.error < 1e-3
    assert found.degeneracy < MOST_DEGENERACY


def test_least_squares_beat_orthogonal_terms():
    tensor = of_rank((3, 3, 10, 10), 12)
    terms = OrthogonalTerms(tensor)
    start = np.linalg.norm(terms.values[12:]) / np.linalg.norm(tensor)
    assert decompose_canonically(tensor, terms, 12).error < 0.5 * start


def test_degenerate_decompositions_are_treated():
    tensor = degenerate()
    terms = OrthogonalTerms(tensor)
    start = _canonical._disturb(terms.sum_of(2))
    untreated = _canonical._least_squares(tensor, start, _canonical._LEAST_RIDGE, 3000)
    assert squared_norms(untreated) > 2 * MOST_DEGENERACY * np.sum(tensor**2)
    assert relative_error(tensor, untreated) < 0.02
    found = decompose_canonically(tensor, terms, 2, sweeps=3000)
    assert found.degeneracy <= MOST_DEGENERACY
    # That of the best tensor of rank one is 0.745.
    assert found.error < 0.1


def test_zeros_have_a_decomposition():
    tensor = np.zeros((3, 3, 4, 5))
    found = decompose_canonically(tensor, OrthogonalTerms(tensor), 3)
    assert (found.error, found.degeneracy) == (0.0, 0.0)
    assert not any(np.any(factor) for factor in found.factors)


@pytest.mark.parametrize("mode", range(4))
def test_the_product_is_that_of_tensorly(mode):
    from tensorly.tenalg.core_tenalg import unfolding_dot_khatri_rao

    shape = (3, 2, 5, 6)
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=(n, 4)) for n in shape]
    for weights in (None, rng.normal(size=4)):
        arguments = kernel(shape), (weights, factors), mode
        np.testing.assert_allclose(
            _canonical._unfolding_dot_khatri_rao(*arguments),
            unfolding_dot_khatri_rao(*arguments),
            atol=1e-12,
        )


def test_tensorly_is_left_as_it_was():
    import tensorly

    before = tensorly.get_backend(), tensorly.tenalg.current_backend()
    tensor = kernel((3, 4, 5))
    decompose_canonically(tensor, OrthogonalTerms(tensor), 3)
    assert (tensorly.get_backend(), tensorly.tenalg.current_backend()) == before


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorly", None)
    tensor = kernel((3, 4, 5))
    with pytest.raises(ImportError, match=r"extra `cp`: pip install -e \.\[cp\]"):
        decompose_canonically(tensor, OrthogonalTerms(tensor), 3)
