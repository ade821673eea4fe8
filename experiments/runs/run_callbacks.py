"""What happens around the epochs of a run."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

import dlrt
from dlrt_names.log_schema import PHASE, SPECTRUM
from experiments.runs import checkpoints, selection
from experiments.runs.finite import NonFiniteLoss, require_finite


class SeedDropout(keras.callbacks.Callback):
    """Makes what is dropped in an epoch depend on seed and epoch only.

    Keras doesn't save the state of random numbers with a model, so a resumed run would
    drop something else.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rng = np.random.default_rng([self._seed, epoch])
        for layer in self.model.layers:
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign(rng.integers(2**31, size=2))


class StopAtNonFinite(keras.callbacks.Callback):
    """Raises `NonFiniteLoss` before anything of that epoch is logged or saved."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = self._step = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        self._step = batch + 1
        loss = float((logs or {}).get("loss", 0.0))
        if not np.isfinite(loss):
            raise NonFiniteLoss(self._epoch, self._step, f"The loss became {loss}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The loss of a step is measured before it, so the last one is still unseen.
        for variable in self.model.variables:
            # NumPy takes bfloat16 for no kind of float, but Keras does.
            if not keras.backend.is_float_dtype(variable.dtype):
                continue
            if not np.isfinite(variable.numpy()).all():
                what = f"The weight {variable.path} became NaN or infinite"
                raise NonFiniteLoss(self._epoch, self._step, what)
        require_finite(logs or {}, self._epoch, self._step)


class StepLines(keras.callbacks.Callback):
    """Says how far a long epoch is, where there is no terminal to show a bar.

    Args:
        verbose: Keras's `verbose`; it is silent but for 2, which has a line an epoch.
        seconds: The least time from one line to the next.
    """

    def __init__(self, verbose: int, seconds: float = 15.0) -> None:
        super().__init__()
        self._verbose = verbose
        self._seconds = seconds
        self._said = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._said = time.monotonic()

    def on_train_batch_end(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        if self._is_due():
            loss = float((logs or {}).get("loss", np.nan))
            total = (self.params or {}).get("steps") or "?"
            self.say(f"step {batch + 1} of {total}, loss {loss:.4f}")

    def on_test_batch_end(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        if self._is_due():
            self.say(f"validation, step {batch + 1}")

    def say(self, text: str) -> None:
        """Prints a line."""
        if self._verbose == 2:
            print(text, flush=True)
            self._said = time.monotonic()

    def _is_due(self) -> bool:
        return self._verbose == 2 and time.monotonic() - self._said >= self._seconds


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

    While ranks adapt it has the singular values too.
    """

    phase = ""
    adaptive = False

    def append(
        self,
        epoch: int,
        seconds: float,
        logs: Mapping[str, Any] | None = None,
        model: keras.Model | None = None,
    ) -> None:
        logs = {**(logs or {}), PHASE: self.phase}
        if self.adaptive:
            logs |= singular_values(model or self.model)
        super().append(epoch, seconds, logs, model)


class Checkpoint(keras.callbacks.Callback):
    """Saves the model after every epoch, and the best one beside it.

    It stands after the log: what is saved has been logged, and a row that was logged
    without its checkpoint is written again by the resumed run.

    Args:
        last: Where to save it after every epoch.
        best: Where to save the best one of the phase.
        log: The log, which tells the best epoch.
        score: Of a row of the log; the best epoch has the highest.
        phase: Index of the phase.
        phase_start: Number of epochs that were finished when it began.
        first_epoch: The first epoch that may be the best.
    """

    def __init__(
        self,
        last: Path,
        best: Path,
        log: RunLog,
        score: Callable[[selection.Row], float],
        phase: int = 0,
        phase_start: int = 0,
        first_epoch: int = 1,
    ) -> None:
        super().__init__()
        self._last = last
        self._best = best
        self._log = log
        self._score = score
        self._phase = phase
        self._phase_start = phase_start
        self._first_epoch = first_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rows = selection.rows_of(self._log.path, self._log.phase)
        best = selection.best_row(
            [row for row in rows if row["epoch"] >= self._first_epoch], self._score
        )
        if best is not None and best["epoch"] == epoch + 1:
            checkpoints.save(self.model, self._best)
        state = checkpoints.State(
            epoch + 1,
            self._phase,
            self._phase_start,
            checkpoints.capacities(self.model),
            _loss(logs),
        )
        checkpoints.save(self.model, self._last, state)


class LastCheckpoint(keras.callbacks.Callback):
    """Saves the model of a run of one phase after every epoch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        room = checkpoints.capacities(self.model)
        state = checkpoints.State(epoch + 1, 0, 0, room, _loss(logs))
        checkpoints.save(self.model, self._path, state)


def _loss(logs: Mapping[str, Any] | None) -> float | None:
    loss = (logs or {}).get("loss")
    return None if loss is None else float(loss)


class StopWhenSettled(keras.callbacks.Callback):
    """Ends the adaptive phase when the ranks have settled."""

    def __init__(self, log: RunLog, patience: int, first_epoch: int) -> None:
        super().__init__()
        self._log = log
        self._patience = patience
        self._first_epoch = first_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rows = selection.rows_of(self._log.path, self._log.phase)
        if selection.has_settled(rows, self._patience, self._first_epoch):
            self.model.stop_training = True
