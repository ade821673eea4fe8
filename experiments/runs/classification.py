"""Runs of networks that classify images or words."""

import time
from collections.abc import Callable
from typing import Any

import keras

import dlrt
from experiments.runs import scoring, summary
from experiments.runs.finite import require_finite
from experiments.runs.image_data import Data, ShuffledBatches
from experiments.runs.phases import Phase
from experiments.runs.results import IMAGES, Row
from experiments.runs.run import Run
from experiments.runs.task import Task


class Classification(Task):
    """A network that classifies, and is selected by its scores in validation.

    Args:
        settings: The settings of the run, with the data set's real name.
        data: Its data.
    """

    results = IMAGES

    def __init__(self, settings: Any, data: Data) -> None:
        super().__init__(settings)
        self.data = data
        self.batches = self._make_batches()

    @property
    def score(self) -> Callable[[Row], float] | None:
        return self.results.score

    def _make_batches(self) -> ShuffledBatches:
        settings = self.settings
        return ShuffledBatches(*self.data.train, settings.batch_size, settings.seed)

    def configuration(self) -> dict[str, Any]:
        counts = self.data.counts(self.results.examples)
        return super().configuration() | counts | self.data.facts

    @property
    def validation(self) -> dict[str, Any]:
        return {
            "validation_data": self.data.val,
            "validation_batch_size": self.data.evaluation_batch,
        }

    def callbacks(
        self, run: Run, say: Callable[[str], object]
    ) -> list[keras.callbacks.Callback]:
        return [
            scoring.TestEvaluation(self.data.test, self.data.evaluation_batch),
            dlrt.callbacks.RankLog(self.dense_parameters),
        ]

    def first_selected_epoch(self, phase: Phase) -> int:
        return phase.first_selected_epoch(len(self.batches))

    def log_untrained(self, run: Run, phase: str) -> None:
        """Writes a row for the network before the first epoch."""
        start, data = time.perf_counter(), self.data
        logs: dict[str, float] = {}
        for part, prefix in (data.train, ""), (data.val, "val_"), (data.test, "test_"):
            logs |= scoring.evaluate(run.model, part, prefix, data.evaluation_batch)
        require_finite(logs, 0, 0)
        run.log.phase = phase
        run.log.append(0, time.perf_counter() - start, logs, run.model)

    def summary(self, run: Run) -> list[str]:
        return [*summary.lines(run, self.results), ""]
