"""Seconds of single batches, or of a few of them, networks in turns."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np

from benchmarks.networks import Case, images

Run = Callable[[int], np.ndarray]
Name = TypeVar("Name")

# Batches of a `fit` or `predict` until input pipeline and caches are warm.
WARM_UP = 2
MOST_BATCHES = 40


class BatchClock(keras.callbacks.Callback):
    """Collects the seconds from the end of one batch to the end of the next."""

    def __init__(self) -> None:
        super().__init__()
        self._ends: list[float] = []

    @property
    def seconds(self) -> np.ndarray:
        return np.diff(self._ends)[WARM_UP - 1 :]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # A backend may still be at it; a value can be had only when it is there.
        float((logs or {}).get("loss", 0.0))
        self._ends.append(time.perf_counter())

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        np.asarray((logs or {}).get("outputs", 0.0))
        self._ends.append(time.perf_counter())


def in_turns(
    runs: Mapping[Name, Run], rounds: int, turn: float
) -> dict[Name, np.ndarray]:
    """Runs everything once for warming up, then in turns.

    A noisy machine then hits all alike.

    Args:
        runs: Functions that run a number of batches and return the seconds of each.
        rounds: How often each gets its turn.
        turn: About how many seconds a turn takes.
    """
    batches = {}
    for name, run in runs.items():
        wanted = turn / float(np.median(run(3)))
        batches[name] = int(np.clip(wanted, 3, MOST_BATCHES))
    seconds: dict[Name, list[np.ndarray]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(run(batches[name]))
    return {name: np.concatenate(parts) for name, parts in seconds.items()}


def take_medians(
    runs: Mapping[Name, Run], rounds: int, turn: float
) -> dict[Name, float]:
    """The medians of `in_turns`."""
    seconds = in_turns(runs, rounds, turn)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def prepare_fit(
    model: keras.Model,
    sample: Callable[[int], tuple[Any, Any]],
    batch: int,
    together: int = 1,
) -> Run:
    """A function that fits a model for at least a number of steps.

    Args:
        model: The model.
        sample: Returns inputs and outputs for a number of examples.
        batch: Examples in a step.
        together: Steps in a call of the compiled function.
    """
    of_a_call = batch * together
    x, y = sample(of_a_call * (-(-MOST_BATCHES // together) + WARM_UP))

    def run(steps: int) -> np.ndarray:
        calls = -(-steps // together)
        clock, end = BatchClock(), of_a_call * (calls + WARM_UP)
        part = keras.tree.map_structure(lambda values: values[:end], x)
        model.fit(part, y[:end], batch, verbose=0, callbacks=[clock])
        return clock.seconds / together

    return run


def prepare_training(model: keras.Model, case: Case) -> Run:
    """`prepare_fit` on the images of a case."""
    return prepare_fit(model, images, case.batch, case.steps_per_execution)


def prepare_prediction(model: keras.Model, case: Case) -> Run:
    """A function that predicts a number of batches with a model."""
    x, _ = images(case.batch * (MOST_BATCHES + WARM_UP))

    def run(batches: int) -> np.ndarray:
        clock, end = BatchClock(), case.batch * (batches + WARM_UP)
        model.predict(x[:end], case.batch, verbose=0, callbacks=[clock])
        return clock.seconds

    return run
