"""The rank-adaptive basis-update & Galerkin integrator with augmented bases."""

from typing import Any

from keras import ops

from dlrt.factors import Factors
from dlrt.integrators._augmentation import augment, truncate
from dlrt.integrators._integrator import (
    Integrator,
    Phase,
    Truncation,
    Update,
    register,
)
from dlrt.integrators._rotation import replace_far, rotate_coordinates
from dlrt.linalg import reorthonormalize, transpose

Tensor = Any


@register
class AugmentedBUG(Integrator):
    """Steps `S` in bases that hold the old directions and the new ones.

    `Û = orth([U, K1])`, `V̂ = orth([V, L1])` of width `2r`,
    `S̃ = (Ûᵀ U) S (V̂ᵀ V)ᵀ`; `S` is stepped from `S̃` with a second gradient and the
    result truncated. The old matrix is represented exactly at the second gradient, so
    nothing is lost by a change of basis. In training both gradients are of the same
    batch as well, so that one pass serves them: `dlrt.Model` keeps the inputs and
    output gradients of low-rank layers until the second. Where these are out of reach,
    in a loop or with another use of the kernel, it runs a second pass.

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
    perpendicular = True

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        if phase == 0 or (truncation is None and not self.exact):
            return self.update_all(phase, [factors], [increments])[0]
        return self._truncated([factors], [increments], truncation)[0]

    def update_all(
        self,
        phase: int,
        factors: list[Factors],
        increments: list[dict[str, Tensor]],
    ) -> list[Update]:
        if phase == 0:
            return self._augmented(factors, increments)
        width = ops.shape(factors[0].s)[-1] // 2
        cores = [
            old.s + step["s"] for old, step in zip(factors, increments, strict=True)
        ]
        turned, near = rotate_coordinates(cores, width)
        bases = reorthonormalize(
            [old.u @ p for old, (p, _) in zip(factors, turned, strict=True)]
            + [old.v @ q for old, (_, q) in zip(factors, turned, strict=True)]
        )
        updates = []
        for (u, root_u), (v, root_v), core, (p, q) in zip(
            bases[: len(factors)], bases[len(factors) :], cores, turned, strict=True
        ):
            s = root_u @ (transpose(p) @ core @ q) @ transpose(root_v)
            updates.append(Update(Factors(u, s, v), p, q))
        return replace_far(updates, near, factors, increments, self._truncated)

    def _augmented(
        self, factors: list[Factors], increments: list[dict[str, Tensor]]
    ) -> list[Update]:
        bases = augment(
            [old.u for old in factors] + [old.v for old in factors],
            [step[name] for name in "uv" for step in increments],
            self.exact,
        )
        width = ops.shape(factors[0].s)[-1]
        return [
            Update(Factors(u, _zero_padded(old.s, width), v))
            for u, old, v in zip(
                bases[: len(factors)], factors, bases[len(factors) :], strict=True
            )
        ]

    @staticmethod
    def _truncated(
        factors: list[Factors],
        increments: list[dict[str, Tensor]],
        truncation: Truncation | None = None,
    ) -> list[Update]:
        """Truncations by a rule or to half of the width, for angles of any size."""
        cores = [
            old.s + step["s"] for old, step in zip(factors, increments, strict=True)
        ]
        width = ops.shape(cores[0])[-1] // 2
        return truncate(factors, None, cores, truncation, width)


def _zero_padded(core: Tensor, width: Tensor | int) -> Tensor:
    """Zero rows and columns beside a matrix, or each of a batch of them."""
    return ops.pad(core, [[0, 0]] * (len(core.shape) - 2) + [[0, width]] * 2)
