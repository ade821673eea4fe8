"""Bases augmented by an increment, and truncation in their coordinates.

With `Û = [U, Ũ]` of width `2r`, whatever an integrator does after its steps happens in
`2r × 2r` coordinates; the tall factors are touched again only to compose the result.

Zero columns of an augmented basis have zero rows in all coordinates. A Householder QR
of such coordinates keeps them zero, also where it has to complete missing directions:
those it takes from the leading coordinates, directions that were in use before.
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
    width = ops.shape(basis)[-1]
    return basis @ coordinates[..., :width, :] + new.perpendicular @ (
        new.whitening @ coordinates[..., width:, :]
    )


def augment(
    bases: list[Tensor], increments: list[Tensor], exact: bool = False
) -> list[Tensor]:
    """`[U, Ũ]` for each basis: orthonormal or zero columns that span `[U, D]`.

    Small new directions are orthonormal to a few digits only, see
    `linalg.complements`. They are repaired with the basis that is composed of them.

    Args:
        bases: `U: (n, r)`, of one `r`.
        increments: `D: (n, r)`.
        exact: As in `linalg.complements`.
    """
    news = linalg.complements(bases, increments, exact)
    return [
        ops.concatenate([basis, new.basis], axis=-1)
        for basis, new in zip(bases, news, strict=True)
    ]


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
    bases: list[Tensor],
    cores: list[Tensor],
    increments: list[Tensor],
    exact: bool = False,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Orthonormal bases of `basis @ core + increment`, nearest to the old ones.

    Args:
        bases: `(n, r)`, of one `r`.
        cores: `(r, r)`.
        increments: `(n, r)`.
        exact: As in `linalg.complements`.

    Returns:
        For each, the basis `Q`; the overlap of the old basis with it; and `R`, with
        `basis @ core + increment = Q R`.
    """
    new = linalg.complements(bases, increments, exact)
    stepped = ops.stack(
        [
            ops.concatenate([core + part.overlap, part.remainder], axis=-2)
            for core, part in zip(cores, new, strict=True)
        ]
    )
    coordinates = nearest_gauge(linalg.orthonormalize(stepped))
    triangular = ops.unstack(transpose(coordinates) @ stepped, len(bases))
    coordinates = ops.unstack(coordinates, len(bases))
    composed = linalg.reorthonormalize(
        [compose(*parts) for parts in zip(bases, new, coordinates, strict=True)]
    )
    return [
        (basis, p[..., : ops.shape(core)[-1], :] @ root, root @ r)
        for (basis, root), p, core, r in zip(
            composed, coordinates, cores, triangular, strict=True
        )
    ]


def truncate(
    factors: list[Factors],
    news: list[tuple[Complement, Complement]] | None,
    cores: list[Tensor],
    truncation: Truncation | None = None,
    width: int | None = None,
) -> list[Update]:
    """Best approximations of `Û core V̂ᵀ`, in the gauge nearest to the old bases.

    By SVD, which a step of training spares where its angles are small, see `_rotation`.

    Args:
        factors: The old factors, of one rank.
        news: What `factors.u` and `factors.v` are augmented by, or `None`.
        cores: Coefficients in the augmented bases.
        truncation: The rule for the rank, or `None` for that of the old factors.
        width: Width of the old factors before they were augmented. Defaults to that of
            `factors`.
    """
    old = ops.shape(factors[0].s)[-1]
    number = len(factors)
    pairs = [(None, None)] * number if news is None else news
    bases = [each.u for each in factors] + [each.v for each in factors]
    added = [left for left, _ in pairs] + [right for _, right in pairs]
    p, singular_values, qh = linalg.svd(ops.stack(cores))
    if truncation is None:
        width = old if width is None else width
        # Columns of zeros are room that the old bases have beyond their rank.
        kept = ops.stack([used_columns(each.u[..., :width]) for each in factors] * 2)
    else:
        kept = ops.stack(
            [
                _kept(each, values, truncation)
                for each, values in zip(
                    factors, ops.unstack(singular_values, number), strict=True
                )
            ]
            * 2
        )
        width = ops.shape(kept)[-1]
    # Singular vectors of value zero may lie in directions that are not in use.
    active = ops.stack(list(map(_active, bases, added)))
    subspaces = ops.concatenate([p, transpose(qh)], axis=0)[..., :width]
    subspaces = linalg.orthonormalize(subspaces * active[..., None])
    coordinates = ops.unstack(nearest_gauge(subspaces, kept), 2 * number)
    composed = linalg.reorthonormalize(list(map(compose, bases, added, coordinates)))
    updates = []
    for index, core in enumerate(cores):
        (u, root_u), (v, root_v) = composed[index], composed[number + index]
        p, q = coordinates[index], coordinates[number + index]
        s = root_u @ (transpose(p) @ core @ q) @ transpose(root_v)
        updates.append(Update(Factors(u, s, v), p[..., :old, :], q[..., :old, :]))
    return updates


def _kept(factors: Factors, singular_values: Tensor, truncation: Truncation) -> Tensor:
    """Ones for the singular values up to the rank by the rule, zeros for the others."""
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
    return ops.cast(ops.arange(width) < rank, singular_values.dtype)


def _active(basis: Tensor, new: Complement | None) -> Tensor:
    """Ones for the directions of an augmented basis in use, zeros for the others."""
    active = used_columns(basis)
    return active if new is None else ops.concatenate([active, new.active], axis=-1)


def used_columns(basis: Tensor) -> Tensor:
    """Ones for the columns of a basis in use, zeros for zero columns."""
    return ops.cast(ops.any(basis != 0, axis=-2), basis.dtype)
