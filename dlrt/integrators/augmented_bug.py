"""The rank-adaptive basis-update & Galerkin integrator with augmented bases."""

from typing import Any

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._augmentation import truncate
from dlrt.integrators._integrator import (
    Integrator,
    Phase,
    Truncation,
    Update,
    register,
)

Tensor = Any


@register
class AugmentedBUG(Integrator):
    """Steps `S` in bases that hold the old directions and the new ones.

    `Û = orth([U, K1])`, `V̂ = orth([V, L1])` of width `2r`,
    `S̃ = (Ûᵀ U) S (V̂ᵀ V)ᵀ`; `S` is stepped from `S̃` with a second gradient and the
    result truncated. The old matrix is represented exactly at the second gradient, so
    nothing is lost by a change of basis.

    References:
        - Ceruti, Kusch & Lubich, A rank-adaptive robust integrator for dynamical
          low-rank approximation, BIT Numer. Math. 62 (2022), Section 2.
        - Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
          arXiv:2205.13571, Algorithm 1.
    """

    name = "augmented_bug"
    phases = (Phase(("u", "v")), Phase(("s",)))
    rank_adaptive = True
    growth = 2

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        if phase == 1:
            core = factors.s + increments["s"]
            if truncation is None:
                # The augmented factors are twice as wide as the rank they came from.
                half = ops.shape(core)[0] // 2
                truncation = Truncation(0.0, half, half, True, half)
            return truncate(factors, None, None, core, truncation)
        u, root_u = self._augmented(factors.u, increments["u"])
        v, root_v = self._augmented(factors.v, increments["v"])
        width = ops.shape(factors.s)[0]
        s = ops.pad(factors.s, [[0, ops.shape(u)[1] - width]] * 2)
        return Update(Factors(u, root_u @ s @ linalg.transpose(root_v), v))

    @staticmethod
    def _augmented(basis: Tensor, increment: Tensor) -> tuple[Tensor, Tensor]:
        """`[U, Ũ]`, orthonormal or zero columns, and the correction that was needed."""
        new = linalg.complement(basis, increment)
        return linalg.reorthonormalize(ops.concatenate([basis, new.basis], axis=1))
