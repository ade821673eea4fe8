"""Which channels represent the others, and which to add. Pure functions of matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Squares of singular values below this share of the sum are rounding.
_ROUNDING = 1e-12
# Number of channels that are chosen before their residual is formed.
_BLOCK = 64


class Reading(NamedTuple):
    """What a layer reads of `m` channels, on a sample.

    Attributes:
        moments: `(m, m)`, the mean of `z zᵀ`, about `mean` where that is subtracted.
        mean: `(m,)`, the mean of `z` if the layer's bias can make up for a constant,
            else zeros.
        weights: `(m,)`, the norms of the rows of the kernel that the channels multiply.
    """

    moments: np.ndarray
    mean: np.ndarray
    weights: np.ndarray


class Selection(NamedTuple):
    """Channels in the order in which they are worth keeping.

    Attributes:
        order: `(m,)`, a permutation of the channels.
        errors: `(m + 1,)`, not increasing from 1 to 0: the share of the sum of squares
            that is left when the first `k` channels represent all of them.
    """

    order: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True, eq=False)
class Observation:
    """The channels of a width on a sample, as each layer that reads them sees them."""

    readings: list[Reading]

    @cached_property
    def moments(self) -> np.ndarray:
        """See `weigh_moments`."""
        return weigh_moments(self.readings)

    @cached_property
    def singular_values(self) -> np.ndarray:
        """Singular values of the channels over the sample, `(m,)`, decreasing."""
        values = np.linalg.eigvalsh(self.moments)[::-1]
        return np.sqrt(np.maximum(values, 0.0))

    @cached_property
    def selection(self) -> Selection:
        """See `select`."""
        return select(self.moments)


def weigh_moments(readings: Sequence[Reading]) -> np.ndarray:
    """Second moments `(m, m)`, weighted as the layers that read the channels do.

    A channel has one weight for all layers, so that channels that are multiples of each
    other stay so. The trace is 1, or 0 if nothing is read.
    """
    size = len(readings[0].weights)
    moments, squares = np.zeros((size, size)), np.zeros(size)
    for reading in readings:
        trace, total = np.trace(reading.moments), np.sum(reading.weights**2)
        if trace > 0 and total > 0:
            moments += reading.moments / trace
            squares += reading.weights**2 / total
    weights = np.sqrt(squares)
    product = weights[:, None] * moments * weights
    trace = np.trace(product)
    return product / trace if trace > 0 else product


def count_above(values: np.ndarray, threshold: float) -> int:
    """How many values `≥ 0` lie above a share of the largest, at least 1."""
    return max(1, int(np.count_nonzero(values > threshold * np.max(values))))


def select(moments: np.ndarray) -> Selection:
    """Orders channels by how well the first ones represent all of them.

    The next channel is the one that leaves the smallest least-squares residual of all
    channels, the greedy rule of Farahat et al., 2011, ICDM, on second moments. (The
    pivoted QR decomposition of Chee et al., 2022, arXiv:2108.00065, takes the channel
    with the largest residual of its own instead.)
    """
    rest = np.array(moments, "float64")
    size, total = len(rest), np.trace(rest)
    order: list[int] = []
    errors = [1.0]
    while len(order) < size:
        columns, chosen = _choose_block(rest, order, _ROUNDING * total)
        if not chosen:
            break
        order += chosen
        explained = np.cumsum(np.sum(columns**2, axis=0)) / total
        errors += np.clip(errors[-1] - explained, 0.0, 1.0).tolist()
        rest -= columns @ columns.T
    order += np.setdiff1d(np.arange(size), order).tolist()
    errors += [0.0] * (size + 1 - len(errors))
    errors[-1] = 0.0
    return Selection(np.array(order), np.array(errors))


def _choose_block(
    rest: np.ndarray, order: list[int], least: float
) -> tuple[np.ndarray, list[int]]:
    """Chooses `k` channels, with columns `(m, k)` of the Cholesky decomposition.

    Forming the residual after each channel would take most of the time. `rest` has the
    second moments of the residual of the channels in `order`; channels whose own
    residual is at most `least` are not chosen.
    """
    own = np.diag(rest).copy()
    own[order] = 0.0
    squares = np.sum(rest**2, axis=0)
    columns = np.empty((len(rest), _BLOCK))
    chosen: list[int] = []
    while len(chosen) < _BLOCK and np.max(own) > least:
        before = columns[:, : len(chosen)]
        gains = np.where(own > least, squares / np.maximum(own, least), -1.0)
        best = int(np.argmax(gains))
        column = (rest[:, best] - before @ before[best]) / np.sqrt(own[best])
        product = rest @ column - before @ (before.T @ column)
        squares += column * (column * (column @ column) - 2 * product)
        own -= column**2
        own[best] = 0.0
        columns[:, len(chosen)] = column
        chosen.append(best)
    return columns[:, : len(chosen)], chosen


def fit_kept(reading: Reading, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fits all `m` channels by `k` of them, by least squares on the sample.

    `z ≈ Tᵀ z_kept + c`, exactly for channels that depend linearly on the ones kept. A
    kernel `W` that reads all channels becomes `T W`, and its bias grows by `cᵀ W`.

    Returns:
        `T: (k, m)` and `c: (m,)`.
    """
    moments = np.asarray(reading.moments, "float64")
    dropped = np.setdiff1d(np.arange(len(moments)), kept)
    # Rounding is relative to each channel's own size.
    scale = np.sqrt(np.maximum(np.diag(moments)[kept], 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    block = moments[np.ix_(kept, kept)] / np.outer(scale, scale)
    right = moments[np.ix_(kept, dropped)] / scale[:, None]
    solved = np.linalg.lstsq(block, right, rcond=_ROUNDING)[0] / scale[:, None]
    transform = np.zeros((len(kept), len(moments)))
    transform[np.arange(len(kept)), kept] = 1.0
    transform[:, dropped] = solved
    return transform, reading.mean - reading.mean[kept] @ transform


def draw_columns(
    kernel: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws columns orthogonal to those of a matrix `(n, m)` and to each other.

    There are `count`, or as many as there are dimensions left. Their norm is the root
    mean square of the norms in `kernel`.
    """
    kernel = np.asarray(kernel, "float64")
    n, m = kernel.shape
    u, s, _ = np.linalg.svd(kernel, full_matrices=False)
    basis = u[:, s > _ROUNDING**0.5 * max(s[0], np.finfo(float).tiny)]
    count = min(count, n - basis.shape[1])
    drawn = rng.standard_normal((n, count))
    for _ in range(2):  # Twice, against rounding.
        drawn = np.linalg.qr(drawn - basis @ (basis.T @ drawn))[0]
    return drawn * (np.linalg.norm(kernel) / np.sqrt(m))
