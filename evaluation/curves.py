"""Loss and accuracy against epoch, width, rank and number of parameters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dlrt_names.log_schema import PARAMETERS
from evaluation import style
from evaluation.series import Cell, Series, count_note
from evaluation.statistics import (
    BANDS,
    CLASSES,
    INTERPOLATION,
    Band,
    interpolation_threshold,
    over_epochs,
    over_runs,
    over_sizes,
    parameter_threshold,
    training_images,
)

# A panel for each metric: quantities below each other, parts side by side.
QUANTITIES = ("loss", "accuracy")
PARTS = {"": "training", "val_": "validation", "test_": "test"}
_SIZE = (10.0, 6.2)
_AT = {
    "last": "Values of the last epoch.",
    "best": "Values of the epoch with the best validation accuracy.",
}
_ACCURACY_MARK = f"training accuracy reaches {100 * INTERPOLATION:g} %"
_PARAMETER_MARK = "parameters = training images × classes"


@dataclass(frozen=True)
class Line:
    """A line of a panel.

    Args:
        x: Where its points are.
        band: Their means and bands.
        style: Colour, marker and dashes.
    """

    x: np.ndarray
    band: Band
    style: dict


def against_size(
    series: Sequence[Series],
    kind: str = "range",
    at: str = "last",
    references: Sequence[tuple[str, Cell]] = (),
) -> Figure:
    """Final values against width or rank, with the interpolation thresholds.

    Args:
        series: The curves, over the same axis.
        kind: Key of `BANDS`.
        at: "last" or "best"; which epoch is the final one.
        references: Networks without this size, by label: horizontal lines.
    """
    styles = style.lines([item.setting.low_rank for item in series])
    figure, axes = style.new(2, 3, _SIZE)
    for metric, panel in _panels(axes):
        lines = [
            Line(np.array(item.sizes), over_sizes(item, metric, kind, at), look)
            for item, look in zip(series, styles, strict=True)
        ]
        _draw(panel, metric, lines)
        for number, (_, cell) in enumerate(references):
            band = over_runs(cell, metric, kind, at)
            _draw_reference(panel, metric, band, number)
        every = np.concatenate([line.x for line in lines])
        axis = series[0].axis
        name = "width of the hidden layers" if axis == "width" else "rank"
        style.scale_sizes(panel, every, name)
    marks = {}
    for item, look in zip(series, styles, strict=True):
        marks |= _mark(axes, interpolation_threshold(item), look, "--", _ACCURACY_MARK)
        marks |= _mark(axes, parameter_threshold(item), look, ":", _PARAMETER_MARK)
    legend = _legend([item.label for item in series], styles) | marks
    for number, (label, _) in enumerate(references):
        legend[label] = Line2D([], [], **_reference_look(number))
    title = f"Loss and accuracy against {series[0].axis}"
    widths = {item.key.width for item in series}
    if len(widths) == 1 and None not in widths:
        title += f", width {widths.pop()}"
    return style.finish(figure, title, _note(series, kind, at, references), legend)


def against_parameters(
    series: Sequence[Series], kind: str = "range", at: str = "last"
) -> Figure:
    """Final values against the number of parameters for prediction.

    Args:
        series: The curves, over width or rank.
        kind: Key of `BANDS`.
        at: "last" or "best"; which epoch is the final one.
    """
    styles = style.lines([item.setting.low_rank for item in series])
    counts = [over_sizes(item, PARAMETERS, at=at).mean for item in series]
    figure, axes = style.new(2, 3, _SIZE)
    for metric, panel in _panels(axes):
        lines = [
            Line(count, over_sizes(item, metric, kind, at), look)
            for item, count, look in zip(series, counts, styles, strict=True)
        ]
        _draw(panel, metric, lines)
        known = np.concatenate(counts)
        style.scale_sizes(panel, known[~np.isnan(known)], "parameters for prediction")
    marks = {}
    for item, count, look in zip(series, counts, styles, strict=True):
        size = interpolation_threshold(item)
        place = None if size is None else count[item.sizes.index(size)]
        marks |= _mark(axes, place, look, "--", _ACCURACY_MARK)
    for images in {training_images(item) for item in series} - {None}:
        look = {"color": style.GREY}
        marks |= _mark(axes, images * CLASSES, look, ":", _PARAMETER_MARK)
    legend = _legend([item.label for item in series], styles) | marks
    title = "Loss and accuracy against the number of parameters"
    return style.finish(figure, title, _note(series, kind, at), legend)


def against_epoch(
    cells: Sequence[tuple[str, Cell]], title: str, kind: str = "range"
) -> Figure:
    """The course of training of some networks.

    Args:
        cells: Their runs, by what the legend calls them.
        title: Title of the figure.
        kind: Key of `BANDS`.
    """
    styles = style.lines([cell.logs[0].setting.low_rank for _, cell in cells])
    figure, axes = style.new(2, 3, _SIZE)
    for metric, panel in _panels(axes):
        lines = [
            Line(*over_epochs(cell.logs, metric, kind), look)
            for (_, cell), look in zip(cells, styles, strict=True)
        ]
        _draw(panel, metric, lines)
        style.scale_epochs(panel)
    legend = _legend([label for label, _ in cells], styles)
    note = (
        f"Lines are means over runs, shades their {BANDS[kind]}. {count_note(cells)}."
    )
    return style.finish(figure, title, note, legend)


def _panels(axes: np.ndarray) -> Iterable[tuple[str, Axes]]:
    for quantity, row in zip(QUANTITIES, axes, strict=True):
        for (prefix, part), panel in zip(PARTS.items(), row, strict=True):
            unit = " (%)" if quantity == "accuracy" else ""
            panel.set_title(f"{part} {quantity}")
            panel.set_ylabel(f"{quantity}{unit}")
            yield prefix + quantity, panel


def _draw(panel: Axes, metric: str, lines: Sequence[Line]) -> None:
    factor = 100 if metric.endswith("accuracy") else 1
    for line in lines:
        band, drawn = line.band, np.isfinite(line.x) & ~np.isnan(line.band.mean)
        x = line.x[drawn]
        panel.fill_between(
            x,
            factor * band.low[drawn],
            factor * band.high[drawn],
            color=line.style["color"],
            alpha=0.18,
            linewidth=0,
        )
        # A marker on each of some hundred epochs would hide the line.
        every = 1 if len(x) <= 40 else len(x) // 12
        panel.plot(x, factor * band.mean[drawn], **line.style, markevery=every)
    if not any(np.any(~np.isnan(line.band.mean)) for line in lines):
        panel.text(0.5, 0.5, "not in the logs", ha="center", transform=panel.transAxes)
    elif factor == 1:
        style.scale_loss(panel)


def _reference_look(number: int) -> dict:
    return {"color": "black", "linestyle": style.DASHES[number % len(style.DASHES)]}


def _draw_reference(panel: Axes, metric: str, band: Band, number: int) -> None:
    if np.isnan(band.mean):
        return
    factor = 100 if metric.endswith("accuracy") else 1
    panel.axhspan(factor * band.low, factor * band.high, color="black", alpha=0.1, lw=0)
    panel.axhline(factor * band.mean, **_reference_look(number))


def _mark(
    axes: np.ndarray, place: float | None, look: dict, dashes: str, label: str
) -> dict[str, Line2D]:
    """Vertical lines in all panels, and what the legend says about them."""
    if place is None or np.isnan(place):
        return {}
    for panel in axes.flat:
        panel.axvline(place, color=look["color"], ls=dashes, lw=1.0, alpha=0.7)
    return {label: Line2D([], [], color=style.GREY, ls=dashes, lw=1.0)}


def _legend(labels: Sequence[str], styles: Sequence[dict]) -> dict[str, Line2D]:
    return {
        label: Line2D([], [], **look)
        for label, look in zip(labels, styles, strict=True)
    }


def _note(
    series: Sequence[Series],
    kind: str,
    at: str,
    references: Sequence[tuple[str, Cell]] = (),
) -> str:
    cells = list(references) + [
        (f"{item.label} at {item.axis} {size}", cell)
        for item in series
        for size, cell in item.cells.items()
    ]
    data = sorted({item.setting.data for item in series})
    return (
        f"{_AT[at]} Lines are means over runs, shades their {BANDS[kind]}. "
        f"{count_note(cells)}. Data: {'; '.join(data)}."
    )
