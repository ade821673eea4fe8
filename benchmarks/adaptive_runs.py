"""A whole rank-adaptive training run: where its time goes, and what a step costs after.

It truncates as `experiments.mnist_dense rank-adaptive` does: twice an epoch, from the
second epoch on, for 60 % of the run.
"""

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from benchmarks.networks import (
    HIDDEN_LAYERS,
    Case,
    compile_model,
    make_low_rank_network,
)
from benchmarks.timing import in_turns, prepare_training
from dlrt import accounting, datasets
from experiments.mnist.config import resolve
from experiments.runs.image_data import ShuffledBatches
from experiments.runs.optimizers import steps_per_execution


@dataclass(frozen=True)
class Settings:
    """What an adaptive run is.

    Args:
        case: Width, batch, and the rank to start at.
        tolerance: Relative truncation tolerance.
        epochs: Number of epochs.
        number: Number of training images, `None` for all.
        min_rank: Smallest rank.
    """

    case: Case
    tolerance: float
    epochs: int
    number: int | None = None
    min_rank: int = 2


@dataclass(frozen=True)
class Outcome:
    """What an adaptive run took.

    Args:
        data: The data set.
        ranks: Ranks of the hidden layers in the steps that are compared.
        accuracy: Training accuracy of the last epoch.
        total: Seconds of `fit`.
        compiling: Seconds that the very first step took longer than others.
        retracing: Seconds that later first steps of an epoch took longer than others.
        resizing: Seconds from the last step of an epoch to its end.
        moves: How often variables were resized, that is, the step traced again.
        adaptive: Seconds of steps afterwards, with a truncation at every step.
        fixed: Seconds of steps of a network that has had these ranks from its start.
    """

    data: str
    ranks: tuple[int, ...]
    accuracy: float
    total: float
    compiling: float
    retracing: float
    resizing: float
    moves: int
    adaptive: np.ndarray
    fixed: np.ndarray

    @property
    def overhead(self) -> float:
        """Share of the time of `fit` that went into tracing again and resizing."""
        return (self.retracing + self.resizing) / self.total


def run(settings: Settings, rounds: int, dataset: str = "auto") -> Outcome:
    """Trains at adaptive ranks, then compares steps at the ranks that were found.

    Args:
        settings: The run.
        rounds: How many turns steps are compared in.
        dataset: Name of a data set of 28 × 28 images, see `datasets.load`.
    """
    case, epochs, number = settings.case, settings.epochs, settings.number
    adaptation = {"tolerance": settings.tolerance, "min_rank": settings.min_rank}
    data = datasets.load(dataset)
    x = data.x_train.reshape(len(data.x_train), -1)[:number]
    batches = ShuffledBatches(x, data.y_train[:number], case.batch, seed=0)
    keras.utils.set_random_seed(0)
    model = make_low_rank_network(case.width, [case.rank] * HIDDEN_LAYERS)
    config = resolve("rank-adaptive", {"epochs": epochs})
    decay = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * len(batches)
    )
    compile_model(
        model,
        keras.optimizers.Adam(decay),
        adaptation | config.phases[0].truncation(len(batches)),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution(len(batches)),
    )
    clock = _RunClock()
    history = model.fit(
        batches.for_fit(),
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[batches.follow(), clock],
    )
    # From here on steps so small that ranks stay, with a truncation at each of them.
    adaptation |= {"candidates": 0, "truncation_interval": 1}
    compile_model(model, keras.optimizers.Adam(1e-9), adaptation)
    adaptive = prepare_training(model, case)
    adaptive(10)
    ranks = tuple(accounting.ranks(model).values())
    fixed = make_low_rank_network(case.width, ranks)
    compile_model(fixed, keras.optimizers.Adam(1e-9), {})
    seconds = in_turns(
        {"adaptive": adaptive, "fixed": prepare_training(fixed, case)}, rounds, turn=0.6
    )
    accuracy = history.history["accuracy"][-1]
    return Outcome(data.name, ranks, accuracy, *clock.parts(), *seconds.values())


class _RunClock(keras.callbacks.Callback):
    """Takes the times of a `fit` apart."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[list[float]] = []
        self._resizing = 0.0
        self._moves = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._steps.append([])
        self._capacities = self._room()
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self._steps[-1].append(now - self._last)
        self._last = now

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        # Only the callback that resizes variables has run since the last step.
        self._resizing += time.perf_counter() - self._last
        self._moves += self._room() != self._capacities

    def on_train_end(self, logs: Any = None) -> None:
        self._total = time.perf_counter() - self._begin

    def _room(self) -> list[int]:
        return [layer.capacity for layer in accounting.low_rank_layers(self.model)]

    def parts(self) -> tuple[float, float, float, float, int]:
        """The times of an `Outcome`: total, compiling, retracing, resizing, moves."""
        # An epoch of a single turn has nothing to compare its first one to.
        usual = min(seconds[0] for seconds in self._steps)
        first, *later = [
            seconds[0] - float(np.median(seconds[1:] or [usual]))
            for seconds in self._steps
        ]
        return self._total, first, sum(later), self._resizing, self._moves
