"""A graphic: the singular value decomposition of a trained weight matrix, truncated."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from evaluation.graphics.style import BLUE, GREY, MAP, SMALL, VERMILION, WIDTH


@dataclass(frozen=True)
class Truncation:
    """A matrix and its best approximation of the rank that a tolerance asks for.

    Args:
        matrix: `W: (n, m)`.
        u: `(n, k)`, left singular vectors, `k = min(n, m)`.
        s: `(k,)`, singular values in descending order.
        vh: `(k, m)`, right singular vectors.
        tolerance: The relative tolerance `τ`.
    """

    matrix: np.ndarray
    u: np.ndarray
    s: np.ndarray
    vh: np.ndarray
    tolerance: float

    @property
    def tails(self) -> np.ndarray:
        """Relative error at each rank `0, ..., k`: `(Σ_{j>r} σ_j²)^½ / ‖W‖_F`."""
        squares = np.append(np.cumsum(self.s[::-1] ** 2)[::-1], 0.0)
        return np.sqrt(squares / squares[0])

    @property
    def rank(self) -> int:
        """The smallest rank, at least 1, whose relative error is within tolerance."""
        return max(1, int(np.argmax(self.tails <= self.tolerance)))

    @property
    def product(self) -> np.ndarray:
        """`W_r = U_r Σ_r V_rᵀ`."""
        r = self.rank
        return (self.u[:, :r] * self.s[:r]) @ self.vh[:r]


def truncate(matrix: np.ndarray, tolerance: float) -> Truncation:
    """Decomposes a matrix.

    Raises:
        ValueError: If it is none, or the tolerance is out of bounds.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all() or not matrix.any():
        raise ValueError(
            "`matrix` must be a matrix of finite numbers, not all of them zero. "
            f"Received: an array of shape {matrix.shape}"
        )
    if not 0 < tolerance < 1:
        raise ValueError(f"`tolerance` must lie in (0, 1). Received: {tolerance}")
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    return Truncation(matrix, u, s, vh, tolerance)


def draw(truncation: Truncation) -> Figure:
    """Draws the factors, the singular values and the truncated product."""
    figure = Figure(figsize=(WIDTH, 5.7))
    factors, results = figure.add_gridspec(
        2,
        1,
        height_ratios=(1.14, 1),
        left=0.02,
        right=0.98,
        top=0.95,
        bottom=0.085,
        hspace=0.22,
    )
    _draw_factors(figure, factors, truncation)
    _draw_results(figure, results, truncation)
    return figure


def _draw_factors(figure: Figure, place: object, truncation: Truncation) -> None:
    n, m = truncation.matrix.shape
    k, r = len(truncation.s), truncation.rank
    gap = 0.16 * m
    grid = place.subgridspec(
        1, 7, width_ratios=(m, gap, k, gap * 0.6, k, gap * 0.6, m), wspace=0
    )
    panels = (
        (0, truncation.matrix, rf"$W$  (${n}\times{m}$)"),
        (2, truncation.u, rf"$U$  (${n}\times{k}$)"),
        (4, np.diag(truncation.s), rf"$\Sigma$  (${k}\times{k}$)"),
        (6, truncation.vh, rf"$V^T$  (${k}\times{m}$)"),
    )
    for column, array, title in panels:
        axes = figure.add_subplot(grid[column])
        _heat_map(axes, array, np.abs(array).max())
        axes.set_title(title)
        axes.set_anchor("N")
        if column == 0:
            axes.annotate(
                "$=$",
                (1, 0.5),
                xytext=(8, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=14,
            )
        if column == 2:
            axes.axvline(r - 0.5, color=VERMILION, linewidth=1.2)
        if column == 4:
            edges = [-0.5, r - 0.5, r - 0.5], [r - 0.5, r - 0.5, -0.5]
            axes.plot(*edges, color=VERMILION, linewidth=1.2)
        if column == 6:
            axes.axhline(r - 0.5, color=VERMILION, linewidth=1.2)


def _draw_results(figure: Figure, place: object, truncation: Truncation) -> None:
    r = truncation.rank
    grid = place.subgridspec(
        1, 9, width_ratios=(10, 82, 10, 47, 5, 47, 3, 3, 13), wspace=0
    )
    _draw_values(figure.add_subplot(grid[1]), truncation)
    limit = np.abs(truncation.matrix).max()
    panels = (
        (3, truncation.matrix, "$W$"),
        (5, truncation.product, rf"$W_r=U_r\Sigma_rV_r^T$, $r={r}$"),
    )
    for column, array, title in panels:
        axes = figure.add_subplot(grid[column])
        image = _heat_map(axes, array, limit)
        axes.set_title(title)
    error = truncation.tails[r]
    text = rf"$\|W-W_r\|_F={error:.3f}\,\|W\|_F$"
    axes.set_xlabel(text, fontsize=SMALL)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[7]))
    bar.outline.set_visible(False)


def _draw_values(axes: Axes, truncation: Truncation) -> None:
    s, r = truncation.s, truncation.rank
    numbers = np.arange(1, len(s) + 1)
    axes.plot(numbers[:r], s[:r], "o", color=BLUE, markersize=4, label=r"kept")
    axes.plot(
        numbers[r:],
        s[r:],
        "o",
        color=GREY,
        markersize=4,
        markerfacecolor="white",
        label="truncated",
    )
    axes.axvline(r + 0.5, color=VERMILION, linewidth=1.2)
    axes.set_xlabel("$j$", labelpad=1)
    axes.set_title(r"Singular values $\sigma_j$")
    axes.set_xlim(0, len(s) + 1)
    axes.set_ylim(0, 1.06 * s[0])
    text = (
        rf"$\left(\sum_{{j>r}}\sigma_j^2\right)^{{1/2}}\leq\tau\,\|W\|_F$"
        f"\n$\\tau={truncation.tolerance:g}$:  $r={r}$ of {len(s)}"
    )
    axes.text(0.97, 0.97, text, transform=axes.transAxes, ha="right", va="top")
    axes.legend(loc="center right", handletextpad=0.2)


def _heat_map(axes: Axes, array: np.ndarray, limit: float) -> AxesImage:
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(GREY)
        spine.set_linewidth(0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(
        array, cmap=MAP, vmin=-limit, vmax=limit, interpolation="nearest"
    )
