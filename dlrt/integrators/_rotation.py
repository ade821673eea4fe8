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
# How much `XᵀX` is taken to be larger than it is where `X = D S⁻¹`: more than by the
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
            but for rounding.
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
) -> tuple[list[Rotation], Tensor]:
    """Turns bases into the spans of `basis @ core + increment`.

    Args:
        bases: `U: (n, r)`, of one `r`; orthonormal or zero columns.
        inverses: `core⁻¹: (r, r)`, not finite if there is none.
        increments: `(n, r)`, perpendicular to the bases.
        unused: `(r, r)`, diagonal, ones for the zero columns.

    Returns:
        The rotations, and `BᵀB - I` of all of them.
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
    rotations = [
        Rotation(basis @ overlap, root, overlap, is_near)
        for basis, root, overlap, is_near in zip(
            stepped,
            ops.unstack(roots, number),
            ops.unstack(overlaps, number),
            ops.unstack(near, number),
            strict=True,
        )
    ]
    return rotations, departure


def rotate_both(
    factors: list[Factors],
    increments: list[dict[str, Tensor]],
    kept: Tensor | None = None,
) -> list[Rotated]:
    """Low-rank approximations of `U (S + ΔS) Vᵀ + D Vᵀ + U Eᵀ`.

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
        factors: The old factors, of one rank.
        increments: Increments of `K`, `L` and `S`, by name of the factor.
        kept: `(r,)`, ones for the columns of the bases in use; `None` if all are.
    """
    cores = [old.s + step["s"] for old, step in zip(factors, increments, strict=True)]
    number, whole = len(cores), ops.stack(cores)
    unused = None
    if kept is None:
        inverse = linalg.inverse(whole)
    else:
        unused = ops.diag(1 - kept)
        inverse = linalg.inverse(whole + unused) * kept[:, None]
    inverses = ops.unstack(inverse, number)
    rotations, departure = rotate(
        [old.u for old in factors] + [old.v for old in factors],
        inverses + [transpose(inverse) for inverse in inverses],
        [
            linalg.perpendicular(getattr(old, name), step[name])[1]
            for name in "uv"
            for old, step in zip(factors, increments, strict=True)
        ],
        unused,
    )
    # ‖N‖² = tr(Sᵀ XᵀX S YᵀY), and 1 / ‖S⁻¹‖ <= σ_min(S).
    bound = departure + _SLACK * ops.eye(ops.shape(whole)[-1], dtype=whole.dtype)
    left_out = ops.sum(
        (bound[:number] @ whole) * (whole @ bound[number:]), axis=(-2, -1)
    )
    good = ops.unstack(left_out * _square_norm(inverse) <= 1, number)
    results = []
    lefts, rights = rotations[:number], rotations[number:]
    for left, core, right, is_good in zip(lefts, cores, rights, good, strict=True):
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
        near = ops.logical_and(ops.logical_and(left.near, right.near), is_good)
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

    With `X = C A⁻¹`, the right one spanned by `[I; Y]`, and the left one and its
    complement as coordinates, the matrix is

    `[[H, H Yᵀ], [0, T]] = [[H, 0], [0, T]] [[I, Yᵀ], [0, I]]`

    with `σ_min(H) >= σ_min(A)` and `‖T‖ <= ‖D - X B‖`, and the error of the
    approximation is `‖T‖`. Where `‖D - X B‖ <= σ_min(A)`, that of the best one is at
    least 0.85 `‖T‖`, by the argument of `rotate_both`.

    Args:
        cores: `(k, k)`, of one size.
        width: Number of rows and columns of `A`.

    Returns:
        Bases `(k, width)` of both for each matrix, and whether their error is certain
        to be at most 1.2 times the best, but for rounding.
    """
    whole = ops.stack(cores)
    beside, below = whole[..., :width, width:], whole[..., width:, :width]
    inverse = linalg.inverse(whole[..., :width, :width])
    corner, graph = whole[..., width:, width:], below @ inverse
    left, overlap, near_left = _graph_basis(graph)
    # `[B; D]ᵀ [I; X] ([A; C]ᵀ [I; X])⁻¹`, where `[A; C]ᵀ [I; X] = Aᵀ (I + XᵀX)`.
    mapped = transpose(beside) + transpose(corner) @ graph
    right, _, near_right = _graph_basis(mapped @ overlap @ overlap @ transpose(inverse))
    number = len(cores)
    pairs = zip(ops.unstack(left, number), ops.unstack(right, number), strict=True)
    left_out = _square_norm(corner - graph @ beside)
    left_out = left_out + _SLACK * (_square_norm(below) + _square_norm(mapped))
    good = left_out * _square_norm(inverse) <= 1
    near = ops.logical_and(ops.logical_and(near_left, near_right), good)
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
    rotations, _ = rotate(bases, inverses, [across for _, across in split])
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
