"""How ranks, widths and singular values of layers develop."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlrt_names.log_schema import PARAMETERS, RANK, TRAINED_PARAMETERS, WIDTH
from evaluation import style
from evaluation.logs import Log
from evaluation.series import Cell, count_note
from evaluation.statistics import BANDS, over_epochs

_PARAMETERS = {
    "prediction": (PARAMETERS, 1e-3),
    "training": (TRAINED_PARAMETERS, 1e-3),
}
_ACCURACIES = {
    "training": ("accuracy", 100),
    "validation": ("val_accuracy", 100),
    "test": ("test_accuracy", 100),
}


def layers(log: Log, start: str = RANK) -> list[str]:
    """Names of the low-rank layers, or with `WIDTH` of those whose widths change."""
    return [name.removeprefix(start) for name in log.columns if name.startswith(start)]


def rank_evolution(cell: Cell, title: str, kind: str = "range") -> Figure:
    """Ranks of the layers against epoch, and what becomes of the network meanwhile.

    Widths where these change instead.

    Args:
        cell: Runs of one network.
        title: Title of the figure.
        kind: Key of `BANDS`.
    """
    figure, axes = style.new(1, 3, (10.0, 3.8))
    start = RANK if layers(cell.logs[0]) else WIDTH
    what = start.strip()
    panels = (
        (what, {n: (start + n, 1) for n in layers(cell.logs[0], start)}, 0),
        ("parameters (thousands)", _PARAMETERS, 4),
        ("accuracy (%)", _ACCURACIES, 1),
    )
    for panel, (name, columns, first) in zip(axes.flat, panels, strict=True):
        for number, (label, (column, factor)) in enumerate(columns.items(), first):
            _line(panel, cell, column, factor, style.line(number), label, kind)
        style.scale_epochs(panel)
        panel.set_ylabel(name)
        panel.legend(fontsize=8)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].set_ylim(bottom=0)
    note = (
        f"{what.capitalize()}s at the end of each epoch. Lines are means over runs, "
        "shades their "
        f"{BANDS[kind]}. {count_note([(title, cell)])}."
    )
    return style.finish(figure, title, note)


def _line(
    panel: Axes,
    cell: Cell,
    column: str,
    factor: float,
    look: dict,
    label: str,
    kind: str,
) -> None:
    epochs, band = over_epochs(cell.logs, column, kind)
    shade = {"color": look["color"], "alpha": 0.18, "lw": 0}
    panel.fill_between(epochs, factor * band.low, factor * band.high, **shade)
    every = 1 if len(epochs) <= 40 else len(epochs) // 12
    panel.plot(epochs, factor * band.mean, **look, label=label, markevery=every)


def singular_values(log: Log, title: str) -> Figure:
    """Singular values of every layer against epoch, of one run.

    Args:
        log: The run; it must have `spectra`.
        title: Title of the figure.
    """
    names = list(log.spectra)
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure, axes = style.new(rows, columns, (10.0, 1.2 + 2.8 * rows))
    for panel, name in zip(axes.flat, names, strict=False):
        values = table(log.spectra[name])
        shades = np.linspace(0.0, 0.85, values.shape[1])
        for column, shade in zip(values.T, shades, strict=True):
            color = colormaps[style.MAP](shade)
            # A point where the value exists for a single epoch, which makes no line.
            panel.plot(log.epochs, column, color=color, lw=0.9, marker=".", ms=2)
        panel.set_yscale("log")
        style.plain_ticks(panel.yaxis, (1, 3))
        panel.set_title(name)
        style.scale_epochs(panel)
        panel.set_ylabel("singular value")
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    note = (
        "A line for each singular value, the largest dark; a line ends where the value "
        f"is truncated. 1 run, seed {log.seed}."
    )
    return style.finish(figure, title, note)


def table(spectra: list[np.ndarray | None]) -> np.ndarray:
    """Singular values, a row an epoch, nan where there are fewer or none."""
    most = max((len(values) for values in spectra if values is not None), default=0)
    found = np.full((len(spectra), most), np.nan)
    for row, values in zip(found, spectra, strict=True):
        if values is not None:
            # What is zero has no place on a logarithmic axis.
            row[: len(values)] = np.where(values > 0, values, np.nan)
    return found
