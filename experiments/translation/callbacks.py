"""The callbacks of a transformer's run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from dlrt.datasets import SentencePair
from dlrt_names import log_schema
from experiments.runs.results import Row
from experiments.runs.run_callbacks import RunLog
from experiments.translation.batches import PaddedBatches
from experiments.translation.text import score

Translate = Callable[[Sequence[str]], list[str]]


class Speed(keras.callbacks.Callback):
    """Adds to the logs the time of training, and target tokens a second, unpadded."""

    def __init__(self, batches: PaddedBatches) -> None:
        super().__init__()
        self._batches = batches
        self._start = 0.0
        self._seconds: float | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._seconds = None
        self._start = time.perf_counter()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        # Validation follows on the last step.
        if self._seconds is None:
            self._seconds = time.perf_counter() - self._start

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None or self._seconds is None:
            return
        weights = (self._batches[index][2] for index in range(len(self._batches)))
        tokens = sum(int(part.sum()) for part in weights)
        logs[log_schema.TRAINING_SECONDS] = round(self._seconds, 3)
        logs[log_schema.SPEED] = tokens / self._seconds


@dataclass(eq=False)
class Translations(keras.callbacks.Callback):
    """Translates: a sample after every epoch, and the test set after some.

    The sample goes to a sheet of the log, which must stand after this callback, BLEU
    and chrF of the test set to the logs.

    Args:
        translator: Makes a translator for a model, valid while its variables are not
            replaced.
        interval: Epochs from one scoring to the next; 0 for one at the end only.
        is_last: Whether an epoch, counted from 1, is the last one, as its row tells.
        say: Prints a line on long operations.
    """

    log: RunLog
    translator: Callable[[keras.Model], Translate]
    sample: Sequence[SentencePair]
    test: Sequence[SentencePair]
    interval: int
    is_last: Callable[[int, Row], bool]
    say: Callable[[str], object]

    def __post_init__(self) -> None:
        super().__init__()
        self._variables: list[keras.Variable] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        start = time.perf_counter()
        logs = {} if logs is None else logs
        translations = self._translate(self.sample)
        pairs = zip(self.sample, translations, strict=True)
        rows = [
            {"source": source, "reference": target, "translation": translation}
            for (source, target), translation in pairs
        ]
        self.log.add_rows(log_schema.TRANSLATIONS, rows)
        due = self.interval and (epoch + 1) % self.interval == 0
        if due or self.is_last(epoch + 1, logs):
            self.say(f"translating {len(self.test)} test sentences")
            logs.update(score_translations(self._translate(self.test), self.test))
        logs[log_schema.SCORING_SECONDS] = round(time.perf_counter() - start, 3)

    def _translate(self, pairs: Sequence[SentencePair]) -> list[str]:
        # Variables are replaced when capacities follow adapted ranks.
        variables = self.model.variables
        if list(map(id, variables)) != list(map(id, self._variables)):
            self._compiled = self.translator(self.model)
            self._variables = variables
        return self._compiled([pair.source for pair in pairs])


def score_translations(
    translations: Sequence[str], pairs: Sequence[SentencePair]
) -> dict[str, float]:
    scores = score(translations, [pair.target for pair in pairs])
    return {log_schema.BLEU: scores.bleu, log_schema.CHRF: scores.chrf}


def choose_sample(pairs: Sequence[SentencePair], size: int = 8) -> list[SentencePair]:
    """Some of the pairs, from everywhere in the list: the same at every call."""
    size = min(size, len(pairs))
    return [pairs[index * len(pairs) // size] for index in range(size)]
