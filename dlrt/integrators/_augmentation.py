"""Bases augmented by an increment, and truncation in their coordinates.

With `Û = [U, Ũ]` of width `2r`, whatever an integrator does after its steps happens in
`2r × 2r` coordinates; the tall factors are touched again only to compose the result.

Zero columns of an augmented basis have zero rows in all coordinates. A Householder QR
of such coordinates keeps them zero, also where it has to complete missing directions:
those it takes from the leading coordinates, directions that were in use before.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._integrator import Truncation, Update
from dlrt.integrators._rotation import perpendicular
from dlrt.linalg import Complement, transpose

Tensor = Any


def both(function: Callable, left: tuple, right: tuple) -> tuple[Any, Any]:
    """`function(*left), function(*right)`, in one batched call if shapes agree.

    A small decomposition costs little more than its launch, and two in one batch run
    on two cores.
    """
    if any(a.shape != b.shape for a, b in zip(left, right, strict=True)):
        return function(*left), function(*right)
    stacked = function(*(ops.stack(pair) for pair in zip(left, right, strict=True)))
    if not isinstance(stacked, tuple):
        return stacked[0], stacked[1]
    first, second = ([part[i] for part in stacked] for i in range(2))
    if hasattr(stacked, "_fields"):
        return type(stacked)(*first), type(stacked)(*second)
    return tuple(first), tuple(second)


def compose(basis: Tensor, new: Complement | None, coordinates: Tensor) -> Tensor:
    """`[basis, new.basis] @ coordinates` without forming the augmented basis."""
    if new is None:
        return basis @ coordinates
    width = ops.shape(basis)[-1]
    return basis @ coordinates[..., :width, :] + new.perpendicular @ (
        new.whitening @ coordinates[..., width:, :]
    )


def augment(bases: list[Tensor], increments: list[Tensor]) -> list[Tensor]:
    """`[U, Ũ]` for each basis: orthonormal or zero columns that span `[U, D]`.

    Small new directions are orthonormal to a few digits only, see
    `linalg.complement`. They are repaired with the basis that is composed of them.

    Args:
        bases: `U: (n, r)`, of one `r`.
        increments: `D: (n, r)`.
    """
    scaled = [step / linalg.magnitude(step) for step in increments]
    split = [perpendicular(*pair) for pair in zip(bases, scaled, strict=True)]
    across = [part for _, part in split]
    whitenings, _, _ = linalg.new_directions(
        linalg.grams(across), ops.stack([overlap for overlap, _ in split])
    )
    return [
        ops.concatenate([basis, part @ whitening], axis=-1)
        for basis, part, whitening in zip(
            bases, across, ops.unstack(whitenings, len(bases)), strict=True
        )
    ]


def reorthonormalize_all(bases: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """`linalg.reorthonormalize` for bases of any heights and one width."""
    iterations = linalg.correcting_iterations(bases[0].dtype)
    roots, inverse_roots = linalg.roots(linalg.grams(bases), iterations)
    number = len(bases)
    return [
        (basis @ inverse_root, root)
        for basis, inverse_root, root in zip(
            bases,
            ops.unstack(inverse_roots, number),
            ops.unstack(roots, number),
            strict=True,
        )
    ]


def nearest_gauge(columns: Tensor, kept: Tensor | None = None) -> Tensor:
    """Rotates orthonormal columns as near to the unit vectors as their span allows.

    Orthogonal Procrustes. In coordinates of an augmented basis this keeps the new
    basis nearest to the old one, so that an optimizer's moments keep their meaning.

    Args:
        columns: `(k, w)`, orthonormal.
        kept: `(w,)`, zero for the columns of the result that are to be zero.
    """
    overlap = transpose(columns[..., : ops.shape(columns)[-1], :])
    if kept is None:
        return columns @ linalg.polar_factor(overlap)
    # Ones on the diagonal keep the unused columns out of the rotation of the others.
    overlap = overlap * kept[:, None] * kept + ops.diag(1 - kept)
    return (columns * kept) @ (linalg.polar_factor(overlap) * kept)


def step_augmented(
    basis: Tensor, core: Tensor, increment: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """An orthonormal basis of `basis @ core + increment`, nearest to the old one.

    Returns:
        The basis `Q`; the overlap of the old basis with it; and `R`, with
        `basis @ core + increment = Q R`.
    """
    new = linalg.complement(basis, increment)
    stepped = ops.concatenate([core + new.overlap, new.remainder], axis=-2)
    p = nearest_gauge(linalg.orthonormalize(stepped))
    updated, root = linalg.reorthonormalize(compose(basis, new, p))
    overlap = p[..., : ops.shape(core)[-1], :] @ root
    return updated, overlap, root @ (transpose(p) @ stepped)


def truncate(
    factors: Factors,
    left: Complement | None,
    right: Complement | None,
    core: Tensor,
    truncation: Truncation | None,
    width: int | None = None,
) -> Update:
    """A low-rank approximation of `Û core V̂ᵀ`, in the gauge nearest to the old bases.

    By a rule for the rank: the best approximation, by SVD. At the old rank: one step
    of subspace iteration from the old basis, two small QR decompositions in place of
    an SVD. Its start is off by no more than the angle of a time step, and in numerical
    experiments its error is within a few times the best one, whatever the singular
    values.

    Args:
        factors: The old factors.
        left: Augmentation of `factors.u`, or `None`.
        right: Augmentation of `factors.v`, or `None`.
        core: Coefficients in the augmented bases.
        truncation: The rule for the rank, or `None` for `width`.
        width: The rank to keep. Defaults to the width of `factors`.
    """
    old = ops.shape(factors.s)[-1]
    if truncation is None:
        width = old if width is None else width
        p, q = both(nearest_gauge, *_dominant_subspaces(core, width))
    else:
        p, q = _singular_subspaces(factors, left, right, core, truncation)
    (u, root_u), (v, root_v) = both(
        linalg.reorthonormalize,
        (compose(factors.u, left, p),),
        (compose(factors.v, right, q),),
    )
    s = root_u @ (transpose(p) @ core @ q) @ transpose(root_v)
    return Update(Factors(u, s, v), p[..., :old, :], q[..., :old, :])


def _dominant_subspaces(core: Tensor, width: int) -> tuple[tuple, tuple]:
    """Left and right subspaces of dominant singular values, by subspace iteration.

    The first basis is made of the old directions and of the larger one of the two
    increments; what is left out then is second order in both.
    """
    below, beside = core[..., width:, :width], core[..., :width, width:]
    swap = _square_norm(beside) > _square_norm(below)
    oriented = ops.where(swap, transpose(core), core)
    first = linalg.orthonormalize(oriented[..., :width])
    second = linalg.orthonormalize(transpose(oriented) @ first)
    return (ops.where(swap, second, first),), (ops.where(swap, first, second),)


def _square_norm(matrix: Tensor) -> Tensor:
    return ops.sum(ops.square(matrix), axis=(-2, -1), keepdims=True)


def _singular_subspaces(
    factors: Factors,
    left: Complement | None,
    right: Complement | None,
    core: Tensor,
    truncation: Truncation,
) -> tuple[Tensor, Tensor]:
    """Leading singular vectors up to the rank that the rule gives, nearest gauge."""
    p, singular_values, qh = linalg.svd(core)
    rank = linalg.truncation_rank(
        singular_values,
        truncation.tolerance,
        truncation.min_rank,
        truncation.max_rank,
    )
    if truncation.now is not True:
        old = ops.cast(ops.sum(used_columns(factors.u)), rank.dtype)
        rank = ops.where(truncation.now, rank, old)
    width = rank if truncation.width is None else truncation.width
    kept = ops.cast(ops.arange(width) < rank, core.dtype)

    def prepare(vectors: Tensor, active: Tensor) -> Tensor:
        # Singular vectors of value zero may lie in directions that are not in use.
        masked = vectors[..., :width] * active[..., None]
        return nearest_gauge(linalg.orthonormalize(masked), kept)

    return both(
        prepare,
        (p, _active(factors.u, left)),
        (transpose(qh), _active(factors.v, right)),
    )


def _active(basis: Tensor, new: Complement | None) -> Tensor:
    """Ones for the directions of an augmented basis in use, zeros for the others."""
    active = used_columns(basis)
    return active if new is None else ops.concatenate([active, new.active])


def used_columns(basis: Tensor) -> Tensor:
    """Ones for the columns of a basis in use, zeros for zero columns."""
    return ops.cast(ops.any(basis != 0, axis=0), basis.dtype)
