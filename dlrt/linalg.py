"""Dense linear algebra of low-rank matrices: pure functions on `keras.ops`.

Singular value decompositions follow `keras.ops.svd`: `(u, s, vh)`, with `vh` the
transposed right singular vectors. LAPACK-like kernels exist in single and double
precision only, so every decomposition here is computed in at least float32 and cast
back. Non-finite input gives NaN output, never an exception out of a compiled graph.

A *basis* is an `(n, r)` matrix whose columns are orthonormal, or zero: zero columns
are directions that are not in use. All functions accept them. Leading dimensions, if
any, are batch dimensions: equal-shaped layers share one small decomposition. What is
said of a basis or its increment holds for a `Ragged` batch of them as well.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from dlrt.ragged import Ragged, stack_each

Tensor = Any


class Complement(NamedTuple):
    """The part of an increment that a basis does not span.

    With a basis `U` and an increment `D`, `D = U @ overlap + basis @ remainder` and
    `basis = perpendicular @ whitening`.

    Attributes:
        perpendicular: `(n, r)`, `D - U Uᵀ D`.
        whitening: `(r, r)`, zero columns where the increment adds no direction.
        overlap: `(r, r)`, `Uᵀ D`.
        remainder: `(r, r)`, coordinates of `perpendicular` in the new directions.
        active: `(r,)` of zeros and ones, one for each direction that is new.
    """

    perpendicular: Tensor
    whitening: Tensor
    overlap: Tensor
    remainder: Tensor
    active: Tensor

    @property
    def basis(self) -> Tensor:
        """The new directions, `(n, r)`: orthonormal or zero columns."""
        return self.perpendicular @ self.whitening


def at_least_float32(dtype: Any) -> str:
    """The dtype in which a tensor of `dtype` is decomposed."""
    double = keras.backend.standardize_dtype(dtype) == "float64"
    return "float64" if double else "float32"


def epsilon(tensor: Tensor) -> float:
    """The machine precision of a tensor's dtype (that of float32 at most)."""
    return 2.0**-52 if at_least_float32(tensor.dtype) == "float64" else 2.0**-23


def transpose(matrix: Tensor) -> Tensor:
    """Swaps rows and columns; batch dimensions stay."""
    return matrix.T if isinstance(matrix, Ragged) else ops.swapaxes(matrix, -1, -2)


def used_columns(basis: Tensor) -> Tensor:
    """Ones for the columns of a basis in use, zeros for zero columns."""
    return stack_each(lambda u: ops.cast(ops.any(u != 0, axis=-2), u.dtype), basis)


def basis_rank(basis: Tensor) -> Tensor:
    """Number of columns of a basis that are in use, an int32 scalar tensor."""
    return ops.sum(ops.cast(ops.any(basis != 0, axis=0), "int32"))


def frobenius_norm(matrix: Tensor) -> Tensor:
    """`‖A‖_F`, without overflow or underflow of the squares."""
    scale = magnitude(matrix)
    norm = ops.sqrt(ops.sum(ops.square(matrix / scale), axis=(-2, -1)))
    return norm * scale[..., 0, 0]


def cond(predicate: Tensor, if_true: Callable, if_false: Callable) -> Any:
    """`ops.cond`, but only one branch runs where the predicate is known.

    Outside of compiled functions, JAX would compile both branches anew at each call.
    """
    try:
        known = bool(predicate)
    except TypeError:
        return ops.cond(predicate, if_true, if_false)
    return if_true() if known else if_false()


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin singular value decomposition `A = u @ diag(s) @ vh`.

    Args:
        matrix: `(n, m)`, any floating dtype.

    Returns:
        `u: (n, k)`, `s: (k,)` in descending order and `vh: (k, m)`, `k = min(n, m)`.
    """
    if isinstance(matrix, Ragged):
        u, s, vh = zip(*map(svd, matrix.parts), strict=True)
        return Ragged(u), ops.stack(s), ops.stack(vh)
    u, s, vh = ops.svd(_promote(matrix), full_matrices=False)
    return _cast_like(u, matrix), _cast_like(s, matrix), _cast_like(vh, matrix)


def singular_values(matrix: Tensor) -> Tensor:
    """The singular values of a matrix, in descending order."""
    return _cast_like(ops.svd(_promote(matrix), compute_uv=False), matrix)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors (columns) of a symmetric matrix."""
    prepared = _promote(matrix)
    # TensorFlow raises for non-finite input here, in the middle of a training step.
    finite = ops.all(ops.isfinite(prepared), axis=(-2, -1), keepdims=True)
    values, vectors = ops.eigh(ops.where(finite, prepared, ops.zeros_like(prepared)))
    values = ops.where(finite[..., 0], values, ops.full_like(values, float("nan")))
    return _cast_like(values, matrix), _cast_like(vectors, matrix)


def orthonormalize(matrix: Tensor) -> Tensor:
    """An orthonormal basis whose span contains the columns of `matrix`.

    By Householder QR of the matrix scaled to unit size, so that the columns are
    orthonormal to machine precision for rank-deficient, zero, tiny and huge matrices
    alike. Missing directions are replaced by some near the first unit vectors.

    Args:
        matrix: `(n, r)` with `r <= n`.

    Returns:
        `(n, r)` with orthonormal columns.
    """
    if isinstance(matrix, Ragged):
        return Ragged(tuple(map(orthonormalize, matrix.parts)))
    prepared = _promote(matrix)
    scale = magnitude(prepared)
    q, _ = ops.qr(prepared / scale)
    # Some QR kernels hide NaN and infinity; the scale does not.
    return _cast_like(q + 0 * scale, matrix)


def inverse(matrix: Tensor) -> Tensor:
    """The inverse of a square matrix, NaN where there is none."""
    prepared = _promote(matrix)
    _, logarithm = ops.slogdet(prepared)
    regular = ops.isfinite(logarithm)[..., None, None]
    identity = ops.eye(ops.shape(matrix)[-1], dtype=prepared.dtype)
    prepared = ops.where(regular, prepared, identity)
    inverted = _invert_regular(prepared)
    return _cast_like(ops.where(regular, inverted, float("nan")), matrix)


def _invert_regular(matrix: Tensor) -> Tensor:
    """The inverse where `ops.slogdet` is finite.

    TensorFlow raises for a zero pivot, in the middle of a training step. Where a matrix
    is singular up to rounding, its `inv` finds such pivots in other cases than its
    `slogdet`; its `lu` finds them in the same.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.inv(matrix)
    import tensorflow as tf

    return tf.linalg.lu_matrix_inverse(*tf.linalg.lu(matrix))


def polar_factor(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to a square one (orthogonal Procrustes).

    By SVD, unless the matrix is so nearly orthogonal that a Newton-Schulz iteration
    reaches it to double precision in four steps, as after a small time step.
    """
    identity = ops.eye(ops.shape(matrix)[-1], dtype=matrix.dtype)
    departure = transpose(matrix) @ matrix - identity
    near = ops.max(ops.sum(ops.square(departure), axis=(-2, -1))) < 0.01

    def iterate() -> Tensor:
        factor = matrix @ (identity - 0.5 * departure)
        for _ in range(3):
            factor = factor @ (1.5 * identity - 0.5 * transpose(factor) @ factor)
        return factor

    def decompose() -> Tensor:
        u, _, vh = svd(matrix)
        return u @ vh

    return cond(near, iterate, decompose)


def perpendicular(basis: Tensor, increment: Tensor) -> tuple[Tensor, Tensor]:
    """Splits an increment into coordinates `Uᵀ D` and the part `D - U Uᵀ D`."""
    coordinates = transpose(basis) @ increment
    return coordinates, increment - basis @ coordinates


def complement(basis: Tensor, increment: Tensor, exact: bool = False) -> Complement:
    """Directions that an increment adds to the span of a basis.

    The new directions are found from the Gram matrix of the projected increment, an
    `(r, r)` eigenvalue problem, which is several times cheaper than a Householder QR
    of the tall matrix. Directions below the rounding error of the Gram matrix, the
    square root of the machine precision times the largest, are dropped (zero columns).
    Small directions are orthonormal to a few digits only; `reorthonormalize` repairs
    bases that were composed of them.

    Args:
        basis: `U: (n, r)`, orthonormal or zero columns.
        increment: `D: (n, r)`, of any size.
        exact: Whether to decompose the tall matrices instead: only directions below
            the rounding error of the increment are dropped, and the others are
            orthonormal to machine precision.
    """
    scale = magnitude(increment)
    along, across = perpendicular(basis, increment / scale)
    if exact:
        across, whitening, remainder, active = _decompose_increment(
            basis, along, across
        )
    else:
        gram = transpose(across) @ across
        whitening, remainder, active = _find_new_directions(gram, along)
    return Complement(across, whitening, along * scale, remainder * scale, active)


def _decompose_increment(
    basis: Tensor, along: Tensor, across: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A `Complement` without its overlap, whose `perpendicular` is its basis."""
    new, values, _ = svd(across)
    square = ops.sum(ops.square(values), -1) + ops.sum(ops.square(along), axis=(-2, -1))
    rounding = 100 * epsilon(values) * ops.sqrt(square)
    active = ops.cast(values > rounding[..., None], values.dtype)
    columns = active[..., None, :]
    # Removes what rounding has left of the basis in small directions.
    new = orthonormalize(perpendicular(basis, new * columns)[1]) * columns
    whitening = columns * ops.eye(ops.shape(active)[-1], dtype=active.dtype)
    return new, whitening, transpose(new) @ across, active


def _find_new_directions(
    gram: Tensor, overlap: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`whitening`, `remainder` and `active` of a `Complement`.

    Args:
        gram: `PᵀP: (r, r)` with `P = D - U Uᵀ D`.
        overlap: `Uᵀ D: (r, r)`.
    """
    eps = epsilon(gram)
    values, vectors = eigh(gram)
    # Descending, so that dropped directions come last.
    values, vectors = ops.flip(values, axis=-1), ops.flip(vectors, axis=-1)
    # The Gram matrix squares the condition number: an eigenvalue is meaningful down
    # to eps times the largest, and down to the rounding error of the projection.
    # The norm of the increment, by Pythagoras.
    square = ops.sum(values, -1) + ops.sum(ops.square(overlap), axis=(-2, -1))
    rounding = (100 * eps) ** 2 * square[..., None]
    floor = ops.maximum(16 * eps * values[..., :1], rounding)
    active = ops.cast(values > floor, gram.dtype)
    root = ops.sqrt(ops.where(values > floor, values, ops.ones_like(values)))
    return (
        vectors * (active / root)[..., None, :],
        (active * root)[..., :, None] * transpose(vectors),
        active,
    )


def reorthonormalize(
    basis: Tensor, iterations: int | None = None
) -> tuple[Tensor, Tensor]:
    """Removes the departure from orthonormality of a nearly orthonormal basis.

    By symmetric (Löwdin) orthonormalization `A (AᵀA)^(-1/2)`, which changes the columns
    as little as possible, and an iteration on the `(r, r)` Gram matrix (see `roots`).
    Zero columns stay zero.

    Args:
        basis: `A: (n, r)`.
        iterations: Number of iterations; each squares the error. By default as many as
            bring the largest error that `complement` leaves, 0.06, below 1e-5 in
            single precision and to rounding in double precision.

    Returns:
        The orthonormal basis `Q: (n, r)` and the root `(r, r)`, with `A = Q @ root`.
    """
    if iterations is None:
        iterations = 4 if at_least_float32(basis.dtype) == "float64" else 2
    root, inverse_root = roots(transpose(basis) @ basis, iterations)
    return basis @ inverse_root, root


def roots(matrix: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """The square root and its inverse of a matrix near the identity.

    By a coupled Newton-Schulz iteration (Higham, Functions of Matrices, 2008, eq.
    6.35), convergent for `‖A - I‖ < 1`.

    Args:
        matrix: `A: (r, r)`, symmetric and positive semidefinite; rows and columns may
            be zero.
        iterations: Number of iterations; each squares the error.
    """
    identity = 1.5 * ops.eye(ops.shape(matrix)[-1], dtype=matrix.dtype)
    inverse_root = identity - 0.5 * matrix
    root = matrix @ inverse_root
    for _ in range(iterations - 1):
        update = identity - 0.5 * (inverse_root @ root)
        root, inverse_root = root @ update, update @ inverse_root
    return root, inverse_root


def truncation_rank(
    singular_values: Tensor,
    tolerance: Tensor,
    min_rank: int = 1,
    max_rank: int | None = None,
) -> Tensor:
    """The smallest rank whose truncation error is within a relative tolerance.

    `(sum_{j > r} s_j²)^(1/2) <= tolerance * (sum_j s_j²)^(1/2)`, the rule of the
    rank-adaptive integrators (Ceruti, Kusch & Lubich, BIT 2022; arXiv 2205.13571).

    Args:
        singular_values: `(k,)`, in descending order.
        tolerance: Relative tolerance, in `[0, 1)`.
        min_rank: Lower bound; also bounded by `k`.
        max_rank: Upper bound, or `None` for `k`.

    Returns:
        The rank, an int32 scalar tensor.
    """
    largest = singular_values[0]
    relative = singular_values / ops.where(largest > 0, largest, ops.ones_like(largest))
    tail = ops.flip(ops.cumsum(ops.flip(ops.square(relative))))
    # tail[j] is the squared error of keeping j singular values.
    bound = ops.square(ops.cast(tolerance, tail.dtype)) * tail[0]
    rank = ops.cast(ops.sum(ops.cast(tail > bound, "int32")), "int32")
    count = ops.shape(singular_values)[0]
    upper = count if max_rank is None else ops.minimum(max_rank, count)
    return ops.minimum(ops.maximum(rank, min_rank), upper)


def magnitude(matrix: Tensor) -> Tensor:
    """The largest absolute entry, one for a zero matrix, as a `(1, 1)` matrix."""
    scale = stack_each(lambda a: ops.max(abs(a), (-2, -1), keepdims=True), matrix)
    return ops.where(scale == 0, ops.ones_like(scale), scale)


def _promote(matrix: Tensor) -> Tensor:
    """A matrix in a dtype in which it can be decomposed."""
    dtype = at_least_float32(matrix.dtype)
    return matrix if matrix.dtype == dtype else ops.cast(matrix, dtype)


def _cast_like(result: Tensor, like: Tensor) -> Tensor:
    return result if result.dtype == like.dtype else ops.cast(result, like.dtype)
