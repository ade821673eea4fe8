"""The projector-splitting integrator (KSL)."""

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
class ProjectorSplitting(Integrator):
    """Splits the tangent projection into `K`-, `S`- and `L`-steps, one after another.

    The `S`-step runs backwards in time, which amplifies where the flow is dissipative:
    in training it climbs the loss. The integrator is here as the reference that the
    basis-update integrators improve on; prefer those for training.

    References:
        - Lubich & Oseledets, A projector-splitting integrator for dynamical low-rank
          approximation, BIT Numer. Math. 54 (2014), Section 3.2.
    """

    name = "projector_splitting"
    phases = (Phase(("u",)), Phase(("s",), direction=-1), Phase(("v",)))

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        u, s, v = factors
        if phase == 1:
            return Update(factors._replace(s=s + increments["s"]))
        if phase == 0:
            basis, core, p = self._split(u, s, increments["u"])
            return Update(Factors(basis, core, v), p, None)
        basis, core, q = self._split(v, transpose(s), increments["v"])
        return Update(Factors(u, transpose(core), basis), None, q)

    @staticmethod
    def _split(
        basis: Tensor, core: Tensor, increment: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`basis @ core + increment = Q R`, with the overlap of `basis` and `Q`."""
        updated, root, p, stepped = step_basis(basis, core, increment)
        overlap = p[..., : ops.shape(core)[-1], :]
        return updated, root @ (transpose(p) @ stepped), overlap
