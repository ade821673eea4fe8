"""A graphic: a network and its low-rank form."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluation.graphics.style import (
    BLUE,
    GREEN,
    GREY,
    NORMAL,
    ORANGE,
    SMALL,
    WIDTH,
    bare,
    thousands,
)


@dataclass(frozen=True)
class Layer:
    """The sizes of a layer.

    Args:
        inputs: Number of inputs, `n`.
        outputs: Number of outputs, `m`.
        rank: Rank of its low-rank form, `r`.

    Raises:
        ValueError: If there is no such layer.
    """

    inputs: int
    outputs: int
    rank: int

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= min(self.inputs, self.outputs):
            raise ValueError(
                "the rank of a layer must lie between 1 and its numbers of inputs and "
                f"outputs. Received: rank {self.rank}, {self.inputs} inputs, "
                f"{self.outputs} outputs"
            )

    @property
    def dense(self) -> int:
        """Number of entries of `W`, `n m`."""
        return self.inputs * self.outputs

    @property
    def prediction(self) -> int:
        """Number of entries of the factors `K = U S` and `V`, `r (n + m)`."""
        return self.rank * (self.inputs + self.outputs)

    @property
    def training(self) -> int:
        """Number of entries of `U`, `S` and `V`, `r (n + m + r)`."""
        return self.rank * (self.inputs + self.outputs + self.rank)


def draw(layer: Layer) -> Figure:
    """Draws a network, its low-rank form, and what becomes of one weight matrix."""
    figure = Figure(figsize=(WIDTH, 6.4))
    grid = figure.add_gridspec(
        3,
        1,
        height_ratios=(1, 1, 1.12),
        left=0.01,
        right=0.99,
        top=0.96,
        bottom=0.01,
        hspace=0.1,
    )
    dense, low_rank, matrices = (figure.add_subplot(place) for place in grid)
    for axes in (dense, low_rank, matrices):
        bare(axes)
    _draw_dense_network(dense)
    _draw_low_rank_network(low_rank)
    _draw_matrices(matrices, layer)
    return figure


def _draw_dense_network(axes: Axes) -> None:
    columns = _columns()
    for number, (left, right) in enumerate(pairwise(columns), start=1):
        _connect(axes, left, right, GREY if number == len(columns) - 1 else BLUE)
        _name(axes, left, right, f"$W_{number}$", BLUE if number < 3 else GREY)
    _draw_layers(axes, columns)
    axes.set_title("Dense network")


def _draw_low_rank_network(axes: Axes) -> None:
    columns = _columns()
    for number, (left, right) in enumerate(pairwise(columns), start=1):
        if number == len(columns) - 1:
            _connect(axes, left, right, GREY)
            _name(axes, left, right, f"$W_{number}$", GREY)
            continue
        start, end = left[0][0], right[0][0]
        narrow = [_column(start + share * (end - start), 2) for share in (0.38, 0.62)]
        parts = pairwise([left, *narrow, right])
        factors = ((f"$U_{number}$", BLUE), (f"$S_{number}$", ORANGE))
        factors += ((f"$V_{number}^T$", GREEN),)
        for (a, b), (name, color) in zip(parts, factors, strict=True):
            _connect(axes, a, b, color)
            _name(axes, a, b, name, color)
        for nodes in narrow:
            _draw_column(axes, nodes, "$r$")
    _draw_layers(axes, columns)
    axes.set_title("Its low-rank form; the small output layer stays dense")


def _columns() -> list[list[tuple[float, float]]]:
    """The nodes of input, two hidden layers and output."""
    sizes = ((0.0, 7), (5.0, 6), (10.0, 6), (13.5, 3))
    return [_column(x, count) for x, count in sizes]


def _draw_layers(axes: Axes, columns: Sequence[Sequence[tuple[float, float]]]) -> None:
    captions = ("input $x$", "hidden layer", "hidden layer", "output")
    for nodes, caption in zip(columns, captions, strict=True):
        _draw_column(axes, nodes, caption)
    axes.set_xlim(-1.5, 15)
    axes.set_ylim(-2.35, 2.3)


def _name(
    axes: Axes,
    left: Sequence[tuple[float, float]],
    right: Sequence[tuple[float, float]],
    name: str,
    color: str,
) -> None:
    center = (left[0][0] + right[0][0]) / 2
    axes.text(center, 1.75, name, ha="center", va="bottom", color=color)


def _draw_matrices(axes: Axes, layer: Layer) -> None:
    narrow, top = 0.42, 1.1 - 0.42 / 2
    _draw_matrix(axes, (-2.9, 0), (2.2, 2.2), "$W$", BLUE)
    axes.text(-1.1, 0, r"$\approx$", ha="center", va="center", fontsize=14)
    _draw_matrix(axes, (0, 0), (narrow, 2.2), "$U$", BLUE)
    _draw_matrix(axes, (0.85, top), (narrow, narrow), "$S$", ORANGE)
    _draw_matrix(axes, (2.6, top), (2.2, narrow), "$V^T$", GREEN)
    for x, name in ((-2.9, "$m$"), (0, "$r$"), (0.85, "$r$"), (2.6, "$m$")):
        axes.text(x, 1.18, name, ha="center", va="bottom")
    for x, y, name in ((-4.12, 0, "$n$"), (-0.32, 0, "$n$"), (3.95, top, "$r$")):
        axes.text(x, y, name, ha="right", va="center")
    dense = f"$nm={layer.inputs}\\cdot{layer.outputs}={thousands(layer.dense)}$"
    count = f"{layer.rank}\\cdot{thousands(layer.inputs + layer.outputs)}"
    factors = f"$r(n+m)={count}={thousands(layer.prediction)}$"
    more = thousands(layer.training - layer.prediction)
    for x, text, note in (
        (-2.9, dense, "parameters"),
        (
            1.75,
            factors,
            f"parameters as $K=US$ and $V$; $r^2={more}$ more while $S$ is trained",
        ),
    ):
        axes.text(x, -1.35, text, ha="center", va="top")
        axes.text(x, -1.8, note, ha="center", va="top", fontsize=SMALL)
    axes.set_xlim(-4.8, 4.8)
    axes.set_ylim(-2.15, 1.5)


def _draw_matrix(
    axes: Axes,
    center: tuple[float, float],
    size: tuple[float, float],
    name: str,
    color: str,
) -> None:
    corner = tuple(c - s / 2 for c, s in zip(center, size, strict=True))
    axes.add_patch(
        Rectangle(corner, *size, facecolor=color, alpha=0.25, edgecolor="none")
    )
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=1.2))
    axes.text(*center, name, ha="center", va="center", fontsize=NORMAL)


def _column(x: float, count: int) -> list[tuple[float, float]]:
    spacing = 0.5
    return [(x, spacing * (i - (count - 1) / 2)) for i in range(count)]


def _connect(
    axes: Axes,
    left: Sequence[tuple[float, float]],
    right: Sequence[tuple[float, float]],
    color: str,
) -> None:
    for start in left:
        for end in right:
            ends = zip(start, end, strict=True)
            axes.plot(*ends, color=color, linewidth=0.5, alpha=0.6, zorder=1)


def _draw_column(
    axes: Axes, nodes: Sequence[tuple[float, float]], caption: str
) -> None:
    axes.plot(
        *zip(*nodes, strict=True),
        linestyle="none",
        marker="o",
        markersize=7,
        markerfacecolor="white",
        markeredgecolor=GREY,
        zorder=2,
    )
    lowest = nodes[0][1] - 0.3
    axes.text(nodes[0][0], lowest, caption, ha="center", va="top", fontsize=SMALL)
