"""Factors as arrays, at their rank or padded to a capacity."""

from typing import Any

import numpy as np
from keras import ops

from dlrt.checks import check_positive_integer
from dlrt.factors import Factors


def padded_arrays(
    factors: Any, shape: tuple[int, int], capacity: int | None = None
) -> list[np.ndarray]:
    """Factors of a kernel of a shape, with columns of zeros up to a capacity.

    Raises:
        ValueError: If they aren't factors of such a kernel, or don't fit.
    """
    arrays = _as_arrays(factors)
    rank = arrays[1].shape[0] if arrays[1].ndim else 0
    capacity = rank if capacity is None else capacity
    check_positive_integer("capacity", capacity)
    if capacity > sum(shape):
        raise ValueError(
            f"`capacity` must be at most n + m = {sum(shape)} for a kernel "
            f"of shape {shape}. Received: capacity={capacity}"
        )
    expected = [(shape[0], rank), (rank, rank), (shape[1], rank)]
    if [a.shape for a in arrays] != expected or rank > min(capacity, *shape):
        raise ValueError(
            f"`factors` of a kernel of shape {shape} must have shapes "
            f"(n, r), (r, r), (m, r) with r at most min(n, m) and at most "
            f"capacity={capacity}. Received shapes: {[a.shape for a in arrays]}"
        )
    u, s, v = arrays
    extra = (0, capacity - rank)
    return [np.pad(u, [(0, 0), extra]), np.pad(s, extra), np.pad(v, [(0, 0), extra])]


def _as_arrays(factors: Any) -> list[np.ndarray]:
    try:
        arrays = [np.asarray(ops.convert_to_numpy(factor)) for factor in factors]
    except (TypeError, ValueError):
        arrays = []
    # Rejects strings, objects and complex numbers.
    if len(arrays) != 3 or any(array.dtype.kind in "USOc" for array in arrays):
        raise ValueError(
            "`factors` must be three arrays of real numbers, U, S and V. "
            f"Received: factors={factors!r}"
        )
    return arrays


def without_padding(u: np.ndarray, s: np.ndarray, v: np.ndarray) -> Factors:
    """Factors without their columns of zeros; at least one column is kept."""
    rank = max(1, int(np.count_nonzero(np.any(u != 0, axis=0))))
    return Factors(u[:, :rank], s[:rank, :rank], v[:, :rank])
