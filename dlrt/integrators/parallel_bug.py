"""The parallel basis-update & Galerkin integrator: one gradient a step."""

from typing import Any

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._augmentation import truncate, used_columns
from dlrt.integrators._integrator import (
    Integrator,
    Phase,
    Truncation,
    Update,
    register,
)
from dlrt.integrators._rotation import keeps_rank, replace_far, rotate_both

Tensor = Any


@register
class ParallelBUG(Integrator):
    """Steps `K`, `L` and `S` from the same point, then truncates.

    With `Û = [U, Ũ]` and `V̂ = [V, Ṽ]` the bases augmented by the stepped `K1` and
    `L1`, the next matrix is the best approximation of

    `Û [[S1, L1ᵀ Ṽ], [Ũᵀ K1, 0]] V̂ᵀ`

    at the old rank or within a tolerance. First order, with an error that does not
    depend on the size of the singular values.

    References:
        - Ceruti, Kusch & Lubich, A parallel rank-adaptive integrator for dynamical
          low-rank approximation, SIAM J. Sci. Comput. 46 (2024), Section 3.
        - Schotthöfer et al., GeoLoRA, arXiv:2410.18720.
    """

    name = "parallel_bug"
    phases = (Phase(("u", "s", "v")),)
    rank_adaptive = True
    perpendicular = True

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        if self.exact:
            return self._augmented([factors], [increments], truncation)[0]
        if truncation is None:
            return self.update_all(phase, [factors], [increments])[0]
        width = ops.shape(factors.s)[-1]
        if truncation.width is None:
            # Without padding, the rank is the number of columns.
            kept, rank = None, width
        elif truncation.width == width:
            kept = used_columns(factors.u)
            rank = ops.cast(ops.sum(kept), "int32")
        else:
            return self._augmented([factors], [increments], truncation)[0]
        (rotated,) = rotate_both([factors], [increments], kept)
        stays = linalg.cond(
            ops.logical_and(rotated.near, truncation.now),
            lambda: keeps_rank(rotated, truncation, rank),
            lambda: rotated.near,
        )
        return linalg.cond(
            stays,
            lambda: rotated.update,
            lambda: self._augmented([factors], [increments], truncation)[0],
        )

    def update_all(
        self,
        phase: int,
        factors: list[Factors],
        increments: list[dict[str, Tensor]],
    ) -> list[Update]:
        rotated = rotate_both(factors, increments)
        return replace_far(
            [each.update for each in rotated],
            [each.near for each in rotated],
            factors,
            increments,
            self._augmented,
        )

    def _augmented(
        self,
        factors: list[Factors],
        increments: list[dict[str, Tensor]],
        truncation: Truncation | None = None,
    ) -> list[Update]:
        """The steps by way of the augmented bases, for angles of any size."""
        new = linalg.complements(
            [old.u for old in factors] + [old.v for old in factors],
            [step[name] for name in "uv" for step in increments],
            self.exact,
        )
        pairs = list(zip(new[: len(factors)], new[len(factors) :], strict=True))
        cores = []
        for old, step, (left, right) in zip(factors, increments, pairs, strict=True):
            top = [old.s + step["s"], linalg.transpose(right.remainder)]
            bottom = [left.remainder, ops.zeros_like(old.s)]
            rows = [ops.concatenate(blocks, axis=-1) for blocks in (top, bottom)]
            cores.append(ops.concatenate(rows, axis=-2))
        return truncate(factors, pairs, cores, truncation)
