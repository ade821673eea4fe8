"""Matrix differential equations: `Ẇ = F(t, W)` on low-rank matrices."""

import copy
import numbers
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from dlrt.factors import Factors
from dlrt.integrators.base import Integrator, Truncation, get
from dlrt.linalg import transpose

Tensor = Any
Field = Callable[[float, Tensor], Tensor]


def euler(field: Field, t: float, y: Tensor, h: float) -> Tensor:
    """The increment of one explicit Euler step."""
    return h * field(t, y)


def runge_kutta(field: Field, t: float, y: Tensor, h: float) -> Tensor:
    """The increment of one step of the classical Runge-Kutta method of order 4."""
    k1 = field(t, y)
    k2 = field(t + h / 2, y + h / 2 * k1)
    k3 = field(t + h / 2, y + h / 2 * k2)
    k4 = field(t + h, y + h * k3)
    return h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def step(
    integrator: str | Integrator,
    field: Field,
    t: float,
    factors: Factors,
    h: float,
    truncation: Truncation | None = None,
    substep: Callable[[Field, float, Tensor, float], Tensor] = runge_kutta,
) -> Factors:
    """One time step of a low-rank integrator.

    Args:
        integrator: An `Integrator` or its name.
        field: `F(t, W)`, both `W` and the result dense `(n, m)`.
        t: Time at the start of the step.
        factors: The matrix at time `t`.
        h: Step size.
        truncation: The rule for the next rank, for rank-adaptive integrators.
        substep: How the small differential equations for `K`, `L` and `S` are
            stepped: `euler` or `runge_kutta`.

    Returns:
        The matrix at time `t + h`.

    Raises:
        ValueError: If `truncation` is given for an integrator of fixed rank, or
            `factors` are not finite real matrices that fit together.
    """
    integrator, factors = _prepared(integrator, factors, truncation)
    return _step(integrator, field, t, factors, h, truncation, substep)


def _prepared(
    integrator: str | Integrator, factors: Factors, truncation: Truncation | None
) -> tuple[Integrator, Factors]:
    """The exact integrator and the factors as tensors, after checks."""
    integrator = copy.copy(get(integrator))
    integrator.exact = True
    if truncation is not None and not integrator.rank_adaptive:
        raise ValueError(
            f"`truncation` needs a rank-adaptive integrator. Received: "
            f"integrator={integrator.name!r}, truncation={truncation}"
        )
    if not isinstance(factors, Factors):
        raise ValueError(
            f"`factors` must be dlrt.Factors. Received: {type(factors).__name__}"
        )
    return integrator, factors.checked()


def _step(
    integrator: Integrator,
    field: Field,
    t: float,
    factors: Factors,
    h: float,
    truncation: Truncation | None,
    substep: Callable[[Field, float, Tensor, float], Tensor],
) -> Factors:
    factors = integrator.prepare(factors)
    for index, phase in enumerate(integrator.phases):
        u, _, v = factors
        increments = {
            name: substep(_projected(field, name, u, v, phase.direction), t, point, h)
            for name, point in integrator.points(index, factors).items()
        }
        factors = integrator.update(index, factors, increments, truncation).factors
    return factors


def integrate(
    integrator: str | Integrator,
    field: Field,
    factors: Factors,
    t_span: tuple[float, float],
    steps: int,
    truncation: Truncation | None = None,
    substep: Callable[[Field, float, Tensor, float], Tensor] = runge_kutta,
) -> Factors:
    """Integrates `Ẇ = F(t, W)` over a time span with equal steps.

    Arguments as for `dlrt.integrators.step`; `t_span` is `(start, end)` and `steps`
    the number of steps, at least 1.

    Example:

    >>> start = dlrt.Factors.from_dense(np.diag([2.0, 1.0, 0.0]), rank=2)
    >>> end = dlrt.integrators.integrate(
    ...     "parallel_bug", lambda t, w: -w, start, (0.0, 1.0), steps=100)
    >>> round(float(end.to_dense()[0, 0]), 3)
    0.736
    """
    if not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(
            f"`steps` must be an integer, at least 1. Received: steps={steps}"
        )
    integrator, factors = _prepared(integrator, factors, truncation)
    start, end = t_span
    h = (end - start) / steps
    for index in range(steps):
        factors = _step(
            integrator, field, start + index * h, factors, h, truncation, substep
        )
    return factors


def _projected(field: Field, name: str, u: Tensor, v: Tensor, direction: int) -> Field:
    """The Galerkin field of `K`, `L` or `S`; reversed in time for a step backwards."""

    def at(t: float, w: Tensor) -> Tensor:
        value = ops.convert_to_tensor(field(t, w))
        dtype = keras.backend.standardize_dtype(value.dtype)
        is_real = keras.backend.is_float_dtype(dtype)
        if tuple(value.shape) != tuple(w.shape) or not is_real:
            raise ValueError(
                f"`field` must return a real matrix of the shape {tuple(w.shape)}. "
                f"Received: shape={tuple(value.shape)}, dtype={dtype}"
            )
        return direction * value

    def of_k(t: float, k: Tensor) -> Tensor:
        return at(t, k @ transpose(v)) @ v

    def of_l(t: float, l: Tensor) -> Tensor:  # noqa: E741
        return transpose(at(t, u @ transpose(l))) @ u

    def of_s(t: float, s: Tensor) -> Tensor:
        return transpose(u) @ at(t, u @ s @ transpose(v)) @ v

    return {"u": of_k, "v": of_l, "s": of_s}[name]
