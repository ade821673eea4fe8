"""Bases augmented by an increment, and truncation in their coordinates.

With `Û = [U, Ũ]` of width `2r`, whatever an integrator does after its steps happens in
`2r × 2r` coordinates; the tall factors are touched again only to compose the result.

Zero columns of an augmented basis have zero rows in all coordinates. A Householder QR
of such coordinates keeps them zero, also where it has to complete missing directions:
it takes those from the leading coordinates, which were in use before.
"""

from typing import Any

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators.base import Truncation, Update
from dlrt.linalg import Complement, transpose
from dlrt.ragged import Ragged, concatenate_columns

Tensor = Any


def augment(basis: Tensor, increment: Tensor, exact: bool = False) -> Tensor:
    """`[U, Ũ]: (n, 2r)`, orthonormal or zero columns that span `[U, D]`.

    Arguments as for `linalg.complement`.
    """
    new = linalg.complement(basis, increment, exact)
    return concatenate_columns(basis, new.basis)


def compose(basis: Tensor, new: Complement | None, coordinates: Tensor) -> Tensor:
    """`[basis, new.basis] @ coordinates` without forming the augmented basis."""
    if new is None:
        return basis @ coordinates
    width = ops.shape(new.overlap)[-2]
    return basis @ coordinates[..., :width, :] + new.perpendicular @ (
        new.whitening @ coordinates[..., width:, :]
    )


def nearest_gauge(columns: Tensor, kept: Tensor | None = None) -> Tensor:
    """Rotates orthonormal columns as near to the unit vectors as their span allows.

    Orthogonal Procrustes. In coordinates of an augmented basis this keeps the new
    basis nearest to the old one, so that an optimizer's moments keep their meaning.

    Args:
        columns: `(..., k, w)`, orthonormal.
        kept: `(..., w)`, zero for the columns of the result that are to be zero.
    """
    overlap = transpose(columns[..., : ops.shape(columns)[-1], :])
    if kept is None:
        return columns @ linalg.polar_factor(overlap)
    # Ones on the diagonal keep the unused columns out of the rotation of the others.
    identity = ops.eye(ops.shape(kept)[-1], dtype=kept.dtype)
    rows, kept = kept[..., :, None], kept[..., None, :]
    overlap = overlap * rows * kept + identity * (1 - kept)
    return (columns * kept) @ (linalg.polar_factor(overlap) * kept)


def step_augmented(
    basis: Tensor, core: Tensor, increment: Tensor, exact: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The orthonormal basis of `basis @ core + increment` nearest to the old one.

    Args:
        basis: `(n, r)`.
        core: `(r, r)`.
        increment: `(n, r)`.
        exact: As in `linalg.complement`.

    Returns:
        The basis `Q`; the overlap of the old basis with it; and `R`, with
        `basis @ core + increment = Q R`.
    """
    new = linalg.complement(basis, increment, exact)
    stepped = ops.concatenate([core + new.overlap, new.remainder], axis=-2)
    coordinates = nearest_gauge(linalg.orthonormalize(stepped))
    composed, root = linalg.reorthonormalize(compose(basis, new, coordinates))
    overlap = coordinates[..., : ops.shape(core)[-1], :] @ root
    return composed, overlap, root @ (transpose(coordinates) @ stepped)


def project(
    factors: Factors, core: Tensor, coordinates: Tensor, new: Complement | None = None
) -> Update:
    """`Û core V̂ᵀ` projected on the subspaces that coordinates span.

    Args:
        factors: The old factors.
        core: Coefficients in the augmented bases.
        coordinates: Coordinates of the new bases in the augmented ones, `(2, ..., k,
            w)`: for the columns, then for the rows.
        new: What `Ragged((factors.u, factors.v))` is augmented by, if the factors are
            not augmented already.
    """
    width = ops.shape(factors.s)[-1]
    bases, roots = linalg.reorthonormalize(
        compose(Ragged((factors.u, factors.v)), new, coordinates)
    )
    u, v = bases.parts
    p, q = ops.unstack(coordinates, 2)
    root_u, root_v = ops.unstack(roots, 2)
    s = root_u @ (transpose(p) @ core @ q) @ transpose(root_v)
    return Update(Factors(u, s, v), p[..., :width, :], q[..., :width, :])


def truncate(
    factors: Factors,
    core: Tensor,
    truncation: Truncation | None = None,
    new: Complement | None = None,
    width: int | None = None,
) -> Update:
    """The best approximation of `Û core V̂ᵀ`, in the gauge nearest to the old bases.

    By SVD. A training step avoids it where its angles are small, see `_rotation`.

    Args:
        factors: The old factors.
        core: Coefficients in the augmented bases.
        truncation: The rule for the rank, or `None` for that of the old factors.
        new: What `Ragged((factors.u, factors.v))` is augmented by, if the factors are
            not augmented already.
        width: Width of the old factors before they were augmented. Defaults to that of
            `factors`.
    """
    p, singular_values, qh = linalg.svd(core)
    if truncation is None:
        width = ops.shape(factors.s)[-1] if width is None else width
        # Columns of zeros are room that the old bases have beyond their rank.
        kept = linalg.used_columns(factors.u)[..., :width]
    else:
        kept = _kept(factors, singular_values, truncation)
        width = ops.shape(kept)[-1]
    # Singular vectors of value zero may lie in directions that are not in use.
    active = linalg.used_columns(Ragged((factors.u, factors.v)))
    if new is not None:
        active = ops.concatenate([active, new.active], axis=-1)
    subspaces = ops.stack([p, transpose(qh)])[..., :width] * active[..., None]
    coordinates = nearest_gauge(linalg.orthonormalize(subspaces), kept)
    return project(factors, core, coordinates, new)


def _kept(factors: Factors, singular_values: Tensor, truncation: Truncation) -> Tensor:
    """Ones for the singular values up to the rank by the rule, zeros for the others."""
    rank = linalg.truncation_rank(
        singular_values,
        truncation.tolerance,
        truncation.min_rank,
        truncation.max_rank,
    )
    upper = ops.shape(singular_values)[-1]
    if truncation.max_rank is not None:
        upper = ops.minimum(upper, truncation.max_rank)
    rank = ops.minimum(rank + truncation.candidates, upper)
    if truncation.now is not True:
        old = ops.cast(ops.sum(linalg.used_columns(factors.u)), rank.dtype)
        rank = ops.where(truncation.now, rank, old)
    width = rank if truncation.width is None else truncation.width
    return ops.cast(ops.arange(width) < rank, singular_values.dtype)
