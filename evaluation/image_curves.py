"""Networks for images: what they are worth against parameters, and layer by layer."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from evaluation import style
from evaluation.image_runs import (
    COMPRESSED,
    Networks,
    Point,
    lines,
    names,
    points,
)
from evaluation.series import Cell, count_note

# Titles of the panels, with the factor of each quantity.
_PANELS = {
    "test accuracy": ("test accuracy (%)", 100.0),
    "accuracy under attack": ("accuracy under attack (%)", 100.0),
    "flops": ("flops of a prediction (millions)", 1e-6),
    "latency": ("latency of a batch (ms)", 1.0),
}
_LOGARITHMIC = ("flops", "latency")
_SIZES = {1: (7.2, 5.6), 2: (10.0, 5.0)}
_DENSE = "dense"
_BEFORE, _AFTER, _LARGEST = "0.7", style.COLORS[1], style.COLORS[2]
# Inches of a layer's bars, and around all of them.
_ROW = 0.3
_AROUND = 1.7


def against_parameters(cells: Networks, title: str) -> Figure:
    """Accuracy, accuracy under attack, flops and latency against parameters.

    Args:
        cells: Networks of one family, and their runs.
        title: Title of the figure.
    """
    found = points(cells)
    shown = [name for name in _PANELS if _known(found, name)]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = style.new(rows, columns, _SIZES.get(len(shown), (10.0, 8.4)))
    looks = _looks(found)
    for name, panel in zip(shown, axes.flat, strict=False):
        title_of_panel, factor = _PANELS[name]
        panel.set_title(title_of_panel)
        for method, look in looks.items():
            _draw_method(panel, _of_method(found, method), name, factor, look)
        if name in _LOGARITHMIC:
            style.scale_loss(panel)
        sizes = np.array([point.mean("parameters") for point in found])
        sizes = sizes[~np.isnan(sizes)]
        style.scale_sizes(panel, sizes, "parameters for prediction")
        panel.xaxis.set_major_formatter(lambda size, _: style.plain(size))
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    legend = {
        method: Line2D([], [], ms=6, **look | {"linestyle": ""})
        for method, look in looks.items()
    }
    grey = {"color": style.GREY, "marker": "o", "ms": 6}
    if any(point.stage == COMPRESSED for point in found):
        legend["compressed"] = Line2D([], [], ls=":", mfc="none", **grey)
        legend["fine-tuned, or trained"] = Line2D([], [], ls="-", **grey)
    note = (
        "Values of the epoch with the best validation accuracy at the final sizes. "
        f"Marks are means over runs, dots are runs. {count_note(_named(cells))}."
    )
    return style.finish(figure, title, note, legend)


def is_drawn(cells: Networks) -> bool:
    """Whether there are two networks that can be compared."""
    places = [
        (point.mean("parameters"), point.mean("test accuracy"))
        for point in points(cells)
    ]
    return len({place for place in places if not np.isnan(place).any()}) > 1


def _known(found: Sequence[Point], name: str) -> bool:
    return any(not np.isnan(point.mean(name)) for point in found)


def _looks(found: Sequence[Point]) -> dict[str, dict]:
    """Colours and markers of methods, black for dense networks."""
    called = lines([point.key for point in found])
    dense = {n for n, p in zip(called, found, strict=True) if p.key.kind == _DENSE}
    looks: dict[str, dict] = {}
    for method in called:
        number = sum((other in dense) == (method in dense) for other in looks)
        look = style.line(number + (method not in dense))
        if method in dense:
            look["color"] = style.line(0)["color"]
        looks.setdefault(method, look)
    return looks


def _of_method(found: Sequence[Point], method: str) -> list[Point]:
    methods = zip(found, lines([point.key for point in found]), strict=True)
    return [point for point, name in methods if name == method]


def _draw_method(
    panel: Axes, found: Sequence[Point], name: str, factor: float, look: dict
) -> None:
    """The networks of a method, those that were not trained on apart from others."""
    for stage in (True, False):
        group = [point for point in found if (point.stage == COMPRESSED) == stage]
        for point in group:
            x, y = point.samples["parameters"], factor * point.samples[name]
            panel.plot(x, y, ".", color=look["color"], alpha=0.5)
        means = [(p.mean("parameters"), factor * p.mean(name)) for p in group]
        known = sorted(mean for mean in means if not np.isnan(mean).any())
        if not known:
            continue
        joined = "" if group[0].key.kind == _DENSE else "-"
        line = {"linestyle": ":", "mfc": "none"} if stage else {"linestyle": joined}
        panel.plot(*zip(*known, strict=True), **look | line, ms=6)


def _named(cells: Networks) -> list[tuple[str, Cell]]:
    return list(zip(names(list(cells)), cells.values(), strict=True))


def layer_bars(cell: Cell, title: str) -> Figure:
    """Parameters and errors of the layers of a compressed network.

    Args:
        cell: Its runs, which must have sheets of layers.
        title: Title of the figure.
    """
    logs = [log for log in cell.logs if log.layers]
    layers = [row["name"] for row in logs[0].layers]
    tables = [{row["name"]: row for row in log.layers} for log in logs]
    tables = [table for table in tables if list(table) == layers]

    def values(column: str) -> np.ndarray:
        return np.array([[table[n][column] for n in layers] for table in tables], float)

    figure, axes = style.new(1, 2, (10.0, max(3.2, _AROUND + _ROW * len(layers))))
    places = np.arange(len(layers))
    sizes, errors = axes.flat
    before, after = values("parameters_before"), values("parameters")
    _bars(sizes, places - 0.19, before, 0.36, _BEFORE)
    _bars(sizes, places + 0.19, after, 0.36, _AFTER)
    sizes.set_xscale("log")
    style.plain_ticks(sizes.xaxis, (1,))
    sizes.set_title("parameters of the kernel")
    shares = 100 * values("error")
    largest = int(shares.mean(axis=0).argmax())
    colors = [_LARGEST if place == largest else _AFTER for place in places]
    _bars(errors, places, shares, 0.6, colors)
    errors.set_title("relative error of the kernel (%)")
    errors.set_xlim(left=0)
    for panel in (sizes, errors):
        panel.set_ylim(len(layers) - 0.4, -0.6)
        panel.set_yticks(places, layers, fontsize=8)
        panel.grid(visible=False, axis="y")
    errors.set_yticks(places, [_form(tables[0][name]) for name in layers], fontsize=8)
    legend = {
        "before": Patch(color=_BEFORE),
        "after": Patch(color=_AFTER),
        "largest error": Patch(color=_LARGEST),
    }
    note = (
        f"Kernels have {before.sum(axis=1).mean():,.0f} parameters before, "
        f"{after.sum(axis=1).mean():,.0f} after. The error is that of the Frobenius "
        f"norm, the largest {shares.mean(axis=0)[largest]:.3g} % at {layers[largest]}. "
        f"Bars are means over runs, dots are runs. {count_note([(title, cell)])}."
    )
    return style.finish(figure, title, note, legend)


def _bars(
    panel: Axes,
    places: np.ndarray,
    samples: np.ndarray,
    height: float,
    color: str | list[str],
) -> None:
    panel.barh(places, samples.mean(axis=0), height, color=color)
    if len(samples) > 1:
        for sample in samples:
            panel.plot(sample, places, ".", color="black", ms=3)


def _form(layer) -> str:
    """What has become of a layer, in two words."""
    structure, ranks = layer.get("structure"), layer.get("ranks")
    if not ranks:
        return str(structure or "")
    return f"{structure}, rank {str(ranks).replace('x', '×')}"
