"""Reads one log: a workbook of `HistoryLog`, or a CSV file of the original."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlrt.callbacks import read_history
from dlrt_names.log_schema import (
    COMPRESSION,
    CONVERTED,
    COUNTS,
    EPOCH,
    LEARNING_RATE,
    METRICS,
    PARAMETERS,
    RANK,
    SECONDS,
    SPECTRUM,
    SPEED,
    WIDTH,
)
from evaluation import images, transformers
from evaluation.logs import Log, Unusable, find_network
from experiments.archive import old_csv
from experiments.mnist import published_results
from experiments.runs.log_format import LOGS, expected_epochs

SUFFIXES = (".xlsx", ".csv")

_OTHERS = (SECONDS, COMPRESSION, LEARNING_RATE, SPEED)

Row = Mapping[str, Any]


def read(path: Path) -> Log:
    """The log in a file.

    Raises:
        Unusable: If it can't be evaluated.
        OSError: If it can't be read.
    """
    folder = path.absolute().parent
    test = folder.parent.name if folder.name == LOGS else folder.name
    if path.suffix == ".csv":
        rows, configuration = _read_original(path), {}
    else:
        rows, configuration = _read_workbook(path)
    if not rows:
        raise Unusable("it has no epoch yet")
    metrics: Sequence[str] = METRICS
    width = rank = None
    seed, remarks = configuration.get("seed"), ()
    if transformers.is_run(configuration):
        metrics = transformers.METRICS
        found = transformers.find_network(configuration)
        setting, width, rank = found.setting, found.dim, found.rank
    elif images.is_run(configuration):
        setting = images.find_network(configuration).setting
    else:
        found = find_network(test, path.stem, configuration)
        setting, width, rank, seed, remarks = found
    epochs = np.array([row[EPOCH] for row in rows])
    columns = _columns(rows, metrics)
    original = path.suffix == ".csv" or CONVERTED in configuration
    if PARAMETERS not in columns and original:
        columns[PARAMETERS] = _parameters(width, columns, len(rows), setting.low_rank)
    missing = [name for name in metrics if name not in columns]
    if len(missing) == len(metrics):
        raise Unusable(f"it has none of the columns {', '.join(metrics)}")
    if missing:
        remarks += (f"it has no column {', '.join(missing)}",)
    expected = expected_epochs(configuration, rows, setting.epochs) or None
    finished = expected is None or epochs[-1] >= expected
    layers, tests, more = _compression(path, configuration, finished)
    return Log(
        path=path,
        test=test,
        setting=setting,
        width=width,
        rank=rank,
        seed=seed,
        epochs=epochs,
        columns=columns,
        spectra=_spectra(rows),
        configuration=configuration,
        diverged=_diverged(rows),
        expected_epochs=expected,
        remarks=(*remarks, *_gaps(rows), *more),
        layers=layers,
        tests=tests,
    )


def _compression(
    path: Path, configuration: Mapping[str, Any], finished: bool
) -> tuple[tuple[images.Layer, ...], images.Tests, tuple[str, ...]]:
    """What a compression did and measured, and what is odd about that."""
    if not images.compresses(configuration):
        return (), {}, ()
    layers, first = images.read_layers(path)
    expected = finished and configuration.get("test") is True
    tests, second = images.read_tests(path.absolute().parents[1], expected)
    return layers, tests, (*first, *second)


def _read_workbook(path: Path) -> tuple[list[Row], dict[str, Any]]:
    if path.stat().st_size == 0:
        raise Unusable("the file is empty")
    try:
        return read_history(path)
    except ValueError as error:
        # The message ends in the path, which is named anyway.
        raise Unusable(str(error).removesuffix(f": {path}")) from error


def _read_original(path: Path) -> list[Row]:
    try:
        return old_csv.read(path)
    except old_csv.NoLog as error:
        raise Unusable(str(error), error.line) from error


def _columns(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of numbers."""
    wanted = [
        name
        for name in rows[0]
        if name in (*metrics, *_OTHERS) or name.startswith((RANK, WIDTH, COUNTS))
    ]
    return {name: np.array(list(_numbers(rows, name))) for name in wanted}


def _numbers(rows: Sequence[Row], name: str) -> Iterable[float]:
    for number, row in enumerate(rows, start=2):
        value = row[name]
        if value is not None and not isinstance(value, int | float):
            raise Unusable(f"{name!r} reads {value!r}, which is no number", number)
        yield math.nan if value is None else value


def _spectra(rows: Sequence[Row]) -> dict[str, list[np.ndarray | None]]:
    """Singular values by layer, largest first, for every epoch that has them."""
    spectra: dict[str, list[np.ndarray | None]] = {}
    for name in rows[0]:
        if not name.startswith(SPECTRUM):
            continue
        layer = spectra.setdefault(name.removeprefix(SPECTRUM), [])
        for number, row in enumerate(rows, start=2):
            try:
                values = np.array(row[name], dtype=float) if row[name] else None
            except (TypeError, ValueError):
                raise Unusable(f"{name!r} is no list of numbers", number) from None
            layer.append(None if values is None else np.sort(values.ravel())[::-1])
    return spectra


def _diverged(rows: Sequence[Row]) -> int | None:
    losses = [name for name in METRICS if name.endswith("loss")]
    for row in rows:
        values = [row[name] for name in losses if row.get(name) is not None]
        if not all(map(math.isfinite, values)):
            return row[EPOCH]
    return None


def _gaps(rows: Sequence[Row]) -> tuple[str, ...]:
    """Names the rows of training epochs that lack a metric which others have."""
    found = []
    for name in METRICS:
        empty = [
            number
            for number, row in enumerate(rows, start=2)
            if name in row and row[name] is None and row[EPOCH] > 0
        ]
        if empty:
            shown = ", ".join(map(str, empty[:5])) + (", ..." if empty[5:] else "")
            found.append(f"row {shown}: no number in {name!r}")
    return tuple(found)


def _parameters(
    width: int, columns: Mapping[str, np.ndarray], epochs: int, low_rank: bool
) -> np.ndarray:
    """Parameters for prediction, which the original's files don't tell."""
    if not low_rank:
        return np.full(epochs, published_results.dense_parameters(width))
    names = [
        f"{RANK}hidden_{layer + 1}" for layer in range(published_results.NUM_HIDDEN)
    ]
    ranks = [columns.get(name) for name in names]
    if any(rank is None or np.isnan(rank).any() for rank in ranks):
        return np.full(epochs, np.nan)
    counts = zip(*ranks, strict=True)
    return np.array([published_results.low_rank_parameters(width, r) for r in counts])
