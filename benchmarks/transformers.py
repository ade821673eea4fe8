"""Measures training steps of transformers, dense and of low rank.

    python -m benchmarks.transformers                    about half an hour
    python -m benchmarks.transformers --sizes small --rounds 2

Encoder-decoder networks as `experiments.transformer` trains them, 64 sentences of 40
random tokens, vocabularies of 8,000, through `fit` with one step a call. "Dense" has
Keras's layers, "fixed" every projection at one rank, the vocabulary's included, and
"adaptive" may change its ranks, but is held at the same by a small tolerance. What is
compared takes turns within one process, so that a noisy machine hits all alike; figures
are medians. The first step, tracing included, is measured in a new process for each.
"""

import multiprocessing
import time
from typing import Any

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

import dlrt  # noqa: E402
from benchmarks import reports, timing  # noqa: E402
from benchmarks.common_options import add_turns, make_parser  # noqa: E402
from benchmarks.networks import HELD, LEARNING_RATE, compile_model  # noqa: E402
from benchmarks.places import RESULTS  # noqa: E402
from experiments.translation import network  # noqa: E402

DENSE, FIXED, ADAPTIVE = KINDS = ("dense", "fixed", "adaptive")
SIZES = {
    "small": {"dim": 128, "layers": 4, "heads": 8, "feed_forward": 512, "rank": 30},
    "big": {"dim": 512, "layers": 6, "heads": 8, "feed_forward": 2048, "rank": 50},
}
_BATCH, _LENGTH, _VOCABULARY = 64, 40, 8000

Row = dict[str, Any]


def make_model(size: str, kind: str) -> keras.Model:
    """A network, ready for `fit`."""
    keras.utils.set_random_seed(0)
    sizes = SIZES[size]
    rank = None if kind == DENSE else sizes["rank"]
    model = network.build(
        network.Architecture(
            **{name: value for name, value in sizes.items() if name != "rank"},
            dropout=0.1,
            source_size=_VOCABULARY,
            target_size=_VOCABULARY,
            rank=rank,
            max_rank=rank,
        )
    )
    adam = keras.optimizers.Adam(LEARNING_RATE, beta_1=0.9, beta_2=0.98, epsilon=1e-9)
    low_rank = {DENSE: None, ADAPTIVE: HELD}.get(kind, {})
    return compile_model(model, adam, low_rank)


def draw_tokens(number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random sentences."""
    rng = np.random.default_rng(0)
    source, target, following = rng.integers(
        1, _VOCABULARY, (3, number, _LENGTH), dtype="int32"
    )
    return {network.SOURCE: source, network.TARGET: target}, following


def first_step(size: str, kind: str) -> float:
    """Seconds from the call of `fit` to the end of its first step."""
    model = make_model(size, kind)
    x, y = draw_tokens(_BATCH)
    start = time.perf_counter()
    model.fit(x, y, _BATCH, verbose=0)
    return time.perf_counter() - start


def measure(size: str, kinds: list[str], rounds: int, turn: float) -> list[Row]:
    """One row for each kind of network of a size."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        first = {kind: pool.apply(first_step, (size, kind)) for kind in kinds}
    models = {kind: make_model(size, kind) for kind in kinds}
    runs = {
        kind: timing.prepare_fit(model, draw_tokens, _BATCH)
        for kind, model in models.items()
    }
    medians = timing.take_medians(runs, rounds, turn)

    def ratio(kind: str, to: str) -> float | None:
        return round(medians[kind] / medians[to], 3) if to in medians else None

    return [
        {
            "size": size,
            "kind": kind,
            "rank": None if kind == DENSE else SIZES[size]["rank"],
            "parameters": dlrt.accounting.parameter_count(models[kind]),
            "step ms": round(1e3 * medians[kind], 1),
            "of dense": ratio(kind, DENSE),
            "of fixed": ratio(kind, FIXED),
            "first step s": round(first[kind], 1),
        }
        for kind in kinds
    ]


def _format_value(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    parser = make_parser("benchmarks.transformers", __doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    add_turns(parser, rounds=4, seconds=20.0)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for size in arguments.sizes:
        rows += measure(size, arguments.kinds, arguments.rounds, arguments.turn)
        lines = (map(_format_value, row.values()) for row in rows)
        print(f"\n{reports.format_table(list(rows[0]), lines)}", flush=True)
    if set(arguments.sizes) == set(SIZES) and set(arguments.kinds) == set(KINDS):
        reports.write_csv(RESULTS / f"transformers-{keras.backend.backend()}.csv", rows)


if __name__ == "__main__":
    main()
