"""Initial factors that match a kernel initializer."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import initializers, ops
from keras.src.initializers.random_initializers import compute_fans  # not exported

from dlrt.factors import Factors
from dlrt.initializers import DenseSpectrum
from dlrt.linalg import at_least_float32

Initializer = Callable[..., Any]
Unfold = Callable[[np.ndarray], np.ndarray]

# Variance left by a normal distribution cut at two standard deviations, where Keras
# cuts it: 1 - 4 φ(2) / (2 Φ(2) - 1).
_TRUNCATED_VARIANCE = 0.7737


def factor_initializers(
    kernel_initializer: Any,
    shape: tuple[int, int],
    rank: int,
    kernel_shape: tuple[int, ...] | None = None,
    unfold: Unfold | None = None,
    fans: tuple[int, int] | None = None,
) -> tuple[Initializer, ...]:
    """Initializers of `U`, `S` and `V`; arguments as for `LowRankLayer.add_factors`."""
    kernel_shape = shape if kernel_shape is None else kernel_shape
    fans = shape if fans is None else fans
    entries, scale, count = kernel_initializer, 1.0, rank
    if isinstance(kernel_initializer, DenseSpectrum):
        entries, scale = kernel_initializer.initializer, kernel_initializer.scale
        count = min(shape)
    variance = entry_variance(entries, fans, kernel_shape)
    if variance is None:

        def draw(dtype: Any) -> np.ndarray:
            kernel = ops.convert_to_numpy(kernel_initializer(kernel_shape, dtype))
            return kernel if unfold is None else unfold(kernel)

        return _approximation(draw, rank)
    # ‖W‖_F² is that of a dense kernel, n m times the variance, if all `count` singular
    # values are σ.
    sigma = scale * math.sqrt(shape[0] * shape[1] * variance / count)
    seed = getattr(entries, "seed", None)
    second = seed + 1 if isinstance(seed, int) else seed
    return (
        _orthonormal(seed),
        lambda shape, dtype=None: ops.cast(sigma * ops.eye(shape[0]), dtype),
        _orthonormal(second),
    )


def entry_variance(
    kernel_initializer: Any, fans: tuple[int, int], kernel_shape: tuple[int, ...]
) -> float | None:
    """Variance of a kernel's entries, `None` if not independent and centred."""
    if isinstance(kernel_initializer, initializers.VarianceScaling):
        axes = kernel_initializer.input_axes, kernel_initializer.output_axes
        fan_in, fan_out = fans if None in axes else compute_fans(kernel_shape, *axes)
        modes = {"fan_in": fan_in, "fan_out": fan_out}
        fan = modes.get(kernel_initializer.mode, (fan_in + fan_out) / 2)
        return kernel_initializer.scale / max(1.0, fan)
    normal = (initializers.RandomNormal, initializers.TruncatedNormal)
    if isinstance(kernel_initializer, normal) and kernel_initializer.mean == 0:
        truncated = isinstance(kernel_initializer, initializers.TruncatedNormal)
        share = _TRUNCATED_VARIANCE if truncated else 1.0
        return share * kernel_initializer.stddev**2
    if isinstance(kernel_initializer, initializers.RandomUniform):
        high = kernel_initializer.maxval
        return high**2 / 3 if kernel_initializer.minval == -high else None
    return None


def _orthonormal(seed: Any) -> Initializer:
    orthogonal = initializers.Orthogonal(seed=seed)
    # The QR decomposition inside needs at least float32.
    return lambda shape, dtype=None: ops.cast(
        orthogonal(shape, at_least_float32(dtype or keras.config.floatx())), dtype
    )


def _approximation(
    draw: Callable[[Any], np.ndarray], rank: int
) -> tuple[Initializer, ...]:
    """The three factors of one drawn matrix."""

    @functools.cache
    def factors(dtype: str) -> Factors:
        return Factors.from_dense(draw(dtype), rank)

    def initialize(index: int, _shape: Any, dtype: Any = None) -> Any:
        wide = at_least_float32(dtype or keras.config.floatx())
        return ops.cast(factors(wide)[index], dtype)

    return tuple(functools.partial(initialize, index) for index in range(3))
