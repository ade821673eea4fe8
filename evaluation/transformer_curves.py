"""Loss, accuracy and BLEU of transformers against epoch, time and parameters."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dlrt_names.log_schema import BLEU, PARAMETERS
from evaluation import style
from evaluation.series import Cell, count_note
from evaluation.statistics import BANDS, over_epochs
from evaluation.transformer_runs import names, times, value
from evaluation.transformers import Network

Networks = Mapping[Network, Cell]

# Dense networks are black and grey, fixed ranks have cold colours, adaptive warm ones.
_COLORS = {
    "dense": ("#000000", "0.45", "0.7"),
    "fixed": ("#0072B2", "#56B4E9", "#009E73"),
    "adaptive": ("#D55E00", "#E69F00", "#CC79A7"),
}
_DASHES = {"": "--", "val_": "-", "test_": "-"}
_PANELS = {
    "loss": (1.0, ("loss", "val_loss")),
    "accuracy (%)": (100.0, ("accuracy", "val_accuracy")),
    "test BLEU": (1.0, (BLEU,)),
}
_UNITS = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
_AT = {
    "last": "Values of the last epoch that has them.",
    "best": "Values of the epoch with the smallest validation loss.",
}
# Markers of a line.
_MARKERS = 10


def against_epoch(cells: Networks, title: str, kind: str = "range") -> Figure:
    """The course of training over epochs.

    Args:
        cells: Networks and their runs.
        title: Title of the figure.
        kind: Key of `BANDS`.
    """
    places = {key: over_epochs(cell.logs, "loss")[0] for key, cell in cells.items()}
    figure, panels = _course(cells, places, kind)
    for panel in panels:
        style.scale_epochs(panel)
    note = f"{_bands(kind)} {count_note(_named(cells))}."
    return style.finish(figure, title, note, _course_legend(cells))


def against_time(cells: Networks, title: str, kind: str = "range") -> Figure:
    """The course of training over time.

    Args:
        cells: Networks and their runs.
        title: Title of the figure.
        kind: Key of `BANDS`.
    """
    seconds = {key: times(cell.logs) for key, cell in cells.items()}
    longest = max(np.nanmax(values, initial=0.0) for values in seconds.values())
    unit = next(
        (name for name, size in _UNITS.items() if longest > 2 * size), "seconds"
    )
    places = {key: values / _UNITS[unit] for key, values in seconds.items()}
    figure, panels = _course(cells, places, kind)
    for panel in panels:
        panel.set_xlabel(f"time ({unit})")
        panel.set_xlim(0, 1.04 * longest / _UNITS[unit] or 1)
    note = (
        "Time is that of all epochs until then, with validation, as a mean over runs. "
        f"{_bands(kind)} {count_note(_named(cells))}."
    )
    return style.finish(figure, title, note, _course_legend(cells))


def against_parameters(cells: Networks, title: str, at: str = "last") -> Figure:
    """Accuracy and BLEU against the number of parameters for prediction.

    Args:
        cells: Networks and their runs.
        title: Title of the figure.
        at: "last" or "best"; which epoch counts.
    """
    figure, axes = style.new(1, 2, (10.0, 4.6))
    sizes = {key: _values(cell, PARAMETERS, at) for key, cell in cells.items()}
    every = np.concatenate(list(sizes.values()))
    for panel, column in zip(axes.flat, ("val_accuracy", BLEU), strict=True):
        factor = 100.0 if column == "val_accuracy" else 1.0
        heights = {k: factor * _values(cell, column, at) for k, cell in cells.items()}
        _join(panel, sizes, heights)
        for key, look in looks(cells).items():
            small = {"ls": "", "marker": ".", "color": look["color"], "alpha": 0.5}
            panel.plot(sizes[key], heights[key], **small)
            mean = _mean_point(sizes[key], heights[key])
            panel.plot(*mean, ls="", ms=8, **look)
        _say_if_empty(panel, np.concatenate(list(heights.values())))
        style.scale_sizes(panel, every[~np.isnan(every)], "parameters for prediction")
        panel.xaxis.set_major_formatter(lambda size, _: style.plain(size))
    axes[0, 0].set_title("validation accuracy (%)")
    axes[0, 1].set_title("test BLEU")
    note = (
        f"{_AT[at]} Large marks are means over runs, dots are runs, lines join the "
        f"networks of a method. {count_note(_named(cells))}."
    )
    legend = {
        name: Line2D([], [], ls="", ms=8, **look)
        for name, look in zip(names(list(cells)), looks(cells).values(), strict=True)
    }
    return style.finish(figure, title, note, legend)


def looks(keys: Sequence[Network] | Networks) -> dict[Network, dict]:
    """Colours and markers of networks."""
    found: dict[Network, dict] = {}
    counts = dict.fromkeys(_COLORS, 0)
    for number, key in enumerate(keys):
        method = key.method
        colors = _COLORS[method]
        found[key] = {
            "color": colors[counts[method] % len(colors)],
            "marker": style.MARKERS[number % len(style.MARKERS)],
        }
        counts[method] += 1
    return found


def _course(
    cells: Networks, places: Mapping[Network, np.ndarray], kind: str
) -> tuple[Figure, list[Axes]]:
    """A panel for each quantity, with the epochs of each network at some places."""
    figure, axes = style.new(1, len(_PANELS), (10.0, 4.0))
    for panel, (title, (factor, columns)) in zip(
        axes.flat, _PANELS.items(), strict=True
    ):
        drawn = []
        for key, look in looks(cells).items():
            for column in columns:
                band = over_epochs(cells[key].logs, column, kind)[1]
                there = ~np.isnan(band.mean) & ~np.isnan(places[key])
                x = places[key][there]
                low, high = factor * band.low[there], factor * band.high[there]
                shade = {"color": look["color"], "alpha": 0.15, "lw": 0}
                panel.fill_between(x, low, high, **shade)
                mean = factor * band.mean[there]
                panel.plot(x, mean, **_line(column, look, len(x)))
                drawn.append(mean)
        panel.set_title(title)
        _say_if_empty(panel, np.concatenate(drawn))
        if title == "loss":
            style.scale_loss(panel)
    return figure, list(axes.flat)


def _line(column: str, look: dict, points: int) -> dict:
    """How a course is drawn: in training without markers, which would be too many."""
    prefix = column[: column.find("_") + 1]
    line = {"ls": _DASHES[prefix], "markevery": -(-points // _MARKERS) or 1, **look}
    if prefix:
        return line
    # A single point makes no line.
    return line | ({"mfc": "none"} if points == 1 else {"marker": ""})


def _course_legend(cells: Networks) -> dict[str, Line2D]:
    lines = {
        name: Line2D([], [], **look)
        for name, look in zip(names(list(cells)), looks(cells).values(), strict=True)
    }
    lines["validation, test"] = Line2D([], [], color=style.GREY, ls=_DASHES["val_"])
    lines["training"] = Line2D([], [], color=style.GREY, ls=_DASHES[""])
    return lines


def _named(cells: Networks) -> list[tuple[str, Cell]]:
    return list(zip(names(list(cells)), cells.values(), strict=True))


def _bands(kind: str) -> str:
    return f"Lines are means over runs, shades their {BANDS[kind]}."


def _values(cell: Cell, column: str, at: str) -> np.ndarray:
    return np.array([value(log, column, at) for log in cell.logs])


def _join(
    panel: Axes,
    sizes: Mapping[Network, np.ndarray],
    heights: Mapping[Network, np.ndarray],
) -> None:
    """Thin lines between the means of networks of a method."""
    for method, colors in _COLORS.items():
        points = [
            _mean_point(sizes[key], heights[key])
            for key in sizes
            if key.method == method
        ]
        known = sorted(point for point in points if not np.isnan(point).any())
        if len(known) > 1 and method != "dense":
            panel.plot(*zip(*known, strict=True), color=colors[0], lw=0.8, alpha=0.5)


def _mean_point(sizes: np.ndarray, heights: np.ndarray) -> tuple[float, float]:
    known = ~np.isnan(sizes) & ~np.isnan(heights)
    if not known.any():
        return np.nan, np.nan
    return float(sizes[known].mean()), float(heights[known].mean())


def _say_if_empty(panel: Axes, values: np.ndarray) -> None:
    if np.isnan(values).all():
        panel.text(0.5, 0.5, "not in the logs", ha="center", transform=panel.transAxes)
        panel.set_axis_off()
