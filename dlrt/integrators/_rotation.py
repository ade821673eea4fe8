"""Bases turned by the small angles of a training step.

A span that is near to that of a basis `U` holds exactly one basis of the form
`B = U + D` with `D` perpendicular to `U`. Made orthonormal symmetrically, it is the
basis nearest to `U` (orthogonal Procrustes), so neither a QR decomposition nor an
eigenvalue problem is needed to find it: five products with tall matrices and a few
`r × r` ones, which matrices of one rank share in a batch, whatever their heights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._integrator import Truncation, Update
from dlrt.linalg import transpose

Tensor = Any

# Bound for the square of `‖BᵀB - I‖_F`, that is for the sum of the fourth powers of the
# tangents of the angles, and the iterations that find the roots of such a `BᵀB`.
_NEAR = 0.01
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
        near: Whether the angles are small enough for their use.
        square_norm: Of the matrix that they approximate, `‖·‖_F²`.
    """

    update: Update
    near: Tensor
    square_norm: Tensor


def rotate(
    bases: list[Tensor],
    inverses: list[Tensor],
    increments: list[Tensor],
    unused: Tensor | None = None,
) -> list[Rotation]:
    """Turns bases into the spans of `basis @ core + increment`.

    Args:
        bases: `U: (n, r)`, of one `r`; orthonormal or zero columns.
        inverses: `core⁻¹: (r, r)`, not finite if there is none.
        increments: `(n, r)`, perpendicular to the bases.
        unused: `(r, r)`, diagonal, ones for the zero columns.
    """
    stepped = [
        basis + increment @ inverse
        for basis, increment, inverse in zip(bases, increments, inverses, strict=True)
    ]
    grams = linalg.grams(stepped)
    if unused is not None:
        grams = grams + unused
    departure = grams - ops.eye(ops.shape(grams)[-1], dtype=grams.dtype)
    near = ops.sum(ops.square(departure), axis=(-2, -1)) < _NEAR
    iterations = _ITERATIONS[linalg.at_least_float32(grams.dtype)]
    roots, overlaps = linalg.roots(grams, iterations)
    number = len(bases)
    return [
        Rotation(basis @ overlap, root, overlap, is_near)
        for basis, root, overlap, is_near in zip(
            stepped,
            ops.unstack(roots, number),
            ops.unstack(overlaps, number),
            ops.unstack(near, number),
            strict=True,
        )
    ]


def rotate_both(
    factors: list[Factors],
    increments: list[dict[str, Tensor]],
    kept: Tensor | None = None,
) -> list[Rotated]:
    """Low-rank approximations of `U (S + ΔS) Vᵀ + D Vᵀ + U Eᵀ`.

    `D` and `E` are the parts of the increments of `K` and `L` that are perpendicular to
    the bases. The new bases are those of the images of the old ones, one step of
    subspace iteration, and the new coefficients are the projection on them.

    Args:
        factors: The old factors, of one rank.
        increments: Increments of `K`, `L` and `S`, by name of the factor.
        kept: `(r,)`, ones for the columns of the bases in use; `None` if all are.
    """
    cores = [old.s + step["s"] for old, step in zip(factors, increments, strict=True)]
    unused = None if kept is None else ops.diag(1 - kept)
    invertible = ops.stack(cores)
    if unused is not None:
        invertible = invertible + unused
    inverses = ops.unstack(linalg.inverse(invertible), len(cores))
    rotations = rotate(
        [old.u for old in factors] + [old.v for old in factors],
        inverses + [transpose(inverse) for inverse in inverses],
        [
            linalg.perpendicular(getattr(old, name), step[name])[1]
            for name in "uv"
            for old, step in zip(factors, increments, strict=True)
        ],
        unused,
    )
    lefts, rights = rotations[: len(cores)], rotations[len(cores) :]
    results = []
    for left, core, right in zip(lefts, cores, rights, strict=True):
        # Bᵤᵀ W Bᵥ = Mᵤ S + S Mᵥ - S with the Gram matrices M of the two B, since
        # D = (Bᵤ - U) S and E = (Bᵥ - V) Sᵀ.
        mixed = core @ right.overlap
        s = left.root @ mixed + left.overlap @ (core @ right.root - mixed)
        update = Update(
            Factors(left.basis, s, right.basis), left.overlap, right.overlap
        )
        # ‖S‖² + ‖D‖² = ‖Bᵤ S‖² by Pythagoras, and so for E.
        square_norm = (
            _square_norm(left.root @ core)
            + _square_norm(core @ right.root)
            - _square_norm(core)
        )
        near = ops.logical_and(left.near, right.near)
        results.append(Rotated(update, near, square_norm))
    return results


def keeps_rank(rotated: Rotated, truncation: Truncation, rank: Tensor | int) -> Tensor:
    """Whether a truncation rule is certain to choose the rank that a matrix has.

    Then the approximation in turned bases is within the tolerance, and serves as well
    as a truncated singular value decomposition of twice the width, which is needed
    only where this is false.

    The approximation is `A = Pᵀ Ŝ Q` with orthonormal `P` and `Q`, so the error of
    the best one of its rank is at most `(‖Ŝ‖² - ‖A‖²)^(1/2)`, and singular values
    interlace: the error at the next smaller rank is at least the smallest one of `A`.

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
    enough = whole - _square_norm(core) + rounding <= square
    enough = ops.logical_or(ops.logical_and(enough, rank < upper), rank == upper)
    above = ops.square(linalg.singular_values(core)) > square + rounding
    needed = ops.sum(ops.cast(above, "int32")) >= rank
    lower = ops.minimum(truncation.min_rank, upper)
    needed = ops.logical_or(ops.logical_and(needed, rank > lower), rank == lower)
    return ops.logical_and(enough, needed)


def _square_norm(matrix: Tensor) -> Tensor:
    return ops.sum(ops.square(matrix), axis=(-2, -1))


def rotate_coordinates(
    cores: list[Tensor], width: int
) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """Dominant subspaces of matrices, near to those of the first unit vectors.

    For a matrix `[[A, B], [C, D]]` with a dominant block `A`: the left one is that of
    the first columns, `[I; C A⁻¹]`, and the right one what it is mapped to, one step
    of subspace iteration. Both in the gauge nearest to the unit vectors.

    Args:
        cores: `(k, k)`, of one size.
        width: Number of rows and columns of `A`.

    Returns:
        Bases `(k, width)` of both for each matrix, and whether they are accurate.
    """
    whole = ops.stack(cores)
    beside, below = whole[..., :width, width:], whole[..., width:, :width]
    inverse = linalg.inverse(whole[..., :width, :width])
    left, overlap, near_left = _graph_basis(below @ inverse)
    # `[B; D]ᵀ [I; X] ([A; C]ᵀ [I; X])⁻¹` with `X = C A⁻¹`, hence
    # `[A; C]ᵀ [I; X] = Aᵀ (I + XᵀX)`.
    mapped = transpose(beside) + transpose(whole[..., width:, width:]) @ (
        below @ inverse
    )
    right, _, near_right = _graph_basis(mapped @ overlap @ overlap @ transpose(inverse))
    number = len(cores)
    pairs = zip(ops.unstack(left, number), ops.unstack(right, number), strict=True)
    near = ops.logical_and(near_left, near_right)
    return list(pairs), list(ops.unstack(near, number))


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


def step_bases(
    bases: list[Tensor], cores: list[Tensor], increments: list[Tensor]
) -> list[tuple[Rotation, Tensor]]:
    """Orthonormal bases of `basis @ core + increment`, nearest to the old ones.

    Returns:
        For each, the rotation of the basis and `R`, with `basis @ core + increment =
        rotation.basis @ R`.
    """
    split = [
        linalg.perpendicular(*pair) for pair in zip(bases, increments, strict=True)
    ]
    inside = [core + along for core, (along, _) in zip(cores, split, strict=True)]
    inverses = ops.unstack(linalg.inverse(ops.stack(inside)), len(inside))
    rotations = rotate(bases, inverses, [across for _, across in split])
    return [
        (rotation, rotation.root @ coordinates)
        for rotation, coordinates in zip(rotations, inside, strict=True)
    ]


def replace_far(
    updates: list[Update],
    near: list[Tensor],
    factors: list[Factors],
    increments: list[dict[str, Tensor]],
    update: Callable[[list[Factors], list[dict[str, Tensor]]], list[Update]],
) -> list[Update]:
    """Takes the updates from a function for any angle unless all angles are small.

    Args:
        updates: The updates for small angles.
        near: Whether they may be used.
        factors: The old factors.
        increments: Increments of `K`, `L` and `S`, by name of the factor.
        update: Computes the updates.
    """
    return linalg.cond(
        ops.all(ops.stack(near)), lambda: updates, lambda: update(factors, increments)
    )
