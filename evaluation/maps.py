"""Maps of a quantity over epoch and width, or epoch and rank."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colors
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from evaluation import style
from evaluation.series import Series, count_note
from evaluation.statistics import INTERPOLATION, over_epochs

_NAMES = {"test_loss": "test loss", "test_accuracy": "test accuracy (%)"}


def epoch_map(series: Sequence[Series], column: str) -> Figure:
    """The mean over runs at every epoch and size, a panel for each series.

    A white line shows from which epoch on the mean training accuracy is about 1.

    Args:
        series: The networks.
        column: "test_loss" or "test_accuracy".
    """
    grids = [grid(item, column) for item in series]
    factor = 100 if column.endswith("accuracy") else 1
    norm = _norm(factor * np.concatenate([values.ravel() for _, _, values in grids]))
    ratio = _by_ratio(np.concatenate([sizes for _, sizes, _ in grids]))
    ends = [edges(sizes, ratio)[[0, -1]] for _, sizes, _ in grids]
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    figure, axes = style.new(rows, columns, (3 + 3.1 * columns, 1.2 + 3.2 * rows))
    reached = False
    for item, panel, (epochs, sizes, values) in zip(
        series, axes.flat, grids, strict=False
    ):
        image = panel.pcolormesh(
            edges(epochs),
            edges(sizes, ratio),
            factor * values,
            norm=norm,
            cmap=style.MAP,
            rasterized=True,
        )
        _, _, training = grid(item, "accuracy")
        known = training[~np.isnan(training)]
        if len(known) and min(known) < INTERPOLATION <= max(known):
            contour = panel.contour(
                epochs, sizes, training, [INTERPOLATION], colors="white", linewidths=1.4
            )
            contour.set_path_effects([withStroke(linewidth=3, foreground="black")])
            reached = True
        panel.grid(False)
        panel.set_facecolor("0.8")
        panel.set_title(item.label)
        style.scale_epochs(panel)
        panel.set_ylabel(
            "width of the hidden layers" if item.axis == "width" else "rank"
        )
        panel.set_ylim(np.min(ends), np.max(ends))
        if ratio:
            panel.set_yscale("log")
            style.plain_ticks(panel.yaxis, (1, 2, 5))
    for panel in axes.flat[len(series) :]:
        panel.set_axis_off()
    figure.colorbar(image, ax=axes, label=_NAMES[column], pad=0.02)
    note = "Colours are means over runs, grey where there is none."
    if reached:
        note += f" White line: mean training accuracy {100 * INTERPOLATION:g} %."
    cells = [
        (f"{item.label} at {item.axis} {size}", cell)
        for item in series
        for size, cell in item.cells.items()
    ]
    title = f"{_NAMES[column].removesuffix(' (%)').capitalize()} over epoch and "
    title += f"{series[0].axis}, {series[0].setting.data}"
    return style.finish(figure, title, f"{note} {count_note(cells)}.")


def grid(series: Series, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs, sizes, and the means over runs, a row a size."""
    sizes = np.array(series.sizes)
    found = [over_epochs(series.cells[size].logs, column) for size in series.sizes]
    epochs = np.unique(np.concatenate([its for its, _ in found]))
    values = np.full((len(sizes), len(epochs)), np.nan)
    for row, (its, band) in zip(values, found, strict=True):
        row[np.searchsorted(epochs, its)] = band.mean
    return epochs, sizes, values


def edges(centres: np.ndarray, ratio: bool = False) -> np.ndarray:
    """Where the fields around some centres meet, halfway or at the geometric mean."""
    centres = np.asarray(centres, float)
    if len(centres) == 1:
        return centres[0] + np.array([-0.5, 0.5])
    if ratio:
        return np.exp(edges(np.log(centres)))
    middle = (centres[1:] + centres[:-1]) / 2
    first = 2 * centres[0] - middle[0]
    last = 2 * centres[-1] - middle[-1]
    return np.array([first, *middle, last])


def _by_ratio(sizes: np.ndarray) -> bool:
    return bool(max(sizes) >= 4 * min(sizes))


def _norm(values: np.ndarray) -> colors.Normalize:
    """Linear, or logarithmic where values differ much."""
    low, high = np.nanmin(values), np.nanmax(values)
    if 0 < low < high / 10:
        return colors.LogNorm(low, high)
    return colors.Normalize(low, high)
