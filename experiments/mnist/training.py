"""One run from its settings to its last epoch."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import dlrt
from experiments.cli.settings import verbosity
from experiments.mnist import network
from experiments.mnist.config import (
    NUM_HIDDEN,
    Config,
    selection_start,
    truncation_schedule,
)
from experiments.runs import checkpoints, folders, run_callbacks, scoring, selection
from experiments.runs.finite import require_finite
from experiments.runs.folders import Run
from experiments.runs.image_data import EVALUATION_BATCH, Data, ShuffledBatches

# What a continued run may change: how long it goes on.
_LENGTHS = ("epochs", "fine_tune_epochs")
_DENSE_WEIGHTS = "dense_weights"
_TRUNCATION = "truncation_schedule"


@dataclass(frozen=True)
class Phase:
    """A part of a run that is trained in one go.

    Args:
        name: What the log calls it.
        epochs: Number of epochs, at most.
        adaptive: Whether ranks change.
    """

    name: str
    epochs: int
    adaptive: bool = False


def phases(config: Config) -> list[Phase]:
    """The phases of a run, in order."""
    if config.dense:
        return [Phase("dense", config.epochs)]
    if config.tolerance is None:
        return [Phase("fixed", config.epochs)]
    adaptive = Phase("adaptive", config.epochs, adaptive=True)
    if config.fine_tune_epochs is None:
        return [adaptive]
    return [adaptive, Phase("fixed", config.fine_tune_epochs)]


class Training:
    """A run that has been set up: claimed folder, open log, network in memory.

    Args:
        config: The settings, with the data set's real name.
        data: The images.
        weights: File or folder of the weights to start from, if any.

    Raises:
        ValueError: If weights or the run to continue don't fit the settings.
        OSError: If the log can't be written.
    """

    def __init__(self, config: Config, data: Data, weights: Path | None) -> None:
        self.config = config
        self.data = data
        self.phases = phases(config)
        self._batches = ShuffledBatches(*data.train, config.batch_size, config.seed)
        run = folders.find(config) if config.resume else None
        if run is not None:
            self._continue(run, weights)
        elif config.resume:
            raise folders.missing(config)
        else:
            self._begin(weights)

    def _begin(self, weights: Path | None) -> None:
        model = network.build(self.config, self.data.num_classes, weights)
        self.run = folders.create(self.config)
        with folders.removed_if_unusable(self.run):
            self.log = self._open_log(self.run, weights)
            self._start_at_zero(model)

    def _continue(self, run: Run, weights: Path | None) -> None:
        stored = folders.stored_configuration(run, self.config, _LENGTHS)
        if self.config.load_model is None and stored.get(_DENSE_WEIGHTS):
            weights = Path(stored[_DENSE_WEIGHTS])
        self.run = run
        self.log = self._open_log(run, weights)
        checkpoints.remove_leftovers(run.directory)
        saved = checkpoints.to_continue(run.last, self.log.rows)
        if saved is None:
            self._start_at_zero(
                network.build(self.config, self.data.num_classes, weights)
            )
            return
        self.model, self._state = saved
        optimizer = self.model.optimizer
        self._compile()
        checkpoints.copy_state(optimizer, self.model.optimizer)

    def _open_log(self, run: Run, weights: Path | None) -> run_callbacks.RunLog:
        log = run_callbacks.RunLog(
            run.workbook(self.config.network),
            self._configuration(weights),
            resume=self.config.resume,
            changeable=(*_LENGTHS, _TRUNCATION),
        )
        log.open()
        return log

    def _configuration(self, weights: Path | None) -> dict[str, Any]:
        config = self.config
        configuration = config.record() | {
            "hidden_layers": NUM_HIDDEN,
            "train_images": len(self.data.train[0]),
            "val_images": len(self.data.val[0]),
            "test_images": len(self.data.test[0]),
        }
        if config.subcommand == "train-from-prune":
            configuration[_DENSE_WEIGHTS] = None if weights is None else str(weights)
        if config.tolerance is not None:
            configuration[_TRUNCATION] = truncation_schedule(config, len(self._batches))
        return configuration

    def _start_at_zero(self, model: keras.Model) -> None:
        self.model = model
        self._state = checkpoints.State(0, 0, 0, checkpoints.capacities(model))
        self._compile()
        checkpoints.save(model, self.run.last, self._state)

    def _compile(self) -> None:
        phase = self.phases[self._state.phase]
        network.compile_model(
            self.model, self.config, phase.epochs, len(self._batches), phase.adaptive
        )

    def train(self) -> None:
        """Runs what is left of the run.

        Raises:
            NonFiniteLoss: If loss or weights stop being numbers.
        """
        loaded = self.config.load_model or self.config.subcommand == "train-from-prune"
        if loaded and not selection.rows_of(self.log.path):
            self._log_loaded()
        if not self.config.train:
            return
        while True:
            finished = self._train_phase()
            if self._state.phase + 1 == len(self.phases):
                return
            self._next_phase(finished)

    def _log_loaded(self) -> None:
        start = time.perf_counter()
        logs: dict[str, float] = {}
        for prefix, part in (
            ("", self.data.train),
            ("val_", self.data.val),
            ("test_", self.data.test),
        ):
            logs |= scoring.evaluate(self.model, part, prefix)
        require_finite(logs, 0, 0)
        pruned = self.config.subcommand == "train-from-prune"
        self.log.phase = "pruned" if pruned else "loaded"
        self.log.append(0, time.perf_counter() - start, logs, self.model)

    def _train_phase(self) -> int:
        """Runs what is left of a phase; returns the number of finished epochs."""
        state, phase = self._state, self.phases[self._state.phase]
        self.log.phase, self.log.adaptive = phase.name, phase.adaptive
        last = state.phase + 1 == len(self.phases)
        end = state.phase_start + phase.epochs
        callbacks = [
            self._batches.follow(),
            run_callbacks.StopAtNonFinite(),
            run_callbacks.StepLines(verbosity(self.config)),
            scoring.TestEvaluation(self.data.test),
            dlrt.callbacks.RankLog(),
            self.log,
            run_callbacks.Checkpoint(
                self.run.last,
                self.run.best if last else self.run.best_adaptive,
                self.log,
                selection.validation_accuracy,
                state.phase,
                state.phase_start,
                self.first_selected_epoch,
            ),
        ]
        if phase.adaptive and not last:
            if self._settled():
                end = state.epoch
            callbacks.append(
                run_callbacks.StopWhenSettled(
                    self.log, self._patience(), self._first_truncated_epoch()
                )
            )
        if state.epoch >= end:
            return state.epoch
        history = self.model.fit(
            self._batches.for_fit(),
            epochs=end,
            initial_epoch=state.epoch,
            validation_data=self.data.val,
            validation_batch_size=EVALUATION_BATCH,
            # The data set shuffles by itself; Keras would shuffle its batches.
            shuffle=False,
            verbose=verbosity(self.config),
            callbacks=callbacks,
        )
        return state.epoch + len(history.epoch)

    def _next_phase(self, epoch: int) -> None:
        # The last `fit` has done so already, unless it was in another process.
        dlrt.compact(self.model)
        self._state = checkpoints.State(
            epoch, self._state.phase + 1, epoch, checkpoints.capacities(self.model)
        )
        self._compile()

    @property
    def first_selected_epoch(self) -> int:
        """The first epoch of the present phase whose model may be the best."""
        first = selection_start(self.config, len(self._batches))
        return self._state.phase_start + first

    def _settled(self) -> bool:
        rows = selection.rows_of(self.log.path, self.log.phase)
        kept = [row for row in rows if row["epoch"] <= self._state.epoch]
        return selection.has_settled(
            kept, self._patience(), self._first_truncated_epoch()
        )

    def _patience(self) -> int:
        return self.config.patience_ranks or 1

    def _first_truncated_epoch(self) -> int:
        steps = len(self._batches)
        start = truncation_schedule(self.config, steps)["truncation_start"] or 0
        return start // steps + 1
