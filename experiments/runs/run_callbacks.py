"""The callbacks of a run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import dlrt
from dlrt_names.log_schema import EPOCH, PHASE, SCORING_SECONDS, SPECTRUM
from experiments.runs import checkpoints
from experiments.runs.checkpoints import State
from experiments.runs.finite import NonFiniteLoss, require_finite
from experiments.runs.results import Row, best_row

Logs = dict[str, Any] | None


class SeedDropout(keras.callbacks.Callback):
    """Makes dropout depend only on seed and epoch.

    Keras doesn't save the state of random numbers with a model, so a resumed run would
    drop different units.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        rng = np.random.default_rng([self._seed, epoch])
        for layer in self.model.layers:
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign(rng.integers(2**31, size=2))


class StopAtNonFinite(keras.callbacks.Callback):
    """Raises `NonFiniteLoss` before anything of that epoch is logged or saved."""

    _epoch = _step = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._step = batch + 1
        loss = float((logs or {}).get("loss", 0.0))
        if not np.isfinite(loss):
            raise NonFiniteLoss(self._epoch, self._step, f"The loss became {loss}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        # The loss of a step is measured before it, so the last one is still unseen.
        for variable in self.model.variables:
            # NumPy doesn't count bfloat16 as a float, but Keras does.
            if not keras.backend.is_float_dtype(variable.dtype):
                continue
            if not np.isfinite(variable.numpy()).all():
                what = f"The weight {variable.path} became NaN or infinite"
                raise NonFiniteLoss(self._epoch, self._step, what)
        require_finite(logs or {}, self._epoch, self._step)


class StepLines(keras.callbacks.Callback):
    """Prints the progress of long epochs where there is no terminal for a bar.

    Args:
        verbose: Keras's `verbose`; it prints only for 2, one line an epoch.
        seconds: The least time from one line to the next.
    """

    def __init__(self, verbose: int, seconds: float = 15.0) -> None:
        super().__init__()
        self._verbose = verbose
        self._seconds = seconds
        self._said = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._said = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._is_due():
            loss = float((logs or {}).get("loss", np.nan))
            total = (self.params or {}).get("steps") or "?"
            self.say(f"step {batch + 1} of {total}, loss {loss:.4f}")

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._is_due():
            self.say(f"validation, step {batch + 1}")

    def say(self, text: str) -> None:
        """Prints a line."""
        if self._verbose == 2:
            print(text, flush=True)
            self._said = time.monotonic()

    def _is_due(self) -> bool:
        return time.monotonic() - self._said >= self._seconds


def singular_values(model: keras.Model) -> dict[str, list[float]]:
    """The singular values of every low-rank layer, by the names that a log has."""
    return {
        f"{SPECTRUM}{name}": [
            float(f"{value:.4g}")
            for value in np.linalg.svd(layer.factors.s, compute_uv=False)
        ]
        for name, layer in dlrt.accounting.named_layers(model).items()
    }


class RunLog(dlrt.callbacks.HistoryLog):
    """A `HistoryLog` that says which phase of the run an epoch belongs to.

    It may have the singular values too. Only some epochs are scored, so the time of
    scoring doesn't count: otherwise the times of epochs would not be comparable.
    """

    phase = ""
    with_singular_values = False

    def append(
        self,
        epoch: int,
        seconds: float,
        logs: Mapping[str, Any] | None = None,
        model: keras.Model | None = None,
    ) -> None:
        logs = dict(logs or {})
        seconds -= logs.get(SCORING_SECONDS, 0.0)
        if self.phase:
            logs[PHASE] = self.phase
        if self.with_singular_values:
            logs |= singular_values(model or self.model)
        super().append(epoch, seconds, logs, model)


class Checkpoint(keras.callbacks.Callback):
    """Saves the model after every epoch, and the best one beside it.

    It runs after the log: what is saved has been logged, and a row that was logged
    without its checkpoint is written again by the resumed run.

    Args:
        last: Where to save it after every epoch.
        best: Where to save the best one of the phase.
        log: The log, which tells the best epoch.
        score: Scores a row of the log; the best epoch has the highest score. `None`:
            no best model is kept.
        start: The state at the beginning of the phase.
        first_epoch: The first epoch that may be the best.
    """

    def __init__(
        self,
        last: Path,
        best: Path,
        log: RunLog,
        score: Callable[[Row], float] | None,
        start: State,
        first_epoch: int = 1,
    ) -> None:
        super().__init__()
        self._last, self._best = last, best
        self._log = log
        self._score = score
        self._start = start
        self._first_epoch = first_epoch

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._score is not None and self._is_best(epoch + 1, self._score):
            checkpoints.save(self.model, self._best)
        loss = (logs or {}).get("loss")
        state = replace(
            self._start,
            epoch=epoch + 1,
            capacities=checkpoints.capacities(self.model),
            loss=None if loss is None else float(loss),
        )
        checkpoints.save(self.model, self._last, state)

    def _is_best(self, epoch: int, score: Callable[[Row], float]) -> bool:
        # As the workbook has them: a resumed run must compare the same digits.
        rows = [
            row
            for row in dlrt.callbacks.read_history(self._log.path)[0]
            if row.get(PHASE, "") == self._log.phase and row[EPOCH] >= self._first_epoch
        ]
        best = best_row(rows, score)
        return best is not None and best[EPOCH] == epoch
