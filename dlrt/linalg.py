"""Dense linear algebra of low-rank matrices: pure functions on `keras.ops`.

Singular value decompositions follow `keras.ops.svd`: `(u, s, vh)`, with `vh` the
transposed right singular vectors. LAPACK-like kernels exist in single and double
precision only, so every decomposition here is computed in at least float32 and cast
back. Non-finite input gives NaN output, never an exception out of a compiled graph.

A *basis* is an `(n, r)` matrix whose columns are orthonormal, or zero: zero columns
are directions that are not in use. All functions accept them.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

Tensor = Any


class Complement(NamedTuple):
    """The part of an increment that a basis does not span yet.

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
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def epsilon(tensor: Tensor) -> float:
    """The machine precision of a tensor's dtype (that of float32 at most)."""
    return 2.0**-52 if at_least_float32(tensor.dtype) == "float64" else 2.0**-23


def transpose(matrix: Tensor) -> Tensor:
    return ops.swapaxes(matrix, -1, -2)


def frobenius_norm(matrix: Tensor) -> Tensor:
    """`‖A‖_F`, without overflow or underflow of the squares."""
    scale = ops.max(ops.absolute(matrix))
    safe = ops.where(scale > 0, scale, ops.ones_like(scale))
    return safe * ops.sqrt(ops.sum(ops.square(matrix / safe)))


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin singular value decomposition `A = u @ diag(s) @ vh`.

    Args:
        matrix: `(n, m)`, any floating dtype.

    Returns:
        `u: (n, k)`, `s: (k,)` in descending order and `vh: (k, m)`, `k = min(n, m)`.
    """
    prepared, finish = _prepare(matrix)
    u, s, vh = ops.svd(prepared, full_matrices=False)
    return finish(u), finish(s), finish(vh)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors (columns) of a symmetric matrix."""
    prepared, finish = _prepare(matrix)
    values, vectors = ops.eigh(prepared)
    return finish(values), finish(vectors)


def orthonormalize(matrix: Tensor) -> Tensor:
    """An orthonormal basis whose span contains the columns of `matrix`.

    Householder QR of the matrix scaled to unit size, hence orthonormal to machine
    precision for rank-deficient, zero, tiny and huge matrices alike: missing
    directions are completed by directions near the first unit vectors.

    Args:
        matrix: `(n, r)` with `r <= n`.

    Returns:
        `(n, r)` with orthonormal columns.
    """
    prepared, finish = _prepare(matrix)
    scale = ops.max(ops.absolute(prepared))
    q, _ = ops.qr(prepared / ops.where(scale > 0, scale, ops.ones_like(scale)))
    return finish(q)


def polar_factor(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to a square one (orthogonal Procrustes)."""
    u, _, vh = svd(matrix)
    return u @ vh


def complement(basis: Tensor, increment: Tensor) -> Complement:
    """Directions that an increment adds to the span of a basis.

    The new directions are found from the Gram matrix of the projected increment, an
    `(r, r)` eigenvalue problem, which is several times cheaper than a Householder QR
    of the tall matrix. Directions below the rounding error of the increment are
    dropped (zero columns). Small directions are orthonormal to a few digits only;
    `reorthonormalize` repairs a basis that was composed of them.

    Args:
        basis: `U: (n, r)`, orthonormal or zero columns.
        increment: `D: (n, r)`, of any size.
    """
    eps = epsilon(increment)
    scale = ops.max(ops.absolute(increment))
    safe_scale = ops.where(scale > 0, scale, ops.ones_like(scale))
    scaled = increment / safe_scale
    overlap = transpose(basis) @ scaled
    perpendicular = scaled - basis @ overlap
    values, vectors = eigh(transpose(perpendicular) @ perpendicular)
    # Descending, so that dropped directions come last.
    values, vectors = ops.flip(values), ops.flip(vectors, axis=1)
    # The Gram matrix squares the condition number: an eigenvalue is meaningful down
    # to eps times the largest, and down to the rounding error of the projection.
    rounding = ops.square(100 * eps * frobenius_norm(scaled))
    floor = ops.maximum(16 * eps * values[0], rounding)
    active = ops.cast(values > floor, increment.dtype)
    root = ops.sqrt(ops.where(values > floor, values, ops.ones_like(values)))
    return Complement(
        perpendicular=perpendicular,
        whitening=vectors * (active / root),
        overlap=overlap * safe_scale,
        remainder=ops.expand_dims(active * root, 1) * transpose(vectors) * safe_scale,
        active=active,
    )


def reorthonormalize(basis: Tensor, iterations: int = 5) -> tuple[Tensor, Tensor]:
    """Removes the departure from orthonormality of a nearly orthonormal basis.

    Symmetric (Löwdin) orthonormalisation `A (AᵀA)^(-1/2)`, which moves every column
    the least. The inverse root is found by a coupled Newton-Schulz iteration on the
    `(r, r)` Gram matrix (Higham, Functions of Matrices, 2008, eq. 6.35), convergent
    for `‖AᵀA - I‖ < 1`. Zero columns stay zero.

    Args:
        basis: `A: (n, r)`.
        iterations: Number of iterations; the error is squared by each.

    Returns:
        The orthonormal basis `Q: (n, r)` and the root `(r, r)`, with `A = Q @ root`.
    """
    identity = ops.eye(ops.shape(basis)[1], dtype=basis.dtype)
    root = transpose(basis) @ basis
    inverse = identity
    for _ in range(iterations):
        update = 1.5 * identity - 0.5 * (inverse @ root)
        root, inverse = root @ update, update @ inverse
    return basis @ inverse, root


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
    rank = ops.sum(ops.cast(tail > bound, "int32"))
    count = ops.shape(singular_values)[0]
    upper = count if max_rank is None else ops.minimum(max_rank, count)
    return ops.minimum(ops.maximum(rank, min_rank), upper)


def _prepare(matrix: Tensor) -> tuple[Tensor, Any]:
    """Casts to a decomposable dtype and keeps NaN away from LAPACK."""
    dtype = matrix.dtype
    matrix = ops.cast(matrix, at_least_float32(dtype))
    finite = ops.all(ops.isfinite(matrix))
    poison = ops.where(finite, 0.0, float("nan"))

    def finish(result: Tensor) -> Tensor:
        return ops.cast(result + ops.cast(poison, result.dtype), dtype)

    return ops.where(finite, matrix, ops.zeros_like(matrix)), finish
