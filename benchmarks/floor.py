"""What a step has to compute and to move, by counting."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from benchmarks.networks import CLASSES, DENSE, TWO_FACTOR, Case

# Adam reads a weight, its two moments and its gradient, and writes the first three.
_ADAM_PASSES = 7
_FLOAT = 4

# Products with `(n, r)` factors in a retraction at fixed rank, for each basis.
_RETRACTION_PRODUCTS = 5


def training_flops(kind: str, case: Case) -> float:
    """Floating point operations of a step's matrix products.

    Args:
        kind: `"dense"`, `"two-factor"`, or anything else for a step of `parallel_bug`
            at fixed rank, which is that of `"two-factor"` and the retraction.
        case: The size.
    """
    total = 3 * 2.0 * case.batch * case.width * CLASSES
    for number, (n, m) in enumerate(case.kernel_shapes):
        # Forward, for the weights, and for the inputs unless they are the images.
        passes = 2 if number == 0 else 3
        if kind == DENSE:
            total += passes * 2 * case.batch * n * m
            continue
        total += 2 * case.batch * case.rank * (passes * n + 3 * m)
        if kind != TWO_FACTOR:
            total += _RETRACTION_PRODUCTS * 2 * case.rank**2 * (n + m)
    return total


def optimizer_bytes(kind: str, case: Case) -> float:
    """Bytes that Adam moves in a step."""
    weights = case.width * CLASSES
    for n, m in case.kernel_shapes:
        weights += n * m if kind == DENSE else case.rank * (n + m)
    return float(_ADAM_PASSES * _FLOAT * weights)


class Machine:
    """The rates that this machine reaches in what it does best.

    Attributes:
        flops: Floating point operations a second, of a large matrix product.
        bandwidth: Bytes a second, of adding two large vectors.
    """

    def __init__(self, size: int = 2048) -> None:
        square = ops.ones((size, size), "float32")
        long = ops.ones((16 * size * size,), "float32")
        self.flops = 2.0 * size**3 / _seconds(lambda: square @ square)
        self.bandwidth = 3.0 * _FLOAT * long.shape[0] / _seconds(lambda: long + long)

    def floor(self, kind: str, case: Case) -> float:
        """Seconds that a step takes at least, at these rates."""
        return (
            training_flops(kind, case) / self.flops
            + optimizer_bytes(kind, case) / self.bandwidth
        )


def _seconds(function: Callable[[], Any], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        ops.convert_to_numpy(ops.ravel(function())[:1])
        times.append(time.perf_counter() - start)
    return float(np.min(times))
