"""Accuracy against parameters, beside the published points of the original."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dlrt_names.log_schema import PARAMETERS
from evaluation import style
from evaluation.series import Cell, Key, count_note, labels, words
from evaluation.statistics import finals, summarise
from experiments.mnist import published_results

# Published with MNIST as it is: all images, no noise.
_MARKERS = {500: "s", 784: "D"}


def comparable(cells: dict[Key, Cell]) -> dict[Key, Cell]:
    """The networks that were trained with the data of the published ones."""
    return {
        key: cell
        for key, cell in cells.items()
        if cell.logs
        and key.setting.dataset == "mnist"
        and key.setting.dataset_size == 1
        and key.setting.noise == 0
    }


def accuracy_against_parameters(cells: dict[Key, Cell]) -> Figure:
    """Test accuracy at the best-validation epoch with the final ranks.

    Args:
        cells: The networks, `comparable` ones. Those of one method are one line.
    """
    figure, axes = style.new(1, 1, (7.2, 5.4))
    panel = axes[0, 0]
    legend = {}
    for width, points in published_results.LOW_RANK.items():
        look = {"color": style.GREY, "marker": _MARKERS[width], "ms": 5, "lw": 1}
        x = [published_results.low_rank_parameters(width, ranks) for ranks, _ in points]
        panel.plot(x, [accuracy for _, accuracy in points], ls=":", mfc="none", **look)
        dense = published_results.dense_parameters(width)
        panel.plot(dense, published_results.DENSE[width], ls="", **look)
        name = f"original, width {width} (filled: dense)"
        legend[name] = Line2D([], [], ls=":", mfc="none", **look)
    for number, (label, group) in enumerate(_lines(cells), start=1):
        look = style.line(number)
        means = []
        for cell in group:
            accuracies = 100 * finals(cell, "test_accuracy", "best")
            sizes = finals(cell, PARAMETERS, "best")
            panel.plot(sizes, accuracies, ".", color=look["color"], alpha=0.5)
            means.append(
                (float(summarise(sizes).mean), float(summarise(accuracies).mean))
            )
        panel.plot(*zip(*sorted(means), strict=True), **look)
        legend[label] = Line2D([], [], **look)
    panel.set_xscale("log")
    style.plain_ticks(panel.xaxis, (1, 2, 5))
    panel.set_xlabel("parameters for prediction")
    panel.set_ylabel("test accuracy (%)")
    names = zip(labels(cells), cells.values(), strict=True)
    note = (
        "Test accuracy of the epoch with the best validation accuracy at the final "
        "ranks; lines join means, dots are runs. Original: after fine-tuning, up to "
        f"350 epochs (arXiv:2205.13571); dense 250 epochs. {count_note(names)}."
    )
    title = "MNIST, four hidden layers: accuracy against parameters"
    return style.finish(figure, title, note, legend)


def _lines(cells: dict[Key, Cell]) -> Iterable[tuple[str, Sequence[Cell]]]:
    """Networks of one width and one method: they differ in rank or in tolerance."""
    groups: dict[tuple[bool, Key], list[Cell]] = {}
    for key, cell in cells.items():
        adaptive = key.setting.tolerance > 0
        shared = Key(replace(key.setting, tolerance=0.0), key.width, None)
        groups.setdefault((adaptive, shared), []).append(cell)
    names = labels(key._replace(width=None) for _, key in groups)
    for name, ((adaptive, key), group) in zip(names, groups.items(), strict=True):
        method = name.replace("DLRT", "DLRT adaptive") if adaptive else name
        label = f"{method}, width {key.width}"
        # The original's were trained longer, which is not to be overlooked.
        for field in ("epochs", "fine_tune_epochs"):
            text = words(field, key.setting)
            if getattr(key.setting, field) and text not in method.split(", "):
                label += f", {text}"
        yield label, group
