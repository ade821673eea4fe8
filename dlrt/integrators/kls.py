"""The unconventional (basis-update & Galerkin) integrator at fixed rank."""

from typing import Any

from keras import ops

from dlrt.factors import Factors
from dlrt.integrators._rotation import step_basis
from dlrt.integrators.base import Integrator, Phase, Truncation, Update, register
from dlrt.linalg import transpose
from dlrt.ragged import Ragged

Tensor = Any


@register
class KLS(Integrator):
    """Updates both bases, projects the old matrix on them, then steps `S`.

    `U1 = orth(K1)`, `V1 = orth(L1)`, `S̃ = (U1ᵀ U) S (V1ᵀ V)ᵀ`, and `S1` is stepped
    from `S̃` with a second gradient, at `U1 S̃ V1ᵀ`.

    References:
        - Ceruti & Lubich, An unconventional robust integrator for dynamical low-rank
          approximation, BIT Numer. Math. 62 (2022), Section 3.
        - Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
          arXiv:2205.13571, Algorithm 1 with fixed rank.
    """

    name = "kls"
    phases = (Phase(("u", "v")), Phase(("s",)))
    ragged = True

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        u, s, v = factors
        if phase == 1:
            return Update(Factors(u, s + increments["s"], v))
        bases, overlaps, _ = step_basis(
            Ragged((u, v)),
            ops.stack([s, transpose(s)]),
            Ragged((increments["u"], increments["v"])),
            self.exact,
        )
        left, right = ops.unstack(overlaps, 2)
        u, v = bases.parts
        return Update(Factors(u, transpose(left) @ s @ right, v), left, right)
