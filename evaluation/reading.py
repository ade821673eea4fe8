"""Reads one log: a workbook of `HistoryLog`, or a CSV file of the original."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import published_parameters
from dlrt.callbacks import read_history
from evaluation import transformers
from evaluation.logs import (
    METRICS,
    PARAMETERS,
    RANK,
    SPECTRUM,
    Log,
    Setting,
    Unusable,
    network,
)

FOLDER = "historyLogs"
SUFFIXES = (".xlsx", ".csv")

# Columns of the original's files, and what they are called here.
_ORIGINAL = {
    f"{quantity}_{part}": f"{prefix}{name}"
    for part, prefix in (("train", ""), ("val", "val_"), ("test", "test_"))
    for quantity, name in (("loss", "loss"), ("acc", "accuracy"))
}
_LAYERS = 4
_OTHERS = ("seconds", "compression", "learning rate", transformers.SPEED)

Row = Mapping[str, Any]


def read(path: Path) -> Log:
    """The log in a file.

    Raises:
        Unusable: If it can't be evaluated.
        OSError: If it can't be read.
    """
    folder = path.absolute().parent
    test = folder.parent.name if folder.name == FOLDER else folder.name
    if path.suffix == ".csv":
        rows, configuration = _read_original(path), {}
    else:
        rows, configuration = _read_workbook(path)
    if not rows:
        raise Unusable("it has no epoch yet")
    if transformers.is_one(configuration):
        metrics = transformers.METRICS
        setting, width, rank, seed, remarks = _transformer(configuration)
    else:
        metrics = METRICS
        setting, width, rank, seed, remarks = network(test, path.stem, configuration)
    epochs = np.array([row["epoch"] for row in rows])
    columns = _columns(rows, metrics)
    if PARAMETERS not in columns and path.suffix == ".csv":
        columns[PARAMETERS] = _parameters(width, columns, len(rows), setting.low_rank)
    missing = [name for name in metrics if name not in columns]
    if len(missing) == len(metrics):
        raise Unusable(f"it has none of the columns {', '.join(metrics)}")
    if missing:
        remarks += (f"it has no column {', '.join(missing)}",)
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
        expected_epochs=_expected_epochs(setting.epochs, configuration, rows),
        remarks=(*remarks, *_gaps(rows)),
    )


def _transformer(
    configuration: Mapping[str, Any],
) -> tuple[Setting, int, int | None, int | None, tuple[str, ...]]:
    found = transformers.network(configuration)
    return found.setting, found.dim, found.rank, configuration.get("seed"), ()


def _read_workbook(path: Path) -> tuple[list[Row], dict[str, Any]]:
    if path.stat().st_size == 0:
        raise Unusable("the file is empty")
    try:
        return read_history(path)
    except ValueError as error:
        # The message ends in the path, which is named anyway.
        raise Unusable(str(error).removesuffix(f": {path}")) from error


def _read_original(path: Path) -> list[Row]:
    """The lines of a semicolon-separated file, one an epoch."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(f"it is no text file ({error})") from error
    lines = [line for line in csv.reader(text.splitlines(), delimiter=";") if line]
    header = [name.strip() for name in lines[0]] if lines else []
    if len(set(header)) < len(header) or not set(header) & set(_ORIGINAL):
        raise Unusable(f"its first line names none of {', '.join(_ORIGINAL)}", 1)
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            raise Unusable(
                f"{len(cells)} values stand under {len(header)} names", number
            )
        values = {
            _column(name): _number(name, cell, number)
            for name, cell in zip(header, cells, strict=True)
            if name
        }
        rows.append({"epoch": number - 1} | values)
    return _as_shares(rows)


def _column(name: str) -> str:
    if name.startswith("rank") and name[4:].isdecimal():
        return f"{RANK}hidden_{name[4:]}"
    return _ORIGINAL.get(name, name)


def _number(name: str, cell: str, row: int) -> float | None:
    text = cell.strip().replace(",", ".")
    if text in ("", "NA"):
        return None
    try:
        return float(text)
    except ValueError:
        raise Unusable(f"{name!r} reads {cell!r}, which is no number", row) from None


def _as_shares(rows: list[dict[str, Any]]) -> list[Row]:
    """Rows whose accuracies are shares, also if the file has percent."""
    accuracies = [name for name in METRICS if name.endswith("accuracy")]
    found = [row[name] for row in rows for name in accuracies if row.get(name)]
    if max(found, default=0.0) <= 1:
        return rows
    return [
        row | {name: row[name] / 100 for name in accuracies if row.get(name)}
        for row in rows
    ]


def _columns(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of numbers."""
    wanted = [
        name
        for name in rows[0]
        if name in (*metrics, *_OTHERS) or name.startswith((RANK, "parameters "))
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
            return row["epoch"]
    return None


def _gaps(rows: Sequence[Row]) -> tuple[str, ...]:
    """Names the rows of training epochs that lack a metric which others have."""
    found = []
    for name in METRICS:
        empty = [
            number
            for number, row in enumerate(rows, start=2)
            if name in row and row[name] is None and row["epoch"] > 0
        ]
        if empty:
            shown = ", ".join(map(str, empty[:5])) + (", ..." if empty[5:] else "")
            found.append(f"row {shown}: no number in {name!r}")
    return tuple(found)


def _expected_epochs(
    epochs: int, configuration: Mapping[str, Any], rows: Sequence[Row]
) -> int | None:
    """The last epoch of the finished run, if that can be known from the log."""
    if configuration.get("train") is False:
        return None
    fine_tuning = configuration.get("fine_tune_epochs")
    if fine_tuning is None:
        return epochs or None
    # The adaptive phase ends when ranks have settled, which may be early.
    adaptive = [row["epoch"] for row in rows if row.get("phase") == "adaptive"]
    fixed = any(row.get("phase") == "fixed" for row in rows)
    return (adaptive[-1] if fixed and adaptive else epochs) + fine_tuning


def _parameters(
    width: int, columns: Mapping[str, np.ndarray], epochs: int, low_rank: bool
) -> np.ndarray:
    """Parameters for prediction, which the original's files don't tell."""
    ranks = [columns.get(f"{RANK}hidden_{layer + 1}") for layer in range(_LAYERS)]
    if not low_rank:
        kernels = 784 * width + 3 * width**2
        return np.full(epochs, kernels + published_parameters(width, (0,) * _LAYERS))
    if any(rank is None or np.isnan(rank).any() for rank in ranks):
        return np.full(epochs, np.nan)
    counts = zip(*ranks, strict=True)
    return np.array([published_parameters(width, tuple(r)) for r in counts])
