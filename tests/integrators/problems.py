"""Matrix differential equations with known solutions, in float64."""

import functools

import conftest
import numpy as np
from helpers import array, dense, orthogonal, tensor
from keras import ops

from dlrt import Factors, integrators

BUG = ["kls", "augmented_bug", "parallel_bug"]
GEOMETRIC = [*BUG, "projector_splitting"]
ADAPTIVE = ["augmented_bug", "parallel_bug"]


def best(matrix, rank):
    """The best approximation of a rank and its error."""
    u, s, vh = np.linalg.svd(matrix)
    return (u[:, :rank] * s[:rank]) @ vh[:rank], np.linalg.norm(s[rank:])


def factors_of(matrix, rank):
    u, s, vh = np.linalg.svd(matrix)
    return Factors(tensor(u[:, :rank]), tensor(np.diag(s[:rank])), tensor(vh[:rank].T))


def random_factors(n, m, r, singular_values=None, seed=0):
    """Orthonormal bases and full coefficients."""
    values = np.linspace(2.0, 1.0, r) if singular_values is None else singular_values
    core = orthogonal(r, seed=seed + 2) * values @ orthogonal(r, seed=seed + 3)
    return Factors(
        tensor(orthogonal(n, r, seed)), tensor(core), tensor(orthogonal(m, r, seed + 1))
    )


def padded(factors, width):
    """The same factors with columns of zeros up to a width."""
    u, s, v = map(array, factors)
    extra = width - s.shape[0]
    return Factors(
        tensor(np.pad(u, ((0, 0), (0, extra)))),
        tensor(np.pad(s, (0, extra))),
        tensor(np.pad(v, ((0, 0), (0, extra)))),
    )


def assert_bases(factors, tolerance=1e-10):
    """Columns are orthonormal, or zero beyond the rank; returns the rank."""
    ranks = []
    for basis in (array(factors.u), array(factors.v)):
        used = np.any(basis != 0, axis=0)
        rank = int(used.sum())
        assert used[:rank].all(), "zero columns must come last"
        gram = basis[:, :rank].T @ basis[:, :rank]
        assert np.abs(gram - np.eye(rank)).max() <= tolerance
        ranks.append(rank)
    assert ranks[0] == ranks[1]
    return ranks[0]


class Linear:
    """`Ẇ = L W + W R + C(t)`, integrated by steps that are compiled only once."""

    def __init__(self, left, right, source=None):
        self.left, self.right = left, right
        self.source = source or (lambda t: np.zeros((len(left), len(right))))

    def integrate(self, name, start, steps, truncation=None):
        """From time 0 to 1."""
        step, h = _compiled_step(name, truncation), 1.0 / steps
        left, right, step_size = tensor(self.left), tensor(self.right), tensor(h)
        factors = start
        for index in range(steps):
            nodes = [tensor(self.source((index + c) * h)) for c in (0.0, 0.5, 1.0)]
            factors = Factors(*step(*factors, left, right, *nodes, step_size))
        return factors

    def solve(self, start, steps=200):
        """A dense reference by the classical Runge-Kutta method."""
        w, h = start, 1.0 / steps

        def f(t, y):
            return self.left @ y + y @ self.right + self.source(t)

        for index in range(steps):
            t = index * h
            k1 = f(t, w)
            k2 = f(t + h / 2, w + h / 2 * k1)
            k3 = f(t + h / 2, w + h / 2 * k2)
            w = w + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(t + h, w + h * k3))
        return w


@functools.cache
def _compiled_step(name, truncation):
    def step(u, s, v, left, right, start, middle, end, h):
        def field(t, w):
            # The source by quadratic interpolation, exact where Runge-Kutta looks.
            x = t / h
            source = (
                (1 - x) * (1 - 2 * x) * start
                + 4 * x * (1 - x) * middle
                + x * (2 * x - 1) * end
            )
            return left @ w + w @ right + source

        zero = ops.zeros_like(h)
        return tuple(
            integrators.step(name, field, zero, Factors(u, s, v), h, truncation)
        )

    return conftest.compiler()(step)


class Rotation:
    """`A(t) = e^{t W1} e^t D e^{t W2}` with skew-symmetric `W1`, `W2`.

    The test of Ceruti & Lubich (BIT 2022, Section 5.1). `A` solves both `Ẇ = Ȧ(t)` and
    `Ẇ = W1 W + W + W W2`, whose exact solution from the best approximation at the
    start is the best approximation at all times.
    """

    def __init__(self, singular_values, n=100):
        rng = np.random.default_rng(0)
        self._flows = []
        generators = []
        for _ in range(2):
            w = rng.normal(size=(n, n))
            w = (w - w.T) / np.linalg.norm(w - w.T, 2)
            generators.append(w)
            self._flows.append(np.linalg.eigh(1j * w))
        self._generators = generators
        self._d = np.zeros(n)
        self._d[: len(singular_values)] = singular_values
        self.equation = Linear(generators[0] + np.eye(n), generators[1])
        zero = np.zeros((n, n))
        self.quadrature = Linear(zero, zero, self.derivative)

    def solution(self, t):
        left, right = (
            ((q * np.exp(-1j * t * eigenvalues)) @ q.conj().T).real
            for eigenvalues, q in self._flows
        )
        return (left * (np.exp(t) * self._d)) @ right

    def derivative(self, t):
        a = self.solution(t)
        return self._generators[0] @ a + a + a @ self._generators[1]

    def error(self, name, rank, steps):
        """Distance from the best approximation of the solution at time 1."""
        start = factors_of(self.solution(0.0), rank)
        end = self.equation.integrate(name, start, steps)
        assert_bases(end, 1e-4)
        return np.linalg.norm(dense(end) - best(self.solution(1.0), rank)[0])

    def fields(self):
        """For each equation, its field in NumPy and what its solution tends to."""
        left, right = self._generators
        return {
            "equation": (
                lambda t, w: left @ w + w + w @ right,
                lambda rank: best(self.solution(1.0), rank)[0],
            ),
            "quadrature": (
                lambda t, w: self.derivative(t),
                lambda rank: self.solution(1.0),
            ),
        }


def reference(name, field, factors, steps):
    """An integrator as the papers write it down, in NumPy, from time 0 to 1."""
    u, s, v = map(array, factors)
    rank, h = len(s), 1.0 / steps
    for t in np.arange(steps) * h:
        k = u @ s + _runge_kutta(lambda t, k, v=v: field(t, k @ v.T) @ v, t, u @ s, h)
        l1 = v @ s.T + _runge_kutta(
            lambda t, y, u=u: field(t, u @ y.T).T @ u, t, v @ s.T, h
        )
        if name == "kls":
            p, q = np.linalg.qr(k)[0], np.linalg.qr(l1)[0]
        else:
            p = np.linalg.qr(np.hstack([u, k]))[0]
            q = np.linalg.qr(np.hstack([v, l1]))[0]
        if name == "parallel_bug":
            p, q = np.hstack([u, p[:, rank:]]), np.hstack([v, q[:, rank:]])
        # In the old bases, or in the new ones.
        x, y = (u, v) if name == "parallel_bug" else (p, q)
        core = (x.T @ u) @ s @ (y.T @ v).T
        core = core + _runge_kutta(
            lambda t, s, x=x, y=y: x.T @ field(t, x @ s @ y.T) @ y, t, core, h
        )
        if name == "parallel_bug":
            beside, below = l1.T @ q[:, rank:], p[:, rank:].T @ k
            core = np.block([[core, beside], [below, np.zeros_like(core)]])
        left, values, right = np.linalg.svd(core)
        u, s, v = p @ left[:, :rank], np.diag(values[:rank]), q @ right[:rank].T
    return u @ s @ v.T


def _runge_kutta(field, t, y, h):
    k1 = field(t, y)
    k2 = field(t + h / 2, y + h / 2 * k1)
    k3 = field(t + h / 2, y + h / 2 * k2)
    return h / 6 * (k1 + 2 * k2 + 2 * k3 + field(t + h, y + h * k3))


class Polynomial:
    """`A(t) = P(t) Q(t)ᵀ` of exact rank, with `P` and `Q` of degree 2.

    The derivative has degree 3, for which the Runge-Kutta method is exact.
    """

    def __init__(self, n=12, m=9, scales=(1.0, 1.0, 1.0)):
        rng = np.random.default_rng(1)
        rank = len(scales)
        self.rank = rank
        self._p = [rng.normal(size=(n, rank)) for _ in range(3)]
        self._q = [rng.normal(size=(m, rank)) * scales for _ in range(3)]

    def _at(self, coefficients, t):
        a, b, c = coefficients
        return a + t * b + t * t * c, b + 2 * t * c

    def solution(self, t):
        return self._at(self._p, t)[0] @ self._at(self._q, t)[0].T

    def derivative(self, t, _w):
        (p, dp), (q, dq) = self._at(self._p, t), self._at(self._q, t)
        return tensor(dp @ q.T + p @ dq.T)


def field_for(start, size, seed=5):
    shape = (start.u.shape[0], start.v.shape[0])
    return size * np.random.default_rng(seed).normal(size=shape)
