"""The projector-splitting integrator (KSL)."""

from typing import Any

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._augmentation import step_augmented
from dlrt.integrators._integrator import (
    Integrator,
    Phase,
    Truncation,
    Update,
    register,
)
from dlrt.integrators._rotation import step_bases
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
            basis, left, core = self._split(u, s, increments["u"])
            return Update(Factors(basis, core, v), left, None)
        basis, right, core = self._split(v, transpose(s), increments["v"])
        return Update(Factors(u, transpose(core), basis), None, right)

    def _split(
        self, basis: Tensor, core: Tensor, increment: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`basis @ core + increment = Q R`: `Q`, its overlap with the basis, `R`."""

        def augmented() -> tuple[Tensor, Tensor, Tensor]:
            return step_augmented([basis], [core], [increment], self.exact)[0]

        if self.exact:
            return augmented()
        ((rotation, triangular),) = step_bases([basis], [core], [increment])
        return linalg.cond(
            rotation.near,
            lambda: (rotation.basis, rotation.overlap, triangular),
            augmented,
        )
