"""Tensors as sums of few rank-one tensors: canonical polyadic (CP) decompositions."""

import functools
import importlib
import types
import warnings
from typing import Any, NamedTuple

import numpy as np

# A decomposition is degenerate if the squared norms of its components exceed this many
# times that of the tensor: they are large and cancel.
MOST_DEGENERACY = 5.0
# The largest number of sweeps of alternating least squares, and the decrease of the
# relative error below which they stop.
SWEEPS = 30
_TOLERANCE = 1e-5
# Penalties with which a degenerate decomposition is repeated, in turn. They are added
# to normalised Gram matrices, so are relative to the weight of the error.
_RIDGES = (1e-3, 1e-2, 1e-1)
# Relative size of the noise added to starts: some are saddle points.
_NOISE = 1e-2
# Keeps the system regular for components of size 0.
_LEAST_RIDGE = 1e-10


class Canonical(NamedTuple):
    """`Σ_r a_r ⊗ b_r ⊗ ...`, the norm of each term shared evenly by its factors.

    Attributes:
        factors: `(n, R)` for each axis.
        error: Relative error in the Frobenius norm.
        degeneracy: `Σ_r ‖a_r ⊗ b_r ⊗ ...‖²` divided by the squared norm of the tensor:
            1 for an exact sum of orthogonal terms, the larger the more they cancel.
    """

    factors: list[np.ndarray]
    error: float
    degeneracy: float


class OrthogonalTerms:
    """Orthogonal rank-one tensors with a kernel as their sum, the largest first.

    The kernel, `(k, c, m)` or `(k, k', c, m)` in float64, is rotated to the singular
    vectors of its spatial axes, and the matrix `(c, m)` at each position has a singular
    value decomposition. So the best sums of `R` of these terms are known for every `R`
    at once, and none is degenerate. `values` are the norms of the terms, decreasing.
    """

    def __init__(self, kernel: np.ndarray) -> None:
        core = kernel
        self._bases = []
        for axis in range(kernel.ndim - 2):
            unfolded = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
            basis = np.linalg.svd(unfolded, full_matrices=False)[0]
            core = np.moveaxis(np.tensordot(basis, core, axes=(0, axis)), 0, axis)
            self._bases.append(basis)
        self._u, s, self._vt = np.linalg.svd(core, full_matrices=False)
        order = np.argsort(-s, axis=None, kind="stable")
        self._places = np.unravel_index(order, s.shape)
        self.values = s.ravel()[order]

    def sum_of(self, rank: int) -> list[np.ndarray]:
        """The factors of the `rank` largest terms, with unit columns but the last."""
        *positions, numbers = (place[:rank] for place in self._places)
        spatial = zip(self._bases, positions, strict=True)
        return [
            *(basis[:, position] for basis, position in spatial),
            np.swapaxes(self._u, -1, -2)[(*positions, numbers)].T,
            self._vt[(*positions, numbers)].T * self.values[:rank],
        ]


def decompose_canonically(
    kernel: np.ndarray, terms: OrthogonalTerms, rank: int, sweeps: int = SWEEPS
) -> Canonical:
    """A CP decomposition of a kernel, by alternating least squares of tensorly.

    It starts near the largest of the kernel's orthogonal terms, of which there must be
    as many as the rank. If it degenerates, that is, approaches a tensor of higher rank
    with components that grow and cancel, it is repeated with a penalty on the squared
    norms of the components, which Phan et al., 2020, arXiv:2008.05441, minimise. The
    error is never above that of these terms.

    Raises:
        ImportError: If tensorly is not installed.
    """
    norm = float(np.linalg.norm(kernel)) or 1.0
    unit = kernel / norm
    *factors, last = terms.sum_of(rank)
    start = [*factors, last / norm]
    best = _balance(unit, start)
    start = _disturb(start)
    for ridge in (_LEAST_RIDGE, *_RIDGES):
        try:
            fitted = _balance(unit, _least_squares(unit, start, ridge, sweeps))
        except np.linalg.LinAlgError:
            # Components have become equal.
            continue
        if fitted.degeneracy <= MOST_DEGENERACY:
            best = min(best, fitted, key=lambda found: found.error)
            break
    scale = norm ** (1 / kernel.ndim)
    return best._replace(factors=[scale * factor for factor in best.factors])


def compose(factors: list[np.ndarray]) -> np.ndarray:
    """The tensor with these factors."""
    *others, last = factors
    product = others[0]
    for factor in others[1:]:
        product = product[..., None, :] * factor
    return product @ last.T


def _disturb(factors: list[np.ndarray]) -> list[np.ndarray]:
    """Factors with some noise, always the same."""
    rng = np.random.default_rng(0)
    sizes = [_NOISE * np.sqrt(np.mean(factor**2, axis=0)) for factor in factors]
    return [
        factor + size * rng.standard_normal(factor.shape)
        for factor, size in zip(factors, sizes, strict=True)
    ]


def _balance(tensor: np.ndarray, factors: list[np.ndarray]) -> Canonical:
    norms = np.array([np.linalg.norm(factor, axis=0) for factor in factors])
    sizes = np.prod(norms, axis=0)
    shares = sizes ** (1 / len(factors)) / np.where(norms > 0, norms, 1.0)
    balanced = [factor * share for factor, share in zip(factors, shares, strict=True)]
    whole = float(np.linalg.norm(tensor)) or 1.0
    error = float(np.linalg.norm(tensor - compose(balanced))) / whole
    return Canonical(balanced, error, float(np.sum(sizes**2)) / whole**2)


def _least_squares(
    tensor: np.ndarray, start: list[np.ndarray], ridge: float, sweeps: int
) -> list[np.ndarray]:
    """Alternating least squares from a start, with a ridge."""
    tensorly = _import("tensorly")
    decomposition = _import("tensorly.decomposition")
    rank = start[0].shape[1]
    with (
        tensorly.backend_context("numpy", local_threadsafe=True),
        tensorly.tenalg.backend_context(_algebra(), local_threadsafe=True),
        warnings.catch_warnings(),
    ):
        # Tensorly advises against an initial guess for factors that it normalises.
        warnings.simplefilter("ignore")
        weights, factors = decomposition.parafac(
            tensor,
            rank,
            n_iter_max=sweeps,
            init=(np.ones(rank), start),
            tol=_TOLERANCE,
            l2_reg=ridge,
            # Then the ridge is on the squared norms of the components.
            normalize_factors=ridge > _LEAST_RIDGE,
        )
    *others, last = factors
    return [*others, last * weights]


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "CP decompositions need the extra `cp`: pip install -e .[cp]"
        ) from error


@functools.cache
def _algebra() -> Any:
    """Tensorly's algebra, except for the product that takes nearly all of the time."""
    core = _import("tensorly.tenalg.core_tenalg").CoreTenalgBackend
    algebra = types.new_class("Algebra", (core,), {"backend_name": "dlrt"})()
    algebra.register_method("unfolding_dot_khatri_rao", _unfolding_dot_khatri_rao)
    return algebra


def _unfolding_dot_khatri_rao(
    tensor: np.ndarray, decomposition: tuple, mode: int
) -> np.ndarray:
    """The unfolding of a tensor by the Khatri-Rao product of all factors but one.

    The longest axis goes first, so that the product, which has the size of the tensor
    times the rank by the length of an axis of the kernel, is never formed.
    """
    weights, factors = decomposition
    others = [axis for axis in range(tensor.ndim) if axis != mode]
    first = max(others, key=lambda axis: tensor.shape[axis])
    product = np.tensordot(tensor, factors[first], axes=(first, 0))
    left = [axis for axis in range(tensor.ndim) if axis != first]
    for axis in [axis for axis in others if axis != first]:
        along = np.moveaxis(product, left.index(axis), -2)
        product = np.einsum("...nr,nr->...r", along, factors[axis])
        left.remove(axis)
    return product if weights is None else product * weights
