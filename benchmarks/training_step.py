"""Times a training step through `model.fit`: low-rank, two-factor and dense networks.

    python -m benchmarks.training_step --width 500 --rank 40

The networks have four hidden layers on 784 inputs and take turns, so that a noisy
machine hits all of them alike. "Two-factor" has two plain Dense layers for each hidden
layer, the same matrix products without geometry: the floor for a low-rank step.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import dlrt  # noqa: E402

HIDDEN_LAYERS = 4
INPUTS = 784
CLASSES = 10


def network(kind: str, width: int, rank: int) -> keras.Model:
    """A compiled network; `kind` is "dense", "two-factor" or an integrator's name."""
    inputs = x = keras.Input((INPUTS,))
    for _ in range(HIDDEN_LAYERS):
        if kind == "dense":
            x = keras.layers.Dense(width, activation="relu")(x)
        elif kind == "two-factor":
            x = keras.layers.Dense(rank, use_bias=False)(x)
            x = keras.layers.Dense(width, activation="relu")(x)
        else:
            x = dlrt.layers.LowRankDense(width, rank=rank, activation="relu")(x)
    outputs = keras.layers.Dense(CLASSES)(x)
    optimizer = keras.optimizers.Adam(1e-4)
    model_class = keras.Model
    if kind not in ("dense", "two-factor"):
        optimizer = dlrt.optimizers.LowRank(optimizer, integrator=kind)
        model_class = dlrt.Model
    model = model_class(inputs, outputs)
    model.compile(
        optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


class StepTimer(keras.callbacks.Callback):
    """Collects the seconds of every training step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def measure(
    kinds: list[str], width: int, rank: int, batch: int, rounds: int, steps: int
) -> dict[str, list[float]]:
    """Seconds of every step after a warm-up, by kind of network."""
    random = np.random.default_rng(0)
    x = random.standard_normal((batch * steps, INPUTS), dtype=np.float32)
    y = random.integers(0, CLASSES, batch * steps)

    def runner(model: keras.Model) -> Callable[[], list[float]]:
        def run() -> list[float]:
            timer = StepTimer()
            model.fit(x, y, batch_size=batch, verbose=0, callbacks=[timer])
            # The first step of a fit also starts the input pipeline.
            return timer.seconds[1:]

        return run

    runners = {kind: runner(network(kind, width, rank)) for kind in kinds}
    for run in runners.values():
        run()
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, run in runners.items():
            seconds[kind] += run()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--rank", type=int, default=40)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=["two-factor", "parallel_bug", "kls", "dense"],
        help="dense, two-factor, or names of integrators",
    )
    arguments = parser.parse_args()
    seconds = measure(
        arguments.kinds,
        arguments.width,
        arguments.rank,
        arguments.batch,
        arguments.rounds,
        arguments.steps,
    )
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{keras.backend.backend()} backend, keras {keras.__version__}; width "
        f"{arguments.width}, rank {arguments.rank}, batch {arguments.batch}"
    )
    floor = statistics.median(seconds.get("two-factor", seconds[arguments.kinds[0]]))
    for kind, times in seconds.items():
        low, median, high = np.percentile(times, [10, 50, 90]) * 1e3
        print(
            f"{kind:20s} {median:8.2f} ms  (10-90 %: {low:.2f}-{high:.2f})  "
            f"{median / 1e3 / floor:6.2f} x"
        )


if __name__ == "__main__":
    main()
