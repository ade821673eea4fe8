"""An integrator: the step along the tangent space, and the orthographic retraction."""

from dlrt import Factors, linalg
from dlrt.integrators import Integrator, Phase, Update, register


@register
class Orthographic(Integrator):
    """Steps `K`, `L` and `S` from one gradient, and returns orthographically.

    The tangent step `U S Vᵀ + P(D)` leaves the manifold. The retraction goes back along
    the normal space, to `A S1 Bᵀ` with

    `S1 = S + dS`, `A = U + (I - U Uᵀ) dK S1⁻¹`, `B = V + (I - V Vᵀ) dL S1⁻ᵀ`.

    It is of second order, needs no singular value decomposition, and has to invert
    `S1`: small singular values make its steps inexact, which those of `parallel_bug`
    never are. The new bases are the orthonormal ones nearest to `A` and `B`.

    References:
        - Absil & Oseledets, Low-rank retractions: a survey and new results, Comput.
          Optim. Appl. 62 (2015), Section 3.2.
    """

    name = "orthographic"
    phases = (Phase(("u", "s", "v")),)

    def update(self, phase, factors, increments, truncation=None):
        u, s, v = factors
        core = s + increments["s"]
        inverse = linalg.inverse(core)
        _, normal_u = linalg.perpendicular(u, increments["u"])
        _, normal_v = linalg.perpendicular(v, increments["v"])
        u1, left = _orthonormal_part(u + normal_u @ inverse)
        v1, right = _orthonormal_part(v + normal_v @ linalg.transpose(inverse))
        new = Factors(u1, left @ core @ right, v1)
        return Update(new, linalg.transpose(u) @ u1, linalg.transpose(v) @ v1)


def _orthonormal_part(a):
    """The polar decomposition `a = q p`: an orthonormal `q`, a symmetric `p`."""
    values, vectors = linalg.eigh(linalg.transpose(a) @ a)
    roots = values[..., None, :] ** 0.5
    symmetric = (vectors * roots) @ linalg.transpose(vectors)
    return a @ ((vectors / roots) @ linalg.transpose(vectors)), symmetric
