"""Bases augmented by an increment, and truncation in their coordinates.

With `Û = [U, Ũ]` of width `2r`, whatever an integrator does after its steps happens in
`2r × 2r` coordinates; the tall factors are touched again only to compose the result.
"""

from typing import Any

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._integrator import Truncation, Update
from dlrt.linalg import Complement, transpose

Tensor = Any


def compose(basis: Tensor, new: Complement | None, coordinates: Tensor) -> Tensor:
    """`[basis, new.basis] @ coordinates` without forming the augmented basis."""
    if new is None:
        return basis @ coordinates
    width = ops.shape(basis)[1]
    return basis @ coordinates[:width] + new.perpendicular @ (
        new.whitening @ coordinates[width:]
    )


def active_directions(basis: Tensor, new: Complement | None) -> Tensor:
    """Ones for the columns of an augmented basis in use, zeros for zero columns."""
    used = ops.cast(ops.any(basis != 0, axis=0), basis.dtype)
    return used if new is None else ops.concatenate([used, new.active])


def orthonormal_coordinates(
    coordinates: Tensor, active: Tensor, kept: Tensor | None = None
) -> Tensor:
    """Orthonormal columns spanning `coordinates`, in the gauge nearest to `[I; 0]`.

    Columns that are missing for want of rank are completed by directions that were in
    use before. The gauge keeps the new basis as near to the old one as their spans
    allow (orthogonal Procrustes), so that an optimizer's moments keep their meaning.

    Args:
        coordinates: `(k, w)` coordinates in an augmented basis of width `k`.
        active: `(k,)`, zero where the augmented basis has a zero column.
        kept: `(w,)`, zero for the columns of the result that are to be zero.
    """
    columns = linalg.orthonormalize(coordinates * ops.expand_dims(active, 1))
    overlap = transpose(columns[: ops.shape(coordinates)[1]])
    if kept is None:
        return columns @ linalg.polar_factor(overlap)
    # Ones on the diagonal keep the unused columns out of the rotation of the others.
    overlap = overlap * ops.expand_dims(kept, 1) * kept + ops.diag(1 - kept)
    return (columns * kept) @ (linalg.polar_factor(overlap) * kept)


def truncate(
    factors: Factors,
    left: Complement | None,
    right: Complement | None,
    core: Tensor,
    rank: Tensor | int,
    width: Tensor | int,
    singular: tuple[Tensor, Tensor, Tensor],
) -> Update:
    """The best approximation of `Û core V̂ᵀ` at a rank, nearest to the old bases.

    Args:
        factors: The old factors, of width `k`.
        left: Augmentation of `factors.u`, or `None`.
        right: Augmentation of `factors.v`, or `None`.
        core: Coefficients in the augmented bases.
        rank: The rank to keep.
        width: Number of columns of the result; those from `rank` on are zero.
        singular: The singular value decomposition of `core`.
    """
    kept = ops.cast(ops.arange(width) < rank, core.dtype)
    p, _, qh = singular
    p = orthonormal_coordinates(
        p[:, :width], active_directions(factors.u, left), kept
    )
    q = orthonormal_coordinates(
        transpose(qh)[:, :width], active_directions(factors.v, right), kept
    )
    u, root_u = linalg.reorthonormalize(compose(factors.u, left, p))
    v, root_v = linalg.reorthonormalize(compose(factors.v, right, q))
    s = root_u @ (transpose(p) @ core @ q) @ transpose(root_v)
    old = ops.shape(factors.s)[0]
    return Update(Factors(u, s, v), p[:old], q[:old])


def truncate_to(
    factors: Factors,
    left: Complement | None,
    right: Complement | None,
    core: Tensor,
    truncation: Truncation | None,
) -> Update:
    """Truncates by a rule, or to the width of `factors` if there is none."""
    singular = linalg.svd(core)
    if truncation is None:
        width = ops.shape(factors.s)[0]
        return truncate(factors, left, right, core, width, width, singular)
    rank = linalg.truncation_rank(
        singular[1], truncation.tolerance, truncation.min_rank, truncation.max_rank
    )
    width = rank if truncation.width is None else truncation.width
    return truncate(factors, left, right, core, rank, width, singular)

