"""Numbers over runs: means and bands, interpolation thresholds, peaks."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dlrt_names.log_schema import PARAMETERS
from evaluation.logs import Log
from evaluation.series import Cell, Series

BANDS = {"range": "range (min–max)", "std": "standard deviation"}

# All data sets in use have ten classes.
CLASSES = 10
# The share of training images from which on a network counts as interpolating. Keras
# measures it while the weights still move, so that it rarely says 1.
INTERPOLATION = 0.99
# Training images of MNIST, for logs that don't tell their number.
_MNIST_IMAGES = 50_000


@dataclass(frozen=True)
class Band:
    """Mean and band of samples over runs; nan where there is no run.

    Args:
        mean, low, high: The mean and the ends of the band.
        count: How many runs there are.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def summarise(samples: np.ndarray, kind: str = "range") -> Band:
    """Mean and band over the first axis; nan is no sample.

    Args:
        samples: Values, a row a run.
        kind: A key of `BANDS`. The standard deviation is that of a sample, and zero
            for a single run.
    """
    samples = np.asarray(samples, float)
    count = np.sum(~np.isnan(samples), axis=0)
    if not len(samples):
        empty = np.full(samples.shape[1:], np.nan)
        return Band(empty, empty, empty, count)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Mean of empty|All-NaN)", RuntimeWarning)
        mean = np.nanmean(samples, axis=0)
        if kind == "range":
            low, high = np.nanmin(samples, axis=0), np.nanmax(samples, axis=0)
            return Band(mean, low, high, count)
    if kind != "std":
        raise ValueError(
            f"`kind` must be one of {', '.join(BANDS)}. Received: {kind!r}"
        )
    squares = np.nansum((samples - mean) ** 2, axis=0)
    deviation = np.sqrt(squares / np.maximum(count - 1, 1))
    return Band(mean, mean - deviation, mean + deviation, count)


def over_epochs(
    logs: Sequence[Log], column: str, kind: str = "range"
) -> tuple[np.ndarray, Band]:
    """Epochs that any of the logs has, and the band of a column in each."""
    epochs = np.unique(np.concatenate([log.epochs for log in logs]))
    samples = np.full((len(logs), len(epochs)), np.nan)
    for row, log in zip(samples, logs, strict=True):
        row[np.searchsorted(epochs, log.epochs)] = log.column(column)
    return epochs, _possible(summarise(samples, kind), column)


def final(log: Log, column: str, at: str = "last") -> float:
    """A value of the last epoch, or of the one with the best validation accuracy."""
    index = {"last": -1, "best": log.selected()}[at]
    return float(log.column(column)[index])


def finals(cell: Cell, column: str, at: str = "last") -> np.ndarray:
    """The final values of the runs of a network."""
    return np.array([final(log, column, at) for log in cell.logs])


def over_runs(cell: Cell, column: str, kind: str = "range", at: str = "last") -> Band:
    """The band of the final values of a network."""
    return _possible(summarise(finals(cell, column, at), kind), column)


def _possible(band: Band, column: str) -> Band:
    """A band that ends where values can't be: none is below 0, no accuracy above 1."""
    most = 1.0 if column.endswith("accuracy") else np.inf
    low, high = (np.clip(end, 0.0, most) for end in (band.low, band.high))
    return replace(band, low=low, high=high)


def over_sizes(
    series: Series, column: str, kind: str = "range", at: str = "last"
) -> Band:
    """The band of final values at each of `series.sizes`."""
    bands = [over_runs(series.cells[size], column, kind, at) for size in series.sizes]
    return Band(
        *(
            np.array([getattr(band, name) for band in bands])
            for name in ("mean", "low", "high", "count")
        )
    )


def interpolation_threshold(series: Series) -> int | None:
    """The first size whose mean training accuracy in the last epoch is about 1."""
    accuracy = over_sizes(series, "accuracy").mean
    reached = np.flatnonzero(accuracy >= INTERPOLATION)
    return series.sizes[reached[0]] if len(reached) else None


def parameter_threshold(series: Series) -> float | None:
    """The size at which there are as many parameters as images times classes.

    Between the networks that were trained it is interpolated, in logarithms.
    """
    images = training_images(series)
    counts = over_sizes(series, PARAMETERS).mean
    known = ~np.isnan(counts)
    if images is None or not known.any():
        return None
    sizes, counts = np.log(np.array(series.sizes)[known]), np.log(counts[known])
    wanted = np.log(images * CLASSES)
    if not counts[0] <= wanted <= counts[-1]:
        return None
    return float(np.exp(np.interp(wanted, counts, sizes)))


def training_images(series: Series) -> int | None:
    """The number of training images, `None` if logs disagree or don't tell."""
    found = set()
    for cell in series.cells.values():
        for log in cell.logs:
            images = log.configuration.get("train_images")
            if images is None and log.setting.dataset == "mnist":
                images = round(_MNIST_IMAGES * log.setting.dataset_size)
            found.add(images)
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Peak:
    """Where a quantity is largest between smaller values.

    Args:
        size: Width or rank.
        value: The mean there.
        prominence: How far the mean falls on both sides before it rises higher.
        spread: Largest minus smallest value of the runs at that size.
        runs: The size at which each run for itself peaks, if it does.
    """

    size: int
    value: float
    prominence: float
    spread: float
    runs: tuple[int, ...]


def peak(series: Series, column: str = "test_loss", at: str = "last") -> Peak | None:
    """The most prominent peak of the mean over runs; `None` without any.

    A maximum at the smallest or the largest size is no peak: it is not known what lies
    beyond.
    """
    band = over_sizes(series, column, at=at)
    found = highest_peak(band.mean)
    if found is None:
        return None
    index, prominence = found
    by_seed: dict[int | None, dict[int, float]] = {}
    for size in series.sizes:
        for log in series.cells[size].logs:
            by_seed.setdefault(log.seed, {})[size] = final(log, column, at)
    runs = []
    for values in by_seed.values():
        single = highest_peak(np.array(list(values.values())))
        if single is not None:
            runs.append(list(values)[single[0]])
    return Peak(
        size=series.sizes[index],
        value=float(band.mean[index]),
        prominence=prominence,
        spread=float(band.high[index] - band.low[index]),
        runs=tuple(sorted(runs)),
    )


def highest_peak(values: np.ndarray) -> tuple[int, float] | None:
    """Index and prominence of the most prominent inner maximum, nan left out."""
    indices = np.flatnonzero(~np.isnan(values))
    values = np.asarray(values, float)[indices]
    best: tuple[int, float] | None = None
    for index in range(1, len(values) - 1):
        value = values[index]
        bases = []
        for side in (values[index - 1 :: -1], values[index + 1 :]):
            higher = np.flatnonzero(side > value)
            bases.append(side[: higher[0] if len(higher) else None].min(initial=value))
        prominence = float(value - max(bases))
        if prominence > 0 and (best is None or prominence > best[1]):
            best = int(indices[index]), prominence
    return best
