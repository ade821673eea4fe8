"""The rank-adaptive basis-update & Galerkin integrator with augmented bases."""

from typing import Any

from keras import ops

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.integrators._augmentation import augment, project, truncate
from dlrt.integrators._rotation import rotate_coordinates
from dlrt.integrators.base import Integrator, Phase, Truncation, Update, register
from dlrt.ragged import Ragged

Tensor = Any


@register
class AugmentedBUG(Integrator):
    """Steps `S` in bases that hold the old directions and the new ones.

    `Û = orth([U, K1])`, `V̂ = orth([V, L1])` of width `2r`, `S̃ = (Ûᵀ U) S (V̂ᵀ V)ᵀ`;
    `S` is stepped from `S̃` with a second gradient and the result truncated. The old
    matrix is represented exactly at the second gradient, so nothing is lost by a change
    of basis. In training both gradients are of the same batch as well, so that one pass
    serves them: `dlrt.Model` keeps the inputs and output gradients of low-rank layers
    until the second. Where these are inaccessible, in a loop or with another use of the
    kernel, it runs a second pass.

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
    one_pass = True
    perpendicular = True
    ragged = True

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        bases = Ragged((factors.u, factors.v))
        if phase == 0:
            steps = Ragged((increments["u"], increments["v"]))
            u, v = augment(bases, steps, self.exact).parts
            padding = [[0, 0]] * (len(factors.s.shape) - 2)
            padding += [[0, ops.shape(factors.s)[-1]]] * 2
            return Update(Factors(u, ops.pad(factors.s, padding), v))
        core = factors.s + increments["s"]
        width = ops.shape(core)[-1] // 2

        def truncated() -> Update:
            return truncate(factors, core, truncation, width=width)

        if self.exact or truncation is not None:
            return truncated()
        coordinates, near = rotate_coordinates(core, width)
        rotated = project(factors, core, coordinates)
        return linalg.cond(ops.all(near), lambda: rotated, truncated)
