"""The look of all figures, and how they are written."""

import io
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from dlrt.history import atomic_file
from evaluation.choices import FORMATS

# Colours of Okabe and Ito that colour-blind readers tell apart, without the yellow that
# is too light for lines; markers and dashes tell the lines apart in grey.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
GREY = "0.45"
MAP = "viridis"

_SETTINGS = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.titlesize": "large",
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "dlrt",
}
matplotlib.rcParams.update(_SETTINGS)

_DPI = 160


def line(number: int) -> dict:
    """Colour, marker and dashes of a line; the first is for the reference."""
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number % len(DASHES)],
    }


def lines(low_rank: Sequence[bool]) -> list[dict]:
    """The looks of several lines, the first of which stays free for a dense network."""
    first = 1 if low_rank and low_rank[0] else 0
    return [line(number) for number in range(first, first + len(low_rank))]


def new(
    rows: int, columns: int, size: tuple[float, float]
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def finish(figure: Figure, title: str, note: str, legend: dict | None = None) -> Figure:
    """Adds what is around the axes.

    Args:
        figure: The figure.
        title: Its title.
        note: What a reader must know, the number of runs above all.
        legend: Handles by label.
    """
    width = figure.get_figwidth()
    title = "\n".join(textwrap.wrap(title, int(12 * width)))
    note = "\n".join(textwrap.wrap(note, int(16.5 * width)))
    figure.supxlabel(note, fontsize=8, color="0.25")
    if not legend:
        figure.suptitle(title)
        return figure
    # As the title of the legend, since one above it would lie on it.
    columns = max(1, int(width / (0.75 + 0.065 * max(map(len, legend)))))
    figure.legend(
        list(legend.values()),
        list(legend),
        loc="outside upper center",
        ncols=min(columns, len(legend)),
        title=title,
        title_fontsize="large",
    )
    return figure


def scale_epochs(axis: Axes) -> None:
    """A horizontal axis of whole epochs."""
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True, min_n_ticks=1))


def scale_sizes(axis: Axes, sizes: np.ndarray, name: str) -> None:
    """A logarithmic horizontal axis with plain numbers, where sizes differ much."""
    axis.set_xlabel(name)
    if len(sizes) == 0 or max(sizes) < 4 * min(sizes):
        axis.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        return
    axis.set_xscale("log")
    long = max(sizes) > 1000
    plain_ticks(axis.xaxis, (1, 3) if long else (1, 2, 5))


def plain_ticks(axis: Axis, steps: tuple[int, ...]) -> None:
    """Ticks of a logarithmic axis as plain numbers: 0.5, 200, 10k, 3M."""
    axis.set_major_locator(ticker.LogLocator(subs=steps))
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: plain(value)))


def plain(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"


def scale_loss(axis: Axes) -> None:
    """A logarithmic vertical axis if the losses differ much."""
    low, high = axis.dataLim.intervaly
    if 0 < low < np.inf and high > 10 * low:
        axis.set_yscale("log")
        plain_ticks(axis.yaxis, (1,) if high > 100 * low else (1, 2, 5))


def encode(figure: Figure, format: str) -> bytes:
    """The content of a figure's file."""
    stream = io.BytesIO()
    figure.savefig(stream, format=format, dpi=_DPI, metadata=FORMATS[format])
    # The layout has been found; to find it again takes as long as drawing.
    figure.set_layout_engine("none")
    return stream.getvalue()


def save(
    figure: Figure, directory: Path, name: str, formats: Iterable[str]
) -> list[Path]:
    """Writes a figure in some formats, and returns the files."""
    paths = [directory / f"{name}.{format}" for format in formats]
    for path in paths:
        atomic_file.check(path)
    for path in paths:
        replace(path, encode(figure, path.suffix[1:]))
    return paths


def replace(path: Path, content: bytes) -> None:
    """Writes a file that appears under its name as a whole, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.replace(path, content)
