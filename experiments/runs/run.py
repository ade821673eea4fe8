"""The life of a run: it starts or resumes, logs, saves and ends."""

from typing import Any

import keras

import dlrt
from dlrt_names.log_schema import EPOCH, PHASE
from experiments.cli.settings import verbosity
from experiments.runs import checkpoints, folders, run_callbacks
from experiments.runs.checkpoints import State
from experiments.runs.folders import Folder
from experiments.runs.phases import Phase
from experiments.runs.results import Row
from experiments.runs.task import Task

_TRUNCATION = "truncation_schedule"


class Run:
    """A run that has been set up: claimed folder, open log, network in memory.

    Args:
        task: What is trained.

    Raises:
        ValueError: If the data or the run to continue don't fit the settings.
        OSError: If a file can't be written.

    Attributes:
        folder: The folder of the run.
        log: Its log.
        model: Its network.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        found = folders.find(task.settings) if task.settings.resume else None
        if found is not None:
            self._continue(found)
        elif task.settings.resume:
            raise folders.missing(task.settings)
        else:
            self._begin()

    def _begin(self) -> None:
        self.task.prepare(None, {})
        model = self.task.build()
        self.folder = folders.create(self.task.settings)
        with folders.remove_if_unusable(self.folder):
            self._open_log()
            self._start(model)

    def _continue(self, folder: Folder) -> None:
        task = self.task
        stored = folders.read_configuration(folder, task.settings, task.lengths)
        task.prepare(folder, stored)
        self.folder = folder
        self._open_log()
        checkpoints.remove_leftovers(folder.directory)
        saved = checkpoints.load_to_continue(folder.last, self.log.rows)
        if saved is None:
            self._start(task.build())
            return
        self.model, self._state = saved
        optimizer = self.model.optimizer
        task.compile(self.model, self.phase)
        checkpoints.copy_state(optimizer, self.model.optimizer)

    def _open_log(self) -> None:
        task = self.task
        configuration = task.configuration()
        schedule = task.phases[0].truncation(len(task.batches))
        if schedule is not None:
            configuration[_TRUNCATION] = schedule
        self.log = run_callbacks.RunLog(
            self.folder.workbook(task.settings.network),
            configuration,
            resume=task.settings.resume,
            changeable=(*task.lengths, *task.changeable, _TRUNCATION),
            dense_parameters=task.dense_parameters,
        )
        self.log.open()

    def _start(self, model: keras.Model) -> None:
        self.model = model
        self._state = State(0, 0, 0, checkpoints.capacities(model))
        self.task.compile(model, self.phase)
        self.task.save_inputs(self.folder.directory)
        checkpoints.save(model, self.folder.last, self._state)

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self.task.phases[self._state.phase]

    @property
    def first_selected_epoch(self) -> int:
        """The first epoch of the current phase whose model may be the best."""
        return self._state.phase_start + self.task.first_selected_epoch(self.phase)

    def train(self) -> None:
        """Trains until the run is finished.

        Raises:
            NonFiniteLoss: If the loss or a weight becomes NaN or infinite.
            OSError: If a file can't be written.
        """
        if not self.log.rows:
            self.task.log_start(self)
        if self.task.trains:
            finished = self._train_phase()
            while not self.phase.last:
                self._enter_next_phase(finished)
                finished = self._train_phase()
        self.task.finish(self)

    def _train_phase(self) -> int:
        """Finishes a phase; returns the number of finished epochs."""
        task, state, phase = self.task, self._state, self.phase
        self.log.phase = phase.name
        self.log.with_singular_values = phase.adaptive and task.logs_singular_values
        end = state.phase_start + phase.epochs
        rows = [row for row in self._rows_of_phase() if row[EPOCH] <= state.epoch]
        if state.epoch >= end or task.is_over(phase, rows):
            return state.epoch
        history = self.model.fit(
            task.batches.for_fit(),
            epochs=end,
            initial_epoch=state.epoch,
            # The batches are shuffled already; Keras would shuffle them again.
            shuffle=False,
            verbose=verbosity(task.settings),
            callbacks=self._callbacks(),
            **task.validation,
        )
        return state.epoch + len(history.epoch)

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        """The callbacks of the current phase.

        Those before the log add to it; those after it read it.
        """
        task, phase, folder = self.task, self.phase, self.folder
        lines = run_callbacks.StepLines(verbosity(task.settings))

        def stop_when_over(epoch: int, logs: Any) -> None:
            if task.is_over(phase, self._rows_of_phase()):
                self.model.stop_training = True

        return [
            task.batches.follow(),
            run_callbacks.SeedDropout(task.settings.seed),
            run_callbacks.StopAtNonFinite(),
            lines,
            *task.callbacks(self, lines.say),
            self.log,
            run_callbacks.Checkpoint(
                folder.last,
                folder.best if phase.last else folder.best_adaptive,
                self.log,
                task.score,
                self._state,
                self.first_selected_epoch,
            ),
            keras.callbacks.LambdaCallback(on_epoch_end=stop_when_over),
        ]

    def _enter_next_phase(self, epoch: int) -> None:
        # The last `fit` has done so already, unless it was in another process.
        dlrt.compact(self.model)
        room = checkpoints.capacities(self.model)
        self._state = State(epoch, self._state.phase + 1, epoch, room)
        self.task.compile(self.model, self.phase)

    def _rows_of_phase(self) -> list[Row]:
        name = self.phase.name
        return [row for row in self.log.rows if row.get(PHASE, "") == name]
