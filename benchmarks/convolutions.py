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

from typing import Any

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

import dlrt  # noqa: E402
from benchmarks import reports, timing  # noqa: E402
from benchmarks.common_options import add_turns, make_parser, whole  # noqa: E402
from benchmarks.networks import HELD, LEARNING_RATE, compile_model  # noqa: E402
from benchmarks.places import RESULTS  # noqa: E402

DENSE, TWO_FACTOR, FIXED, ADAPTIVE = KINDS = (
    "dense",
    "two-factor",
    "fixed",
    "adaptive",
)
_BATCH, _SIZE, _CLASSES = 64, 32, 10
_FILTERS, _STRIDES = (64, 128, 128, 256, 256), (1, 2, 1, 2, 1)


def make_model(kind: str, rank: int) -> keras.Model:
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
    adam = keras.optimizers.Adam(LEARNING_RATE)
    if kind in (FIXED, ADAPTIVE):
        model = dlrt.Model(inputs, outputs)
        return compile_model(model, adam, HELD if kind == ADAPTIVE else {})
    model = keras.Model(inputs, outputs)
    return compile_model(dlrt.merge(model) if kind == TWO_FACTOR else model, adam)


def draw_images(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    x = rng.random((number, _SIZE, _SIZE, 3), dtype="float32")
    return x, rng.integers(0, _CLASSES, number)


def measure(ranks: list[int], rounds: int, turn: float) -> list[dict[str, Any]]:
    """One row for the dense network, and for each kind and rank."""
    cases = [(DENSE, 0), *((kind, rank) for rank in ranks for kind in KINDS[1:])]
    models = {case: make_model(*case) for case in cases}
    runs = {
        case: timing.prepare_fit(model, draw_images, _BATCH)
        for case, model in models.items()
    }
    medians = timing.take_medians(runs, rounds, turn)
    return [
        {
            "kind": kind,
            "rank": rank or None,
            "parameters": dlrt.accounting.parameter_count(models[kind, rank]),
            "flops": dlrt.accounting.flop_count(models[kind, rank]),
            "step ms": round(1e3 * median, 1),
            "of two-factor": round(median / medians[TWO_FACTOR, rank], 2)
            if rank
            else None,
            "of dense": round(median / medians[DENSE, 0], 2),
        }
        for (kind, rank), median in medians.items()
    ]


def main() -> None:
    parser = make_parser("benchmarks.convolutions", __doc__)
    parser.add_argument(
        "--ranks", type=whole(1, max(_FILTERS)), nargs="+", default=[8, 32]
    )
    add_turns(parser, rounds=3, seconds=8.0)
    arguments = parser.parse_args()
    rows = measure(arguments.ranks, arguments.rounds, arguments.turn)
    print(reports.format_csv(rows))
    reports.write_csv(RESULTS / f"convolutions-{keras.backend.backend()}.csv", rows)


if __name__ == "__main__":
    main()
