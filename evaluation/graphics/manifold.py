"""A graphic: one step of dynamical low-rank approximation on the manifold.

The surface stands for the manifold of matrices of one rank, a saddle because the
matrices `K V0ᵀ` with one row space and the matrices `U0 Lᵀ` with one column space are
linear spaces within it, as the two families of straight lines are within the saddle.
Both spaces hold the matrices `U0 S V0ᵀ`, so that to first order the result of a step is
K-step + L-step - S-step. The drawing keeps that: with the K-step along the first axis,
the L-step along the second and the S-step along `_S_STEP`, the S-step begins at
`K + L - 2 S` and ends at `K + L - S`.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike

from evaluation.graphics.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    VERMILION,
    WIDTH,
    arrow,
    bare,
)

# Parameters of the surface, and of the points on it.
_CURVATURE = -0.5
_CENTER, _RADIUS = 0.52, 1.12
_SPACING = 0.21
_K_STEP = np.array([1.15, 0.0])
_L_STEP = np.array([0.0, 1.15])
_S_STEP = np.array([0.26, 0.26])
# How far the exact solution gets away from the manifold.
_HEIGHT = 0.3
# Where the three axes point to on the page.
_AXES = np.array([[1.0, -0.3], [0.42, 0.7], [0.0, 0.9]])
_DARK, _BRIGHT = (0.62, 0.74, 0.84), (0.9, 0.95, 0.98)
_LIGHT = np.array([-0.5, 0.35, 0.8]) / np.linalg.norm([-0.5, 0.35, 0.8])


def start_of_s_step() -> np.ndarray:
    """Parameters of `U1 S̃ V1ᵀ`, the starting matrix projected onto the new bases."""
    return _K_STEP + _L_STEP - 2 * _S_STEP


def end_of_step() -> np.ndarray:
    """Parameters of `W1 = U1 S1 V1ᵀ`."""
    return start_of_s_step() + _S_STEP


def surface(parameters: np.ndarray) -> np.ndarray:
    """Points of the saddle, `(..., 3)`, for parameters `(..., 2)`."""
    x, y = parameters[..., 0], parameters[..., 1]
    return np.stack([x, y, _CURVATURE * x * y], axis=-1)


def exact_flow(times: np.ndarray) -> np.ndarray:
    """The exact solution at times in `[0, 1]`; it leaves the manifold."""
    bend = 0.12 * times * (1 - times)
    parameters = np.outer(times, end_of_step()) + np.outer(bend, [1.0, -1.0])
    height = _HEIGHT * times * (0.4 + 0.6 * times)
    return surface(parameters) + np.outer(height, [0.0, 0.0, 1.0])


def project(points: np.ndarray) -> np.ndarray:
    """Points of the page, `(..., 2)`, for points in space, `(..., 3)`."""
    return points @ _AXES


def draw() -> Figure:
    """Draws the surface, the three steps and the exact solution."""
    figure = Figure(figsize=(WIDTH, 4.7))
    axes = figure.add_axes((0.0, 0.2, 1.0, 0.8))
    bare(axes)
    _draw_surface(axes)
    _draw_tangent_space(axes)
    _draw_turns(axes)
    _draw_s_step(axes)
    _draw_exact_flow(axes)
    _label(axes, (0, 0), "$W_0=U_0S_0V_0^T$", (8, 18), "right", "bottom")
    _draw_point(axes, (0, 0), BLACK)
    axes.set_xlim(-0.95, 2.6)
    axes.set_ylim(-0.75, 1.3)
    _write_steps(figure)
    return figure


def _draw_surface(axes: Axes) -> None:
    radii, angles = np.linspace(0, _RADIUS, 25), np.linspace(0, 2 * np.pi, 97)
    x = _CENTER + np.outer(radii, np.cos(angles))
    y = _CENTER + np.outer(radii, np.sin(angles))
    points = surface(np.stack([x, y], axis=-1))
    corners = project(points)
    cells = np.stack(
        [corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2
    )
    normals = np.stack([-_CURVATURE * y, -_CURVATURE * x, np.ones_like(x)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    bright = np.clip(normals @ _LIGHT, 0, 1)[:-1, :-1, None]
    colors = (1 - bright) * np.array(_DARK) + bright * np.array(_BRIGHT)
    axes.add_collection(
        PolyCollection(
            cells.reshape(-1, 4, 2),
            facecolors=colors.reshape(-1, 3),
            edgecolors="face",
            linewidths=0.4,
            zorder=1,
        )
    )
    axes.plot(*corners[-1].T, color=GREY, linewidth=0.6, zorder=2)
    for value in _SPACING * np.arange(-2, 8):
        low, high = _chord(value)
        for ends in ([(value, low), (value, high)], [(low, value), (high, value)]):
            line = _on_page(ends)
            axes.plot(*line.T, color="white", linewidth=0.6, alpha=0.8, zorder=2)
    edge = np.full(2, _CENTER) + _RADIUS * np.array([-0.707, 0.707])
    _label(
        axes, edge, "matrices of rank $r$: $\\mathcal{M}_r$", (0, 5), "right", "bottom"
    )


def _chord(value: float) -> tuple[float, float]:
    """Where a line of the surface begins and ends."""
    half = np.sqrt(_RADIUS**2 - (value - _CENTER) ** 2)
    return _CENTER - half, _CENTER + half


def _draw_tangent_space(axes: Axes) -> None:
    low, high = -0.33, 0.6
    square = [(low, low), (high, low), (high, high), (low, high)]
    corners = project(np.array([(x, y, 0.0) for x, y in square]))
    axes.add_patch(
        Polygon(
            corners, facecolor=PURPLE, alpha=0.22, edgecolor=PURPLE, lw=0.8, zorder=3
        )
    )
    axes.annotate(
        r"tangent space $\mathcal{T}_{W_0}\mathcal{M}_r$",
        corners[1],
        xytext=(2, -8),
        textcoords="offset points",
        ha="center",
        va="top",
    )


def _draw_turns(axes: Axes) -> None:
    """The K-step and the L-step, on straight lines of the surface."""
    for step, color, name, offset, align in (
        (_K_STEP, BLUE, "$K_1V_0^T$", (4, 5), ("left", "bottom")),
        (_L_STEP, GREEN, "$U_0L_1^T$", (-8, 2), ("right", "center")),
    ):
        direction = step / np.linalg.norm(step)
        line = _on_page([end * direction for end in _chord(0.0)])
        axes.plot(*line.T, color=color, linewidth=0.8, zorder=4)
        arrow(axes, *map(tuple, _on_page([(0, 0), step])), color=color)
        _draw_point(axes, step, color)
        _label(axes, step, name, offset, *align, color=color)
    _label(axes, _K_STEP / 2, "K-step", (-2, -5), "right", "top", color=BLUE)
    _label(axes, _L_STEP / 2, "L-step", (-6, 4), "right", "center", color=GREEN)


def _draw_s_step(axes: Axes) -> None:
    start, end = start_of_s_step(), end_of_step()
    page = _on_page([(0, 0), start, end])
    axes.plot(*page[:2].T, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=4)
    arrow(axes, tuple(page[1]), tuple(page[2]), color=VERMILION)
    _draw_point(axes, start, VERMILION, hollow=True)
    _draw_point(axes, end, VERMILION)
    _label(axes, start, r"$U_1\tilde{S}V_1^T$", (-6, -5), "center", "top")
    middle = (start + end) / 2
    _label(axes, middle, "S-step", (6, -8), "center", "top", color=VERMILION)
    _label(axes, end, "$W_1$", (7, -2), "left", "center")


def _draw_exact_flow(axes: Axes) -> None:
    page = project(exact_flow(np.linspace(0, 1, 60)))
    axes.plot(*page.T, color=BLACK, linewidth=1.4, zorder=5)
    axes.plot(*page[-1], "o", color=BLACK, markersize=4.5, zorder=6)
    error = np.stack([page[-1], _on_page([end_of_step()])[0]])
    axes.plot(*error.T, color=BLACK, linewidth=1.0, linestyle=":", zorder=5)
    axes.annotate(
        "$W(t_1)$, exact flow $\\dot{W}=-\\nabla\\mathcal{L}(W)$",
        page[-1],
        xytext=(6, 8),
        textcoords="offset points",
        ha="right",
        va="bottom",
    )


def _write_steps(figure: Figure) -> None:
    lines = (
        (BLUE, "K-step", "$K_0=U_0S_0$ becomes $K_1$, with $V_0$ fixed"),
        (GREEN, "L-step", "$L_0=V_0S_0^T$ becomes $L_1$, with $U_0$ fixed"),
        (
            VERMILION,
            "S-step",
            r"$\tilde{S}=(U_1^TU_0)\,S_0\,(V_1^TV_0)^T$ becomes $S_1$, with $U_1$ and "
            "$V_1$ fixed",
        ),
    )
    results = (
        r"$U_1=\mathrm{orth}(K_1)$",
        r"$V_1=\mathrm{orth}(L_1)$",
        "$W_1=U_1S_1V_1^T$",
    )
    for number, ((color, name, text), result) in enumerate(
        zip(lines, results, strict=True)
    ):
        y = 0.165 - 0.06 * number
        figure.text(0.05, y, name, color=color)
        figure.text(0.14, y, text)
        figure.text(0.77, y, result)


def _on_page(parameters: ArrayLike) -> np.ndarray:
    return project(surface(np.asarray(parameters, dtype=float)))


def _draw_point(
    axes: Axes, parameters: ArrayLike, color: str, hollow: bool = False
) -> None:
    face = "white" if hollow else color
    axes.plot(
        *_on_page(parameters),
        "o",
        markersize=4.5,
        markeredgecolor=color,
        markerfacecolor=face,
        zorder=7,
    )


def _label(
    axes: Axes,
    parameters: ArrayLike,
    text: str,
    offset: tuple[float, float],
    horizontal: str,
    vertical: str,
    color: str = BLACK,
) -> None:
    axes.annotate(
        text,
        _on_page(parameters),
        xytext=offset,
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        color=color,
        zorder=8,
    )
