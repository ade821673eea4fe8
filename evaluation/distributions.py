"""Rain clouds: how final results are distributed over runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from evaluation import style
from evaluation.series import Cell, count_note
from evaluation.statistics import finals

# Of fewer values that differ, neither a density nor quartiles say anything.
FEWEST = 5
# What they are called, their factor, and between which bounds they can be.
_QUANTITIES = {
    "test_accuracy": ("test accuracy (%)", 100.0, (0.0, 100.0)),
    "test_loss": ("test loss", 1.0, (0.0, np.inf)),
}


def rain_clouds(
    groups: Sequence[tuple[str, Sequence[tuple[str, Cell]]]],
    title: str,
    at: str = "last",
) -> Figure:
    """Clouds (densities), boxes (quartiles) and drops (single runs).

    Args:
        groups: Places on the vertical axis by name, each with the networks drawn there
            by label. Labels that return have one colour.
        title: Title of the figure.
        at: "last" or "best"; which epoch counts.
    """
    labels = list(dict.fromkeys(label for _, cells in groups for label, _ in cells))
    lanes = [(place, label, cell) for place, cells in groups for label, cell in cells]
    height = 1.8 + 0.55 * len(lanes)
    figure, axes = style.new(1, 2, (10.0, min(height, 14.0)))
    for panel, (column, (name, factor, bounds)) in zip(
        axes.flat, _QUANTITIES.items(), strict=True
    ):
        for lane, (_, label, cell) in enumerate(lanes):
            color = style.line(labels.index(label))["color"]
            values = factor * finals(cell, column, at)
            _draw(panel, lane, values[np.isfinite(values)], bounds, color)
        panel.set_xlabel(name)
        panel.set_ylim(len(lanes) - 0.2, -0.8)
        panel.set_yticks(*_ticks(groups))
        panel.grid(axis="y", visible=False)
        _separate(panel, groups)
    axes.flat[1].set_yticklabels([])
    legend = {
        label: Patch(color=style.line(number)["color"], alpha=0.6)
        for number, label in enumerate(labels)
    }
    epoch = "last epoch" if at == "last" else "epoch with the best validation accuracy"
    networks = [(f"{label} at {place}", cell) for place, label, cell in lanes]
    note = (
        f"Of the {epoch}: a drop for each run; from {FEWEST} different values on a "
        "cloud (Gaussian kernel, Silverman's width, reflected where values end) and a "
        "box (quartiles and median). "
        f"{count_note(networks)}."
    )
    return style.finish(figure, title, note, legend if len(labels) > 1 else None)


def density(
    values: np.ndarray,
    places: np.ndarray,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> np.ndarray:
    """A Gaussian kernel estimate with Silverman's width, at some places.

    Args:
        values: The sample.
        places: Where to estimate it, within the bounds.
        bounds: Between which values can be. What the kernels have beyond is reflected.
    """
    width = kernel_width(values)
    mirrored = [2 * bound - values for bound in bounds if np.isfinite(bound)]
    offsets = (places[:, None] - np.concatenate([values, *mirrored])[None]) / width
    kernels = np.exp(-(offsets**2) / 2) / np.sqrt(2 * np.pi)
    return kernels.sum(axis=1) / (len(values) * width)


def kernel_width(values: np.ndarray) -> float:
    """Silverman's rule of thumb."""
    spread = np.std(values, ddof=1)
    low, high = np.percentile(values, [25, 75])
    narrower = min(spread, (high - low) / 1.34) or spread
    return float(0.9 * narrower * len(values) ** -0.2)


def _draw(
    panel: Axes,
    lane: int,
    values: np.ndarray,
    bounds: tuple[float, float],
    color: str,
) -> None:
    # The drops fall to fixed heights, so that a figure is the same every time.
    heights = lane + 0.24 + 0.05 * np.resize([0, 1, -1, 0.5, -0.5], len(values))
    panel.plot(values, heights, "o", color=color, ms=3.5, alpha=0.7, mew=0)
    if len(np.unique(values)) < FEWEST:
        return
    margin = 2.5 * kernel_width(values)
    ends = np.clip([values.min() - margin, values.max() + margin], *bounds)
    places = np.linspace(*ends, 200)
    cloud = density(values, places, bounds)
    panel.fill_between(
        places,
        lane - 0.08 - 0.5 * cloud / cloud.max(),
        lane - 0.08,
        color=color,
        alpha=0.45,
        lw=0,
    )
    low, middle, high = np.percentile(values, [25, 50, 75])
    panel.plot(
        [low, high],
        [lane + 0.04] * 2,
        color=color,
        lw=5,
        alpha=0.6,
        solid_capstyle="butt",
    )
    panel.plot([middle] * 2, [lane - 0.05, lane + 0.13], color="black", lw=1.4)


def _ticks(groups: Sequence[tuple[str, Sequence]]) -> tuple[list[float], list[str]]:
    """One tick in the middle of each group."""
    places, start = [], 0
    for _, cells in groups:
        places.append(start + (len(cells) - 1) / 2)
        start += len(cells)
    return places, [name for name, _ in groups]


def _separate(panel: Axes, groups: Sequence[tuple[str, Sequence]]) -> None:
    ends = np.cumsum([len(cells) for _, cells in groups])[:-1]
    for end in ends:
        panel.axhline(end - 0.61, color="0.85", lw=0.8, zorder=0)
