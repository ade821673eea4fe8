"""The look of the explanatory graphics, made for print: one column of a thesis wide."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

# The colours of Okabe and Ito, which colour-blind readers tell apart.
BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "0.4"
# Diverging, and without the pair of red and green.
MAP = "PuOr"

WIDTH = 6.3
NORMAL, SMALL = 10, 8.5
FORMATS = ("png", "pdf")

_SETTINGS = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 0.8,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}
# The same drawing is the same file.
_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The settings that a graphic is drawn and written with."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def save(draw: Callable[[], Figure], stem: Path) -> list[Path]:
    """Draws a graphic and writes it as PNG and PDF.

    Args:
        draw: Returns the figure.
        stem: Name of the files, without their endings.
    """
    # It comes with Keras, which takes seconds to start; mistyped options don't wait.
    from dlrt.history import atomic_file

    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in FORMATS]
    for path in paths:
        atomic_file.check(path)
    with style():
        figure = draw()
        FigureCanvasAgg(figure)
        stem.parent.mkdir(parents=True, exist_ok=True)
        for path, ending in zip(paths, FORMATS, strict=True):
            with atomic_file.replacing(path) as temporary:
                figure.savefig(temporary, metadata=_METADATA[ending])
    return paths


def bare(axes: Axes) -> None:
    """Takes frame, ticks and distortion from axes that hold a drawing."""
    axes.set_axis_off()
    axes.set_aspect("equal")


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], **changes: object
) -> None:
    """Draws an arrow from one point to another."""
    settings = {
        "arrowstyle": "-|>",
        "mutation_scale": 10,
        "linewidth": 1.6,
        "shrinkA": 0,
        "shrinkB": 0,
        "color": BLACK,
        "zorder": 5,
    }
    axes.add_patch(FancyArrowPatch(start, end, **(settings | changes)))


def thousands(number: int) -> str:
    """A whole number with thin spaces, as mathematical text."""
    return f"{number:,}".replace(",", r"\,")
