"""Bases turned by the small angles of a training step.

A span that is near to that of a basis `U` holds exactly one basis of the form
`B = U + D` with `D` perpendicular to `U`. Made orthonormal symmetrically, it is the
basis nearest to `U` (orthogonal Procrustes), so neither a QR decomposition nor an
eigenvalue problem is needed to find it: five products with tall matrices and a few
`r × r` ones, which matrices of one rank share in a batch, whatever their heights.
"""

from typing import Any, NamedTuple

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._augmentation import step_augmented
from dlrt.integrators.base import Truncation, Update
from dlrt.linalg import transpose
from dlrt.ragged import Ragged

Tensor = Any

# Bound for the square of `‖BᵀB - I‖_F`, that is for the sum of the fourth powers of the
# tangents of the angles, and the iterations that find the roots of such a `BᵀB`.
_NEAR = 0.01
# How much larger `XᵀX` is taken to be than it is where `X = D S⁻¹`: more than by the
# rounding errors of Gram matrices, and where `S` is so badly conditioned that those of
# `S⁻¹` would be seen (over 100 times those of the matrix), no error is small enough.
_SLACK = 1e-4
_ITERATIONS = {"float32": 3, "float64": 4}


class Rotation(NamedTuple):
    """A basis turned into another span.

    Attributes:
        basis: The basis of the new span that is nearest to the old one.
        root: `(BᵀB)^(1/2)`, with `B` the basis of the form `U + D`.
        overlap: `(BᵀB)^(-1/2)`, which is the overlap of the old with the new basis.
        near: Whether the angle is small enough for the above to be accurate.
    """

    basis: Tensor
    root: Tensor
    overlap: Tensor
    near: Tensor


class Rotated(NamedTuple):
    """A low-rank approximation by bases turned by small angles.

    Attributes:
        update: The new factors, as many columns as the old ones.
        near: Whether its error is certain to be at most 1.4 times the best of its rank,
            up to rounding.
        square_norm: `‖·‖_F²` of the matrix that they approximate.
    """

    update: Update
    near: Tensor
    square_norm: Tensor


def rotate(
    basis: Tensor, inverse: Tensor, increment: Tensor, unused: Tensor | None = None
) -> tuple[Rotation, Tensor]:
    """Turns a basis into the span of `basis @ core + increment`.

    Args:
        basis: `U: (n, r)`, orthonormal or zero columns.
        inverse: `core⁻¹: (r, r)`, not finite if there is none.
        increment: `(n, r)`, perpendicular to the basis.
        unused: `(r, r)`, diagonal, ones for the zero columns.

    Returns:
        The rotation, and `BᵀB - I`.
    """
    stepped = basis + increment @ inverse
    gram = transpose(stepped) @ stepped
    if unused is not None:
        gram = gram + unused
    departure = gram - ops.eye(ops.shape(gram)[-1], dtype=gram.dtype)
    near = _square_norm(departure) < _NEAR
    iterations = _ITERATIONS[linalg.at_least_float32(gram.dtype)]
    root, overlap = linalg.roots(gram, iterations)
    return Rotation(stepped @ overlap, root, overlap, near), departure


def rotate_both(
    factors: Factors, increments: dict[str, Tensor], kept: Tensor | None = None
) -> Rotated:
    """A low-rank approximation of `U (S + ΔS) Vᵀ + D Vᵀ + U Eᵀ`.

    `D` and `E` are the parts of the increments of `K` and `L` that are perpendicular to
    the bases. The new bases are those of the images of the old ones, one step of
    subspace iteration, and the new coefficients are the projection on them.

    With `S` for `S + ΔS`, and `X` and `Y` the coordinates of `D S⁻¹` and `E S⁻ᵀ` in the
    new directions, the matrix has the coordinates

    `[[S, S Yᵀ], [X S, 0]] = [[I, 0], [X, I]] [[S, 0], [0, -N]] [[I, Yᵀ], [0, I]]`

    with `N = X S Yᵀ`, and the error of the approximation is at most `‖N‖`. Where
    `‖N‖ <= σ_min(S)`, that of the best one is at least `‖N‖` times the smallest
    singular values of the two outer matrices, each `(1 + x²/4)^(1/2) - x/2` with
    `x = ‖X‖₂` or `‖Y‖₂`. Angles that count as small make the product at least 0.72.

    Args:
        factors: The old factors.
        increments: Increments of `K`, `L` and `S`, by name of the factor.
        kept: `(r,)`, ones for the columns of the bases in use; `None` if all are.
    """
    core, unused = factors.s + increments["s"], None
    if kept is None:
        inverse = linalg.inverse(core)
    else:
        unused = ops.diag(1 - kept)
        inverse = linalg.inverse(core + unused) * kept[:, None]
    bases = Ragged((factors.u, factors.v))
    _, across = linalg.perpendicular(bases, Ragged((increments["u"], increments["v"])))
    inverses = ops.stack([inverse, transpose(inverse)])
    rotation, departure = rotate(bases, inverses, across, unused)
    # ‖N‖² = tr(Sᵀ XᵀX S YᵀY), and 1 / ‖S⁻¹‖ <= σ_min(S).
    identity = ops.eye(ops.shape(core)[-1], dtype=core.dtype)
    xx, yy = ops.unstack(departure + _SLACK * identity, 2)
    left_out = ops.sum((xx @ core) * (core @ yy), axis=(-2, -1))
    good = left_out * _square_norm(inverse) <= 1
    u, v = rotation.basis.parts
    root_u, root_v = ops.unstack(rotation.root, 2)
    left, right = ops.unstack(rotation.overlap, 2)
    # Bᵤᵀ W Bᵥ = Mᵤ S + S Mᵥ - S with the Gram matrices M of the two B, since
    # D = (Bᵤ - U) S and E = (Bᵥ - V) Sᵀ.
    mixed = core @ right
    s = root_u @ mixed + left @ (core @ root_v - mixed)
    # ‖S‖² + ‖D‖² = ‖Bᵤ S‖² by Pythagoras, and so for E.
    square_norm = (
        _square_norm(root_u @ core) + _square_norm(core @ root_v) - _square_norm(core)
    )
    near = ops.logical_and(ops.all(rotation.near, axis=0), good)
    return Rotated(Update(Factors(u, s, v), left, right), near, square_norm)


def keeps_rank(rotated: Rotated, truncation: Truncation, rank: Tensor | int) -> Tensor:
    """Whether a truncation rule is certain to choose the rank that a matrix has.

    Then the approximation in turned bases is within the tolerance, and serves as well
    as a truncated SVD of twice the width, which is needed only where this is false.

    The approximation is `A = Pᵀ Ŝ Q` with orthonormal `P` and `Q`, so its singular
    values `a_j` are at most those of `Ŝ`. With `k` for the rank without candidates, the
    error at rank `k` is at most `(‖Ŝ‖² - a_1² - ... - a_k²)^(1/2)`, and at `k - 1` at
    least `(a_k² + a_(k+1)² + ...)^(1/2)`.

    Args:
        rotated: The approximation.
        truncation: The rule.
        rank: The rank.
    """
    core, whole = rotated.update.factors.s, rotated.square_norm
    square = ops.square(ops.cast(truncation.tolerance, core.dtype)) * whole
    upper = truncation.max_rank
    upper = 2 * rank if upper is None else ops.minimum(upper, 2 * rank)
    rounding = 32 * linalg.epsilon(core) * whole
    squares = ops.square(linalg.singular_values(core))
    index, k = ops.arange(ops.shape(squares)[0]), rank - truncation.candidates
    left_out = whole - ops.sum(ops.where(index < k, squares, 0.0))
    enough = left_out + rounding <= square
    enough = ops.logical_or(ops.logical_and(enough, rank < upper), rank == upper)
    needed = ops.sum(ops.where(index < k - 1, 0.0, squares)) > square + rounding
    lower = ops.minimum(truncation.min_rank + truncation.candidates, upper)
    needed = ops.logical_or(ops.logical_and(needed, rank > lower), rank == lower)
    return ops.logical_and(enough, needed)


def try_rotation(
    factors: Factors, increments: dict[str, Tensor], truncation: Truncation | None
) -> tuple[Update, Tensor] | None:
    """The result of `rotate_both`, and whether it is accurate enough.

    `None` if a rule asks for a width other than the factors'.
    """
    if truncation is None:
        rotated = rotate_both(factors, increments)
        return rotated.update, ops.all(rotated.near)
    width = ops.shape(factors.s)[-1]
    if truncation.width is None:
        # Without padding, the rank is the number of columns.
        kept, rank = None, width
    elif truncation.width == width:
        kept = linalg.used_columns(factors.u)
        rank = ops.cast(ops.sum(kept), "int32")
    else:
        return None
    rotated = rotate_both(factors, increments, kept)
    stays = linalg.cond(
        ops.logical_and(rotated.near, truncation.now),
        lambda: keeps_rank(rotated, truncation, rank),
        lambda: rotated.near,
    )
    return rotated.update, stays


def _square_norm(matrix: Tensor) -> Tensor:
    return ops.sum(ops.square(matrix), axis=(-2, -1))


def rotate_coordinates(core: Tensor, width: Tensor | int) -> tuple[Tensor, Tensor]:
    """Dominant subspaces of a matrix, near to those of the first unit vectors.

    For a matrix `[[A, B], [C, D]]` with a dominant block `A`: the left one is that of
    the first columns, `[I; C A⁻¹]`, and the right one what it is mapped to, one step
    of subspace iteration. Both in the gauge nearest to the unit vectors.

    With `X = C A⁻¹`, the right one spanned by `[I; Y]`, and the left one and its
    complement as coordinates, the matrix is

    `[[H, H Yᵀ], [0, T]] = [[H, 0], [0, T]] [[I, Yᵀ], [0, I]]`

    with `σ_min(H) >= σ_min(A)` and `‖T‖ <= ‖D - X B‖`, and the error of the
    approximation is `‖T‖`. Where `‖D - X B‖ <= σ_min(A)`, that of the best one is at
    least 0.85 `‖T‖`, by the argument of `rotate_both`.

    Args:
        core: `(k, k)`.
        width: Number of rows and columns of `A`.

    Returns:
        Bases of both, `(2, k, width)`, and whether their error is certain to be at most
        1.2 times the best, up to rounding.
    """
    beside, below = core[..., :width, width:], core[..., width:, :width]
    inverse = linalg.inverse(core[..., :width, :width])
    corner, graph = core[..., width:, width:], below @ inverse
    left, overlap, near_left = _graph_basis(graph)
    # `[B; D]ᵀ [I; X] ([A; C]ᵀ [I; X])⁻¹`, where `[A; C]ᵀ [I; X] = Aᵀ (I + XᵀX)`.
    mapped = transpose(beside) + transpose(corner) @ graph
    right, _, near_right = _graph_basis(mapped @ overlap @ overlap @ transpose(inverse))
    left_out = _square_norm(corner - graph @ beside)
    left_out = left_out + _SLACK * (_square_norm(below) + _square_norm(mapped))
    good = left_out * _square_norm(inverse) <= 1
    near = ops.logical_and(ops.logical_and(near_left, near_right), good)
    return ops.stack([left, right]), near


def _graph_basis(graph: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The orthonormal basis of the span of `[I; X]` nearest to `[I; 0]`.

    Returns:
        The basis, `(I + XᵀX)^(-1/2)`, and whether `X` is small enough for them.
    """
    departure = transpose(graph) @ graph
    near = _square_norm(departure) < _NEAR
    identity = ops.eye(ops.shape(departure)[-1], dtype=graph.dtype)
    iterations = _ITERATIONS[linalg.at_least_float32(graph.dtype)]
    _, overlap = linalg.roots(departure + identity, iterations)
    return ops.concatenate([overlap, graph @ overlap], axis=-2), overlap, near


def step_basis(
    basis: Tensor, core: Tensor, increment: Tensor, exact: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """As `step_augmented`, by a rotation where angles are small."""

    def augmented() -> tuple[Tensor, Tensor, Tensor]:
        return step_augmented(basis, core, increment, exact)

    if exact:
        return augmented()
    along, across = linalg.perpendicular(basis, increment)
    inside = core + along
    rotation, _ = rotate(basis, linalg.inverse(inside), across)
    return linalg.cond(
        ops.all(rotation.near),
        lambda: (rotation.basis, rotation.overlap, rotation.root @ inside),
        augmented,
    )
