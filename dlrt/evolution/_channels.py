"""Which channels stand for all, and which to add. Pure functions of matrices."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Squares of singular values below this share of the sum are rounding.
_ROUNDING = 1e-12
# So many channels are chosen before their residual is formed.
_BLOCK = 64


class Reading(NamedTuple):
    """What a layer reads of `m` channels, on a sample.

    Attributes:
        moments: `(m, m)`, the mean of `z zᵀ`, about `mean` where that is subtracted.
        mean: `(m,)`, the mean of `z` if the layer can make up for a constant with its
            bias, else zeros.
        weights: `(m,)`, the norms of the kernel's rows that the channels multiply.
    """

    moments: np.ndarray
    mean: np.ndarray
    weights: np.ndarray


class Selection(NamedTuple):
    """Channels in the order in which they are worth keeping.

    Attributes:
        order: `(m,)`, a permutation of the channels.
        errors: `(m + 1,)`, not increasing from 1 to 0: what is left of the sum of
            squares when the first `k` channels stand for all of them.
    """

    order: np.ndarray
    errors: np.ndarray


def weighted(readings: Sequence[Reading]) -> np.ndarray:
    """The second moments of channels as the layers that read them weigh them.

    Channels that are multiples of each other stay so, whatever reads them: a channel
    has one weight for all layers.

    Args:
        readings: One for each layer, of the same channels.

    Returns:
        `(m, m)`, of trace 1; zeros if nothing is read.
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


def singular_values(moments: np.ndarray) -> np.ndarray:
    """Singular values of channels over the sample, `(m,)`, decreasing.

    Args:
        moments: `(m, m)`, symmetric and without negative eigenvalues.
    """
    return np.sqrt(np.maximum(np.linalg.eigvalsh(moments)[::-1], 0.0))


def above(values: np.ndarray, threshold: float) -> int:
    """How many values lie above a share of the largest, at least 1.

    Args:
        values: `(m,)`, not negative.
        threshold: In `[0, 1)`.
    """
    return max(1, int(np.count_nonzero(values > threshold * np.max(values))))


def select(moments: np.ndarray) -> Selection:
    """Channels by how much of all channels their span takes in, one after another.

    The next channel is the one that leaves the smallest least-squares residual of all
    channels; the pivoted QR decomposition of Chee et al., 2022, arXiv:2108.00065,
    takes the one with the largest residual of its own instead. The greedy rule of
    Farahat et al., 2011, ICDM, on second moments.

    Args:
        moments: `(m, m)`, as `weighted` gives them.
    """
    rest = np.array(moments, "float64")
    size, total = len(rest), np.trace(rest)
    order: list[int] = []
    errors = [1.0]
    while len(order) < size:
        columns, chosen = _best_few(rest, order, _ROUNDING * total)
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


def _best_few(
    rest: np.ndarray, order: list[int], least: float
) -> tuple[np.ndarray, list[int]]:
    """The next channels of a selection, at most as many as make a block.

    The residual is not formed after each of them, which would take most of the time.

    Args:
        rest: `(m, m)`, second moments of what the channels chosen so far leave.
        order: Those channels.
        least: What a channel must have left to be chosen.

    Returns:
        Columns of the Cholesky decomposition, `(m, k)`, and `k` channels.
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


def correction(reading: Reading, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All channels from those kept, by least squares on the sample.

    `z ≈ Tᵀ z_kept + c`, exactly for channels that depend linearly on the ones kept.

    Args:
        reading: Of `m` channels.
        kept: `(k,)`, their indices.

    Returns:
        `T: (k, m)` and `c: (m,)`. A kernel `W` that reads all channels becomes `T W`,
        and its bias grows by `cᵀ W`.
    """
    moments = np.asarray(reading.moments, "float64")
    dropped = np.setdiff1d(np.arange(len(moments)), kept)
    # Channels of very different sizes weigh alike in what counts as rounding.
    scale = np.sqrt(np.maximum(np.diag(moments)[kept], 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    block = moments[np.ix_(kept, kept)] / np.outer(scale, scale)
    right = moments[np.ix_(kept, dropped)] / scale[:, None]
    solved = np.linalg.lstsq(block, right, rcond=_ROUNDING)[0] / scale[:, None]
    transform = np.zeros((len(kept), len(moments)))
    transform[np.arange(len(kept)), kept] = 1.0
    transform[:, dropped] = solved
    return transform, reading.mean - reading.mean[kept] @ transform


def new_columns(kernel: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Columns orthogonal to those of a matrix and to each other.

    Args:
        kernel: `(n, m)`.
        count: How many are wanted.
        rng: Draws them.

    Returns:
        `(n, k)` with `k` at most `count` and the dimensions that are left. Their norm
        is the root mean square of those in `kernel`.
    """
    kernel = np.asarray(kernel, "float64")
    n, m = kernel.shape
    u, s, _ = np.linalg.svd(kernel, full_matrices=False)
    basis = u[:, s > _ROUNDING**0.5 * max(s[0], np.finfo(float).tiny)]
    count = min(count, n - basis.shape[1])
    drawn = rng.standard_normal((n, count))
    for _ in range(2):  # Once more for what rounding has left.
        drawn = np.linalg.qr(drawn - basis @ (basis.T @ drawn))[0]
    return drawn * (np.linalg.norm(kernel) / np.sqrt(m))
