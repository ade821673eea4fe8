"""Measured times and sizes as tables, files and a figure."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import reports
from benchmarks.networks import DENSE, TWO_FACTOR, Case

KEY = ("measurement", "width", "rank", "batch", "kind")


@dataclass(frozen=True)
class Row:
    """One figure, with what it is to be compared to.

    Args:
        measurement: "training", "prediction", "memory" or "adaptive".
        width, rank, batch: The case.
        kind: What was measured.
        value: The median.
        low, high: The 10th and the 90th percentile.
        unit: Of these three, "ms" or "MiB".
        to_two_factor, to_dense: Ratios of medians, where the others were measured.
        floor: What it takes at least by counting, in the same unit.
        count: How many single values there were.
        note: Anything else.
    """

    measurement: str
    width: int
    rank: int
    batch: int
    kind: str
    value: float
    low: float
    high: float
    unit: str
    to_two_factor: float | None = None
    to_dense: float | None = None
    floor: float | None = None
    count: int = 1
    note: str = ""

    @property
    def key(self) -> tuple:
        return tuple(getattr(self, name) for name in KEY)


def make_rows(
    measurement: str,
    case: Case,
    samples: dict[str, np.ndarray],
    unit: str,
    floors: dict[str, float] | None = None,
    notes: dict[str, str] | None = None,
) -> list[Row]:
    """Rows for samples by kind, which were taken in turns."""
    medians = {kind: float(np.median(values)) for kind, values in samples.items()}

    def ratio(kind: str, other: str) -> float | None:
        return medians[kind] / medians[other] if other in medians else None

    return [
        Row(
            measurement,
            case.width,
            case.rank,
            case.batch,
            kind,
            medians[kind],
            float(np.percentile(values, 10)),
            float(np.percentile(values, 90)),
            unit,
            ratio(kind, TWO_FACTOR),
            ratio(kind, DENSE),
            (floors or {}).get(kind),
            len(values),
            (notes or {}).get(kind, ""),
        )
        for kind, values in samples.items()
    ]


def format_table(rows: Iterable[Row]) -> str:
    """Markdown, a line for each row."""
    columns = ("", "median", "10–90 %", "to two-factor", "to dense", "floor", "")
    return reports.format_table(
        columns,
        (
            (
                row.kind,
                f"{row.value:.4g} {row.unit}",
                f"{row.low:.4g}–{row.high:.4g}",
                "" if row.to_two_factor is None else f"{row.to_two_factor:.2f} ×",
                "" if row.to_dense is None else f"{row.to_dense:.3f} ×",
                "" if row.floor is None else f"{row.floor:.3g}",
                row.note,
            )
            for row in rows
        ),
    )


def read(path: Path) -> dict[tuple, Row]:
    """The rows of a CSV file by their key, none if there is no file.

    Raises:
        ValueError: If it is another file.
    """
    if not path.exists():
        return {}
    rows = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for record in csv.DictReader(file):
                row = _row(record)
                rows[row.key] = row
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"this file must have been written by a benchmark: {path}"
        ) from error
    return rows


def _row(record: dict[str, str]) -> Row:
    values: dict[str, Any] = {}
    for field in fields(Row):
        text = record[field.name]
        if field.type is str:
            values[field.name] = text
        elif field.type is int:
            values[field.name] = int(text)
        else:
            values[field.name] = float(text) if text else None
    return Row(**values)


def write(path: Path, rows: dict[tuple, Row], context: dict[str, Any]) -> None:
    """Writes rows in the place of the file; those of earlier calls keep their context.

    Args:
        path: The CSV file.
        rows: All rows, by key.
        context: What holds for the rows that the file does not have yet as they are.
    """
    known: dict[tuple, dict[str, str]] = {}
    earlier = read(path)
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            for record, key in zip(csv.DictReader(file), earlier, strict=True):
                known[key] = {name: record.get(name, "") for name in context}
    records = [
        asdict(row) | (known[key] if earlier.get(key) == row else context)
        for key, row in rows.items()
    ]
    reports.write_csv(path, records)


def fit_slope(points: list[tuple[float, float]]) -> float:
    """The exponent of a power law through points, by least squares in log-log."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def select_points(
    rows: Iterable[Row], kind: str, over: str, value: str = "value", **fixed: int
) -> list[tuple[float, float]]:
    """Points of the training time, or its floor, of a kind over width or rank."""
    return sorted(
        (getattr(row, over), getattr(row, value))
        for row in rows
        if row.measurement == "training"
        and row.kind == kind
        and getattr(row, value) is not None
        and all(getattr(row, name) == wanted for name, wanted in fixed.items())
    )


def draw(rows: Iterable[Row], path: Path, title: str) -> bool:
    """Draws training time over rank and over width, if there is a line of either."""
    rows = list(rows)
    panels = [
        ("rank", {"width": _most_common(rows, "width", "rank")}),
        ("width", {"rank": _most_common(rows, "rank", "width")}),
    ]
    if all(
        len(select_points(rows, TWO_FACTOR, over, **fixed)) < 2
        for over, fixed in panels
    ):
        return False
    pyplot = reports.load_pyplot()
    from matplotlib import ticker

    styles = {
        DENSE: ("#D55E00", "s"),
        "kls": ("#009E73", "^"),
        "augmented_bug": ("#CC79A7", "v"),
        "parallel_bug": ("#0072B2", "o"),
        TWO_FACTOR: ("0.35", "D"),
    }
    figure, axes = pyplot.subplots(1, 2, figsize=(9.2, 4.2), layout="constrained")
    for axis, (over, fixed) in zip(axes, panels, strict=True):
        for kind, (color, marker) in styles.items():
            points = select_points(rows, kind, over, **fixed)
            if kind == DENSE and over == "rank" and points:
                axis.axhline(
                    float(np.mean([y for _, y in points])), color=color, label=DENSE
                )
            elif points:
                axis.plot(*zip(*points, strict=True), marker, ls="-", color=color)
                axis.lines[-1].set_label(kind)
            floor = select_points(rows, kind, over, "floor", **fixed)
            if len(floor) > 1 and not (kind == DENSE and over == "rank"):
                axis.plot(*zip(*floor, strict=True), ls=":", color=color)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axis.set_xlabel(over)
        axis.set_ylabel("time of a training step (ms)")
        axis.set_title(", ".join(f"{name} {value}" for name, value in fixed.items()))
        axis.grid(alpha=0.3, which="both")
    axes[0].plot([], [], ":", color="0.35", label="floor by counting")
    axes[0].legend(fontsize="small")
    figure.suptitle(title, fontsize="medium")
    reports.save_figure(figure, path, dpi=160)
    return True


def _most_common(rows: list[Row], name: str, over: str) -> int:
    """The width (or rank) with the most ranks (or widths)."""
    counts: dict[int, set[int]] = {}
    for row in rows:
        if row.measurement == "training":
            counts.setdefault(getattr(row, name), set()).add(getattr(row, over))
    return max(counts, key=lambda value: len(counts[value]), default=0)
