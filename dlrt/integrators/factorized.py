"""Simultaneous descent on two factors: the baseline without geometry."""

from typing import Any

from keras import ops

from dlrt.factors import Factors
from dlrt.integrators.base import Integrator, Phase, Truncation, Update, register
from dlrt.linalg import frobenius_norm

Tensor = Any


@register
class Factorized(Integrator):
    """`W = A Bᵀ`, with ordinary gradients `∂A = G B` and `∂B = Gᵀ A`.

    Equivalent to two consecutive linear layers. No basis is orthonormal and no gauge is
    kept, so the step shrinks with the singular values: the "vanilla" baseline of the
    paper. `U` holds `A`, `V` holds `B`, and `S` is the identity.

    References:
        - Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
          arXiv:2205.13571, Section 5.1 (vanilla low-rank factorisation).
    """

    name = "factorized"
    phases = (Phase(("u", "v")),)
    orthonormal = False

    def prepare(self, factors: Factors) -> Factors:
        left, right = self._balance(factors.s)
        identity = ops.zeros_like(factors.s) + ops.eye(
            ops.shape(factors.s)[-1], dtype=factors.s.dtype
        )
        return Factors(factors.u @ left, identity, factors.v * right)

    def gradients(
        self, factors: Factors, gradients: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        left, right = self._balance(factors.s)
        return {"u": gradients["u"] * right, "v": gradients["v"] @ left}

    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        u, s, v = factors
        return Update(Factors(u + increments["u"], s, v + increments["v"]))

    @staticmethod
    def _balance(core: Tensor) -> tuple[Tensor, Tensor]:
        """`S = left * right` with a scalar `right`, so that both factors are alike.

        For `S` the identity both are the identity, hence nothing changes after the
        first step.
        """
        rank = ops.cast(ops.shape(core)[-1], core.dtype)
        mean = frobenius_norm(core)[..., None, None] / ops.sqrt(rank)
        right = ops.sqrt(ops.where(mean > 0, mean, ops.ones_like(mean)))
        return core / right, right
