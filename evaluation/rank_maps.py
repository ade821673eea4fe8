"""Maps of the ranks of many layers over epochs."""

from collections.abc import Mapping
from itertools import groupby

import numpy as np
from matplotlib import colors, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation import style
from evaluation.logs import Log
from evaluation.maps import edges
from evaluation.transformers import Projection

# Inches of a row and around all of them, and rows between the groups.
_ROW = 0.135
_AROUND = 1.9
_GAP = 0.6
_SMALL = 6.5


def differ(sizes: np.ndarray) -> bool:
    """Whether ranks or widths differ, between layers or over epochs."""
    return len(np.unique(sizes[~np.isnan(sizes)])) > 1


def rank_map(log: Log, found: Mapping[str, Projection], title: str) -> Figure:
    """The rank of every low-rank layer at every epoch, from input to output.

    Args:
        log: The run; it must have ranks.
        found: What to call the layers, by the names of their columns.
        title: Title of the figure.
    """
    values = np.array([log.column(column) for column in found])
    places = _places(list(found.values()))
    height = max(3.2, _AROUND + _ROW * (places[-1] + 1))
    figure, axes = style.new(1, 1, (8.0, height))
    panel = axes[0, 0]
    norm = colors.Normalize(np.nanmin(values), np.nanmax(values))
    for rows in _groups(list(found.values())):
        image = panel.pcolormesh(
            edges(log.epochs),
            np.append(places[rows] - 0.5, places[rows[-1]] + 0.5),
            values[rows],
            norm=norm,
            cmap=style.MAP,
            rasterized=True,
        )
    _label(panel, list(found.values()), places, values[:, -1])
    bar = figure.colorbar(
        image,
        ax=panel,
        location="top",
        label="rank",
        aspect=45,
        pad=0.25 / height,
        fraction=0.35 / height,
    )
    bar.locator = ticker.MaxNLocator(8, integer=True)
    note = (
        "Ranks at the end of each epoch, from the input of the network at the top to "
        "its output at the bottom; at the right the ranks of the last epoch. 1 run, "
        f"seed {log.seed}."
    )
    return style.finish(figure, title, note)


def _groups(rows: list[Projection]) -> list[list[int]]:
    """The numbers of the rows of each layer."""
    numbers = groupby(range(len(rows)), lambda number: rows[number].group)
    return [list(members) for _, members in numbers]


def _places(rows: list[Projection]) -> np.ndarray:
    """Where rows are, with a gap wherever another layer begins."""
    gaps = [[_GAP * number] * len(group) for number, group in enumerate(_groups(rows))]
    return np.arange(len(rows)) + np.concatenate(gaps)


def _label(
    panel: Axes, rows: list[Projection], places: np.ndarray, last: np.ndarray
) -> None:
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.set_ylim(places[-1] + 0.5, -0.5)
    panel.set_yticks(places, [row.name for row in rows], fontsize=_SMALL)
    panel.tick_params(axis="y", length=0)
    style.scale_epochs(panel)
    for place, rank in zip(places, last, strict=True):
        text = "–" if np.isnan(rank) else f"{rank:g}"
        _beside(panel, text, 1.0, place, (4, 0), "left", fontsize=_SMALL)
    for group in _groups(rows):
        name, middle = rows[group[0]].group, np.mean(places[group])
        where = {"rotation": 90, "fontsize": 8}
        _beside(panel, name, 0.0, middle, (-98, 0), "center", **where)


def _beside(
    panel: Axes,
    text: str,
    side: float,
    place: float,
    offset: tuple[float, float],
    align: str,
    **look,
) -> None:
    """A text beside the map: at its left (0) or right (1), at the height of a row."""
    panel.annotate(
        text,
        (side, place),
        xycoords=("axes fraction", "data"),
        xytext=offset,
        textcoords="offset points",
        ha=align,
        va="center_baseline" if not look.get("rotation") else "center",
        annotation_clip=False,
        **look,
    )
