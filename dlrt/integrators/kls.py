"""The unconventional (basis-update & Galerkin) integrator at fixed rank."""

from typing import Any

from keras import ops

from dlrt.factors import Factors
from dlrt.integrators._augmentation import step_augmented
from dlrt.integrators._integrator import (
    Integrator,
    Phase,
    Truncation,
    Update,
    register,
)
from dlrt.integrators._rotation import replace_far, step_bases
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
        if self.exact:
            return self._augmented([factors], [increments])[0]
        return self.update_all(phase, [factors], [increments])[0]

    def update_all(
        self,
        phase: int,
        factors: list[Factors],
        increments: list[dict[str, Tensor]],
    ) -> list[Update]:
        if phase == 1:
            return super().update_all(phase, factors, increments)
        steps = step_bases(*_stepped(factors, increments))
        rotations = [rotation for rotation, _ in steps]
        lefts, rights = rotations[: len(factors)], rotations[len(factors) :]
        return replace_far(
            [
                self._projected(
                    old, left.basis, left.overlap, right.basis, right.overlap
                )
                for left, old, right in zip(lefts, factors, rights, strict=True)
            ],
            [
                ops.logical_and(left.near, right.near)
                for left, right in zip(lefts, rights, strict=True)
            ],
            factors,
            increments,
            self._augmented,
        )

    def _augmented(
        self, factors: list[Factors], increments: list[dict[str, Tensor]]
    ) -> list[Update]:
        """The steps of `K` and `L` by way of the augmented bases, for any angle."""
        steps = step_augmented(*_stepped(factors, increments), self.exact)
        return [
            self._projected(old, u, left, v, right)
            for old, (u, left, _), (v, right, _) in zip(
                factors, steps[: len(factors)], steps[len(factors) :], strict=True
            )
        ]

    @staticmethod
    def _projected(
        old: Factors, u: Tensor, left: Tensor, v: Tensor, right: Tensor
    ) -> Update:
        """The old matrix in new bases, given the overlaps of old and new ones."""
        return Update(Factors(u, transpose(left) @ old.s @ right, v), left, right)


def _stepped(
    factors: list[Factors], increments: list[dict[str, Tensor]]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Bases, cores and increments of `K` for all matrices, then those of `L`."""
    return (
        [old.u for old in factors] + [old.v for old in factors],
        [old.s for old in factors] + [transpose(old.s) for old in factors],
        [step[name] for name in "uv" for step in increments],
    )
