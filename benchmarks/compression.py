"""Compares the methods of `dlrt.compress` on trained networks, without retraining.

    python -m benchmarks.compression lenet5 alexnet resnet20

Trains each network through `experiments.compression`, unless that has been done, then
once more by its singular values for "hoyer"; makes it 2, 4 and 8 times smaller by every
method, and writes a table, a figure of accuracy, accuracy under attack, flops and
latency against parameters, and one of the singular values, to
`results/compression-<network>/`. Interrupt it at any time; the same command goes on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

import dlrt  # noqa: E402
from benchmarks import reports  # noqa: E402
from benchmarks.common_options import above, add_log_dir, make_parser, whole  # noqa: E402
from benchmarks.places import RESULTS  # noqa: E402
from experiments.cli.command import input_errors  # noqa: E402
from experiments.images import compression_task, measuring, task  # noqa: E402
from experiments.images.compression_config import (  # noqa: E402
    HOYER,
    CompressionConfig,
    resolve,
)
from experiments.images.config import Config  # noqa: E402
from experiments.runs import folders  # noqa: E402
from experiments.runs.image_data import Data  # noqa: E402
from experiments.runs.run import Run  # noqa: E402

RATIOS = (2, 4, 8)

_EPSILON = 0.1
_LATENCY_BATCH = 64


class Way(NamedTuple):
    """A way to compress.

    Attributes:
        label: What it is called in tables.
        method: Argument of `dlrt.compress`, as the others.
        structure: What kernels are decomposed into.
        allocation: Who gets which rank.
    """

    label: str
    method: str
    structure: str | None = None
    allocation: str | None = None


WAYS = (
    Way("svd", "svd"),
    Way("svd, by error", "svd", allocation="error"),
    Way("svd, separable, by error", "svd", "separable", "error"),
    Way("alds", "alds"),
    Way("tucker", "tucker"),
    Way("cp", "cp"),
    Way("hoyer", HOYER),
)

# What each network is trained on, for how many epochs, and for how many more by its
# singular values.
NETWORKS = {
    "lenet5": ("mnist", 10, 5),
    "alexnet": ("cifar10", 12, 4),
    "resnet20": ("cifar10", 12, 8),
    "resnet8": ("cifar10", 12, 8),
}


def settings_of(
    name: str, log_dir: Path, epochs: int | None = None, svd_epochs: int | None = None
) -> CompressionConfig:
    """The settings that a network is trained with."""
    dataset, usual, usual_svd = NETWORKS[name]
    settings = resolve(
        {
            "architecture": name,
            "dataset": dataset,
            "dense_epochs": epochs or usual,
            "log_dir": log_dir,
        }
    )
    return replace(settings, svd_epochs=svd_epochs or usual_svd)


def trained(
    config: Config, data: Data, start: Callable[[], keras.Model] | None = None
) -> keras.Model:
    """The best network of a run, trained first if need be."""
    run = compression_task.find_newest(config, data)
    if run is None:
        resumed = replace(config, resume=folders.find(config) is not None)
        training = Run(task.Images(resumed, data, start))
        training.train()
        run = training.folder
    return keras.saving.load_model(run.best, compile=False)


def measured(model: keras.Model, data: Data, attacked: int) -> dict[str, Any]:
    """What a network costs, and what it gets right."""
    x, y = data.test
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    found = model.evaluate(x, y, batch_size=500, verbose=0, return_dict=True)
    return {
        "parameters": dlrt.accounting.parameter_count(model),
        "flops": dlrt.accounting.flop_count(model),
        "test accuracy": found["accuracy"],
        "under attack": measuring.accuracy_under_attack(
            model, x[:attacked], y[:attacked], _EPSILON
        ),
        "latency ms": measuring.measure_latency(model, x, _LATENCY_BATCH),
    }


def compare(
    model: keras.Model,
    decomposed: keras.Model,
    data: Data,
    ratios: Sequence[float],
    attacked: int,
) -> list[dict[str, Any]]:
    """A row for the dense network, and one for each way and ratio.

    Args:
        model: The dense network.
        decomposed: That after a training by its singular values, for "hoyer"; it has a
            row for itself, as the dense network that it stands for.
        data: The images.
        ratios: How many times fewer parameters.
        attacked: Number of test images to attack.
    """
    whole = {"dense": model, "dense, by hoyer": dlrt.to_dense(decomposed)}
    rows = [
        {"way": way, "ratio": 1.0, "largest error": 0.0}
        | measured(network, data, attacked)
        for way, network in whole.items()
    ]
    for ratio in ratios:
        for way in WAYS:
            try:
                smaller, report = dlrt.compress(
                    decomposed if way.method == HOYER else model,
                    way.method,
                    {"ratio": ratio},
                    structure=way.structure,
                    allocation=way.allocation,
                )
            except ValueError as error:
                # The network can't become that small.
                print(f"{way.label}, {ratio} times smaller: {error}", flush=True)
                continue
            row = {
                "way": way.label,
                "ratio": ratio,
                "largest error": max(layer.error for layer in report.layers),
            } | measured(smaller, data, attacked)
            print(" | ".join(_format_row(row)), flush=True)
            rows.append(row)
    return rows


def tabulate(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    columns = (
        *("way", "times smaller", "parameters", "flops", "largest relative error"),
        *("test %", "under attack %", "ms for 64 images"),
    )
    return reports.format_table(columns, map(_format_row, rows))


def _format_row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["way"],
        f"{row['ratio']:g}",
        f"{row['parameters']:,}",
        f"{row['flops']:,}",
        f"{row['largest error']:.3f}",
        f"{100 * row['test accuracy']:.2f}",
        f"{100 * row['under attack']:.2f}",
        f"{row['latency ms']:.1f}",
    )


def draw(name: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Draws what networks are worth against their parameters."""
    pyplot = reports.load_pyplot()
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    panels = {
        "test accuracy": "test accuracy",
        "under attack": f"test accuracy under attack, ε = {_EPSILON}",
        "flops": "flops an image",
        "latency ms": f"milliseconds for {_LATENCY_BATCH} images",
    }
    for panel, (key, label) in zip(axes.flat, panels.items(), strict=True):
        for way in WAYS:
            found = [row for row in rows if row["way"] == way.label]
            panel.plot(
                [row["parameters"] for row in found],
                [row[key] for row in found],
                "o-",
                ms=4,
                label=way.label,
            )
        panel.axhline(rows[0][key], color="0.45", ls=":", label="dense")
        panel.set_xscale("log")
        panel.set_xlabel("parameters")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    axes[0, 0].legend(fontsize="small")
    figure.suptitle(f"{name}, compressed without retraining")
    reports.save_figure(figure, path, dpi=140)


def draw_spectra(name: str, networks: dict[str, keras.Model], path: Path) -> None:
    """Draws the singular values of every kernel, as a matrix, a panel a network."""
    pyplot = reports.load_pyplot()
    figure, panels = pyplot.subplots(
        1, len(networks), figsize=(9, 4.2), sharey=True, layout="constrained"
    )
    for panel, (title, model) in zip(panels, networks.items(), strict=True):
        kernels = {
            layer.name: np.asarray(layer.kernel)
            for layer in model.layers
            if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
        }
        colors = pyplot.colormaps["viridis"](np.linspace(0, 0.9, len(kernels)))
        for (layer, kernel), color in zip(kernels.items(), colors, strict=True):
            rows = math.prod(kernel.shape[:-1])
            values = np.linalg.svd(kernel.reshape(rows, -1), compute_uv=False)
            share = np.arange(1, len(values) + 1) / len(values)
            panel.plot(share, values / values[0], color=color, label=layer)
        panel.set_title(title)
        panel.set_xlabel("index by full rank")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("singular value by the largest")
    panels[-1].legend(fontsize="x-small", ncols=2)
    figure.suptitle(f"Kernels of {name}")
    reports.save_figure(figure, path, dpi=140)


def main() -> None:
    parser = make_parser("benchmarks.compression", __doc__)
    parser.add_argument("networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--ratios", type=above(1, 1e6), nargs="+", default=RATIOS)
    epochs = whole(1, 10**6)
    parser.add_argument("--epochs", type=epochs, help="of the dense network")
    parser.add_argument("--svd-epochs", type=epochs, help="of its singular values")
    parser.add_argument(
        "--attacked", type=whole(1, 10**9), default=2000, help="test images to attack"
    )
    add_log_dir(parser, "compression")
    given = parser.parse_args()
    for name in given.networks:
        config = settings_of(
            name, given.log_dir.absolute(), given.epochs, given.svd_epochs
        )
        with input_errors():
            data = task.load(config)
        model = trained(config.dense_run(), data)
        svd = config.svd_run()
        decomposed = trained(svd, data, partial(compression_task.decompose, svd, model))
        directory = RESULTS / f"compression-{name}"
        directory.mkdir(parents=True, exist_ok=True)
        rows = compare(model, decomposed, data, given.ratios, given.attacked)
        reports.write_csv(directory / "compression.csv", rows)
        draw(name, rows, directory / "compression.png")
        spectra = {"dense": model, "trained for hoyer": dlrt.to_dense(decomposed)}
        draw_spectra(name, spectra, directory / "spectra.png")
        print(f"\n{name}\n\n{tabulate(rows)}\n", flush=True)


if __name__ == "__main__":
    main()
