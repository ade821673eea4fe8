"""The unconventional (basis-update & Galerkin) integrator at fixed rank."""

from typing import Any

from keras import ops

from dlrt.factors import Factors
from dlrt.integrators._augmentation import step_basis
from dlrt.integrators._integrator import (
    Integrator,
    Phase,
    Truncation,
    Update,
    register,
)
from dlrt.linalg import transpose

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

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        if phase == 1:
            return Update(factors._replace(s=factors.s + increments["s"]))
        u, root_u, p, _ = step_basis(factors.u, factors.s, increments["u"])
        v, root_v, q, _ = step_basis(factors.v, transpose(factors.s), increments["v"])
        width = ops.shape(factors.s)[-1]
        p, q = p[..., :width, :], q[..., :width, :]
        s = root_u @ (transpose(p) @ factors.s @ q) @ transpose(root_v)
        return Update(Factors(u, s, v), p, q)
