"""Singular values and best approximations, from Gram matrices.

The eigenvalues of the smaller of `WᵀW` and `WWᵀ` in float64 give singular values to
within 1e-8 of the largest, below the rounding errors of kernels. For large kernels they
take a fraction of the time of an SVD.
"""

import numpy as np


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """The singular values `(min(n, m),)` of a matrix `(n, m)`, decreasing."""
    squares = np.linalg.eigvalsh(_gram(_wide(matrix)))[::-1]
    return np.sqrt(np.maximum(squares, 0.0))


def best_factors(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation of a rank of a matrix `(n, m)`: `(n, r)` and `(r, m)`.

    These are `WV` and `Vᵀ`, or `U` and `UᵀW` if `n < m`.
    """
    wide = _wide(matrix)
    basis = np.linalg.eigh(_gram(wide))[1][:, ::-1][:, :rank]
    other = basis.T @ wide
    tall = matrix.shape[0] >= matrix.shape[1]
    return (other.T, basis.T) if tall else (basis, other)


def balanced_factors(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """As above, with columns and rows of equal norms, so that both train alike."""
    left, right = best_factors(matrix, rank)
    norms = np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=1)
    # One of the two has unit vectors; of a zero, the other stays one.
    root = np.sqrt(norms[1] / np.where(norms[0] > 0, norms[0], 1.0))
    root = np.where(root > 0, root, 1.0)
    return left * root, right / root[:, None]


def tail_norms(squares: np.ndarray) -> np.ndarray:
    """The norm of all but the first `r` terms: `(Σ_{j ≥ r} squares_j)^½`.

    It is `(n,)`, for `r` from 1 to `n`, where it is 0. Small terms are summed first.
    """
    return np.append(np.sqrt(np.cumsum(squares[::-1])[::-1])[1:], 0.0)


def _wide(matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix, "float64")
    return matrix.T if matrix.shape[0] >= matrix.shape[1] else matrix


def _gram(wide: np.ndarray) -> np.ndarray:
    return wide @ wide.T
