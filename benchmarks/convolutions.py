"""Measures training steps of convolutional networks, dense and of low rank.

    python -m benchmarks.convolutions                 about three minutes
    python -m benchmarks.convolutions --ranks 8 32

Five convolutions 3 x 3 of images 32 x 32, to 64, 128, 128, 256 and 256 filters, the
second and fourth with strides 2, batch 64, Adam, through `fit` with one step a call.
"Two-factor" has two plain convolutions in place of each low-rank one, the same products
without geometry; "adaptive" is held at its ranks by a small tolerance. What is compared
takes turns within one process, so that a noisy machine hits all alike; figures are
medians, and are written to `results/convolutions-<backend>.csv`.
"""

import argparse
from typing import Any

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

import dlrt  # noqa: E402
from benchmarks import common_options, csv_files, timing  # noqa: E402
from benchmarks.__main__ import RESULTS  # noqa: E402
from experiments.cli.command import Parser  # noqa: E402

DENSE, TWO_FACTOR, FIXED, ADAPTIVE = KINDS = (
    "dense",
    "two-factor",
    "fixed",
    "adaptive",
)
_BATCH, _SIZE, _CLASSES = 64, 32, 10
_FILTERS, _STRIDES = (64, 128, 128, 256, 256), (1, 2, 1, 2, 1)
# So small that no time depends on how far training has come, and no rank falls.
_LEARNING_RATE, _TOLERANCE = 1e-6, 1e-5


def compiled(kind: str, rank: int) -> keras.Model:
    """A network, ready for `fit`; the first convolution has at most its full rank."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((_SIZE, _SIZE, 3))
    channels = 3
    for width, strides in zip(_FILTERS, _STRIDES, strict=True):
        arguments = {
            "filters": width,
            "kernel_size": 3,
            "strides": strides,
            "padding": "same",
            "activation": "relu",
        }
        full = min(9 * channels, width)
        x = (
            keras.layers.Conv2D(**arguments)
            if kind == DENSE
            else dlrt.layers.LowRankConv2D(**arguments, rank=min(rank, full))
        )(x)
        channels = width
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(_CLASSES)(x)
    low_rank = kind in (FIXED, ADAPTIVE)
    model = (dlrt.Model if low_rank else keras.Model)(inputs, outputs)
    optimizer: Any = keras.optimizers.Adam(_LEARNING_RATE)
    if kind == TWO_FACTOR:
        model = dlrt.merge(model)
    if low_rank:
        tolerance = _TOLERANCE if kind == ADAPTIVE else None
        optimizer = dlrt.optimizers.LowRank(optimizer, tolerance=tolerance)
    model.compile(
        optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def training_run(model: keras.Model) -> timing.Run:
    """A function that fits a model for a number of steps."""
    rng = np.random.default_rng(0)
    count = _BATCH * (timing.MOST_BATCHES + timing.WARM_UP)
    x = rng.random((count, _SIZE, _SIZE, 3), dtype="float32")
    y = rng.integers(0, _CLASSES, count)

    def run(steps: int) -> np.ndarray:
        clock, end = timing.BatchClock(), _BATCH * (steps + timing.WARM_UP)
        model.fit(x[:end], y[:end], _BATCH, verbose=0, callbacks=[clock])
        return clock.seconds

    return run


def measure(ranks: list[int], rounds: int, turn: float) -> list[dict[str, Any]]:
    """One row for the dense network, and for each kind and rank."""
    cases = [(DENSE, 0), *((kind, rank) for rank in ranks for kind in KINDS[1:])]
    models = {f"{kind} {rank}": compiled(kind, rank) for kind, rank in cases}
    runs = {name: training_run(model) for name, model in models.items()}
    medians = {
        name: float(np.median(seconds))
        for name, seconds in timing.in_turns(runs, rounds, turn).items()
    }
    return [
        {
            "kind": kind,
            "rank": rank or None,
            "parameters": dlrt.accounting.parameter_count(models[f"{kind} {rank}"]),
            "flops": dlrt.accounting.flop_count(models[f"{kind} {rank}"]),
            "step ms": round(1e3 * medians[f"{kind} {rank}"], 1),
            "of two-factor": round(
                medians[f"{kind} {rank}"] / medians[f"{TWO_FACTOR} {rank}"], 2
            )
            if rank
            else None,
            "of dense": round(medians[f"{kind} {rank}"] / medians[f"{DENSE} 0"], 2),
        }
        for kind, rank in cases
    ]


def main() -> None:
    parser = Parser(
        prog="python -m benchmarks.convolutions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--ranks",
        type=common_options.whole(1, max(_FILTERS)),
        nargs="+",
        default=[8, 32],
    )
    common_options.add_turns(parser, rounds=3, seconds=8.0)
    arguments = parser.parse_args()
    rows = measure(arguments.ranks, arguments.rounds, arguments.turn)
    print(csv_files.text(rows))
    csv_files.write(RESULTS / f"convolutions-{keras.backend.backend()}.csv", rows)


if __name__ == "__main__":
    main()
