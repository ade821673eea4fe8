"""Tables of results, in CSV, Markdown, LaTeX and HTML."""

import csv
import html
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlrt_names.log_schema import METRICS, PARAMETERS
from evaluation import image_tables, transformer_tables
from evaluation.cells import Table, known, last_epochs, span
from evaluation.collection import Collection
from evaluation.logs import Log
from evaluation.series import AXES, Cell, cells_of, labels, series_over
from evaluation.statistics import (
    final,
    finals,
    interpolation_threshold,
    over_sizes,
    parameter_threshold,
    peak,
    summarise,
)

_NONE = "–"


def all_tables(collection: Collection) -> list[Table]:
    """Every table that has a row."""
    tables = [
        *(peaks(collection), results(collection), runs(collection)),
        *transformer_tables.both(collection),
        *image_tables.all_of(collection),
    ]
    return [table for table in tables if table.rows]


def results(collection: Collection) -> Table:
    """Means and ranges over the runs of each network."""
    header = ["method", "width", "rank", "runs", "not counted", "epochs", "parameters"]
    columns = [
        ("training accuracy %", "accuracy", "last"),
        ("test loss", "test_loss", "last"),
        ("test accuracy %", "test_accuracy", "last"),
        ("test accuracy % at best validation", "test_accuracy", "best"),
    ]
    for name, _, _ in columns:
        header += [name, f"{name}, min", f"{name}, max", f"{name}, runs"]
    cells = cells_of(collection)
    names = labels(key._replace(width=None) for key in cells)
    rows = []
    for name, (key, cell) in zip(names, cells.items(), strict=True):
        row = [name, key.width, key.rank, len(cell.logs), len(cell.excluded)]
        row += [last_epochs(cell), _mean(cell, PARAMETERS)]
        for _, column, at in columns:
            factor = 100 if column.endswith("accuracy") else 1
            band = summarise(finals(cell, column, at))
            row += [
                known(factor * float(getattr(band, part)))
                for part in ("mean", "low", "high")
            ]
            row.append(int(band.count))
        rows.append(tuple(row))
    caption = (
        "Results of each network: mean, smallest and largest value over the runs that "
        "have one, of the last epoch unless the column says otherwise"
    )
    return Table("results", caption, tuple(header), rows)


def peaks(collection: Collection) -> Table:
    """Where the mean test loss of each method peaks, and where it interpolates."""
    header = (
        "method",
        "data",
        "over",
        "from",
        "to",
        "networks",
        "runs of a network",
        "peak of the mean test loss at",
        "mean test loss there",
        "prominence",
        "max – min over runs there",
        "peaks of single runs at",
        "mean test loss at the largest",
        "training accuracy reaches 99 % at",
        "parameters = images × classes at",
    )
    rows = []
    for axis in AXES:
        for series in series_over(axis, collection):
            sizes = series.sizes
            if not sizes:
                continue
            found = peak(series)
            counts = [len(series.cells[size].logs) for size in sizes]
            threshold = parameter_threshold(series)
            rows.append(
                (
                    series.label,
                    series.setting.data,
                    axis,
                    sizes[0],
                    sizes[-1],
                    len(sizes),
                    span(counts),
                    found and found.size,
                    found and found.value,
                    found and found.prominence,
                    found and found.spread,
                    found and ", ".join(map(str, found.runs)),
                    known(over_sizes(series, "test_loss").mean[-1]),
                    interpolation_threshold(series),
                    None if threshold is None else round(threshold, 1),
                )
            )
    caption = (
        "Double descent: the most prominent inner peak of the mean test loss of the "
        "last epoch, and the interpolation thresholds"
    )
    return Table("peaks", caption, header, rows)


def runs(collection: Collection) -> Table:
    """Every log, also those that are in no mean."""
    header = (
        *("test", "file", "method", "width", "rank", "seed", "epochs", "state"),
        *("ranks", "parameters", "seconds"),
        *(_percent_name(metric) for metric in METRICS),
        *("best epoch", "test accuracy % there"),
    )
    cells = cells_of(collection)
    names = labels(key._replace(width=None) for key in cells)
    rows = []
    for name, (key, cell) in zip(names, cells.items(), strict=True):
        for log in (*cell.logs, *cell.excluded):
            ranks = ", ".join(f"{rank:g}" for rank in log.ranks[-1])
            best = log.selected()
            rows.append(
                (
                    log.test,
                    log.path.name,
                    name,
                    key.width,
                    key.rank,
                    log.seed,
                    int(log.epochs[-1]),
                    _state(log),
                    ranks or None,
                    known(final(log, PARAMETERS)),
                    known(round(float(np.sum(log.column("seconds"))), 1)),
                    *(_share(metric, final(log, metric)) for metric in METRICS),
                    int(log.epochs[best]),
                    known(100 * float(log.column("test_accuracy")[best])),
                )
            )
    return Table("runs", "Every run, with the values of its last epoch", header, rows)


def _state(log: Log) -> str:
    return log.state if log.diverged is None else f"diverged at epoch {log.diverged}"


def _percent_name(metric: str) -> str:
    name = metric.replace("val_", "validation ").replace("_", " ")
    return f"{name} %" if metric.endswith("accuracy") else name


def _share(metric: str, value: float) -> float | None:
    return known(100 * value if metric.endswith("accuracy") else value)


def _mean(cell: Cell, column: str) -> float | None:
    return known(float(summarise(finals(cell, column)).mean))


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return _NONE
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"


def to_csv(table: Table) -> str:
    """Full precision; an empty field where there is no value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rows = [line([shown(value) for value in row]) for row in table.rows]
    rule = "|" + "---|" * len(table.header)
    return "\n".join([f"{table.caption}.", "", line(table.header), rule, *rows, ""])


_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
}


def to_latex(table: Table) -> str:
    """A `tabular` of the package booktabs."""

    def line(cells: Sequence[str]) -> str:
        escaped = ("".join(_LATEX.get(sign, sign) for sign in cell) for cell in cells)
        return f"{' & '.join(escaped)} \\\\"

    first = table.rows[0] if table.rows else table.header
    columns = "".join("l" if isinstance(value, str) else "r" for value in first)
    rows = [line([shown(value) for value in row]) for row in table.rows]
    return "\n".join(
        [
            f"% {table.caption}.",
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(table.header),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def to_html(table: Table) -> str:
    def line(tag: str, values: Sequence[Any]) -> str:
        cells = (
            f"<{tag}{_class(value)}>{html.escape(shown(value))}</{tag}>"
            for value in values
        )
        return f"<tr>{''.join(cells)}</tr>"

    head = line("th", table.header)
    body = "\n".join(line("td", row) for row in table.rows)
    return (
        f"<table><caption>{html.escape(table.caption)}.</caption>\n"
        f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>"
    )


def _class(value: Any) -> str:
    return "" if isinstance(value, str) else ' class="number"'


WRITERS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
}
