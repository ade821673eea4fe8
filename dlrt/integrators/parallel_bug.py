"""The parallel basis-update & Galerkin integrator: one gradient a step."""

from typing import Any

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._augmentation import truncate
from dlrt.integrators._rotation import try_rotation
from dlrt.integrators.base import Integrator, Phase, Truncation, Update, register
from dlrt.ragged import Ragged

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
    ragged = True

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        def augmented() -> Update:
            return self._augmented(factors, increments, truncation)

        rotation = None if self.exact else try_rotation(factors, increments, truncation)
        if rotation is None:
            return augmented()
        rotated, near = rotation
        return linalg.cond(near, lambda: rotated, augmented)

    def _augmented(
        self,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None,
    ) -> Update:
        """The step by way of the augmented bases, for angles of any size."""
        new = linalg.complement(
            Ragged((factors.u, factors.v)),
            Ragged((increments["u"], increments["v"])),
            self.exact,
        )
        left, right = ops.unstack(new.remainder, 2)
        top = [factors.s + increments["s"], linalg.transpose(right)]
        bottom = [left, ops.zeros_like(factors.s)]
        rows = [ops.concatenate(blocks, axis=-1) for blocks in (top, bottom)]
        core = ops.concatenate(rows, axis=-2)
        return truncate(factors, core, truncation, new)
