"""The projector-splitting integrator (KSL)."""

from typing import Any

from dlrt.factors import Factors
from dlrt.integrators._rotation import step_basis
from dlrt.integrators.base import Integrator, Phase, Truncation, Update, register
from dlrt.linalg import transpose

Tensor = Any


@register
class ProjectorSplitting(Integrator):
    """Splits the tangent projection into `K`-, `S`- and `L`-steps, one after another.

    The `S`-step runs backwards in time, which amplifies where the flow is dissipative:
    in training it increases the loss. The integrator is included as the reference that
    the basis-update integrators improve on; prefer those for training.

    References:
        - Lubich & Oseledets, A projector-splitting integrator for dynamical low-rank
          approximation, BIT Numer. Math. 54 (2014), Section 3.2.
    """

    name = "projector_splitting"
    phases = (Phase(("u",)), Phase(("s",), direction=-1), Phase(("v",)))
    ragged = True

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        u, s, v = factors
        if phase == 0:
            u, left, s = step_basis(u, s, increments["u"], self.exact)
            return Update(Factors(u, s, v), left, None)
        if phase == 1:
            return Update(Factors(u, s + increments["s"], v))
        v, right, core = step_basis(v, transpose(s), increments["v"], self.exact)
        return Update(Factors(u, transpose(core), v), None, right)
