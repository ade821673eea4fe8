"""The transformer runs: what is trained in them, and how it is scored."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras

from dlrt.datasets import Corpus
from dlrt_names.log_schema import BLEU, CHRF, EPOCH, SPEED, TRAINING_SECONDS
from experiments.cli.checks import MOST_WEIGHTS, option
from experiments.cli.settings import verbosity
from experiments.runs import optimizers, results, run_callbacks, saved_files, summary
from experiments.runs.folders import Folder
from experiments.runs.phases import Phase
from experiments.runs.results import Row
from experiments.runs.run import Run
from experiments.runs.task import Task
from experiments.translation import callbacks, network, text, warm_up
from experiments.translation.batches import EvaluationBatches, TrainingBatches
from experiments.translation.config import (
    Config,
    default_vocab_size,
    default_warm_up_steps,
)
from experiments.translation.decoding import Translator
from experiments.translation.saved import load_translation, save_translation
from experiments.translation.tokenizers import train_vocabularies

_WARM_UP = "warm_up_steps"


class Translation(Task):
    """A transformer that translates a corpus, whose real name the settings have."""

    settings: Config
    batches: TrainingBatches
    # When a run ends, what it is scored by, and the folder of the text.
    changeable = ("minutes", "score_interval", "beams", "corpus_source")
    rate = "--learning-rate-factor"
    logs_singular_values = False

    def __init__(self, settings: Config, corpus: Corpus) -> None:
        if settings.vocab_size is None:
            settings = replace(settings, vocab_size=default_vocab_size(corpus.name))
        super().__init__(settings)
        self._corpus = corpus
        self.title = f"{settings.subcommand} on {corpus.name}"

    def prepare(self, folder: Folder | None, stored: Mapping[str, Any]) -> None:
        """Encodes the text, and settles what depends on the number of batches."""
        config = self.settings
        if folder is not None and folder.last.exists():
            vocabularies, _ = load_translation(folder.directory)
        else:
            vocabularies = train_vocabularies(self._corpus.train, config.vocab_size)
        train, validation = (
            text.encode_pairs(pairs, vocabularies, config.max_length)
            for pairs in (self._corpus.train, self._corpus.validation)
        )
        self._text = text.Text(self._corpus, vocabularies, train, validation)
        self.batches = TrainingBatches(
            self._text.train,
            config.seed,
            batch_size=config.batch_size,
            batch_tokens=config.batch_tokens,
            steps_per_epoch=config.steps_per_epoch,
        )
        self._check_memory()
        if config.warm_up_steps is None:
            # More epochs must not change the rate of past ones.
            steps = config.epochs * len(self.batches)
            warm_up_steps = stored.get(_WARM_UP) or default_warm_up_steps(steps)
            self.settings = replace(config, warm_up_steps=warm_up_steps)

    def _check_memory(self) -> None:
        config, size = self.settings, self._text.vocabularies.target.size
        largest = max(count * width for count, width in self.batches.shapes)
        if largest * size > MOST_WEIGHTS:
            name = "batch_size" if config.batch_tokens is None else "batch_tokens"
            raise ValueError(
                f"`{option(name)}` must be smaller: a batch would have "
                f"{largest * size:,} scores, {largest:,} tokens with {size:,} each, "
                f"and may have {MOST_WEIGHTS:,}. Received: {option(name)} "
                f"{getattr(config, name)}"
            )

    def build(self) -> keras.Model:
        vocabularies, settings = self._text.vocabularies, vars(self.settings)
        keras.utils.set_random_seed(self.settings.seed)
        names = {field.name for field in fields(network.Architecture)}
        sizes = {name: settings[name] for name in names & settings.keys()}
        return network.build(
            network.Architecture(
                source_size=vocabularies.source.size,
                target_size=vocabularies.target.size,
                **sizes,
            )
        )

    def compile(self, model: keras.Model, phase: Phase) -> None:
        """Compiles the network for training.

        Loss and accuracy leave padding out: its weight is 0, that of other tokens 1.
        The loss of an epoch is a mean over its batches.
        """
        rate = warm_up.learning_rate(self.settings)
        optimizer = optimizers.low_rank(
            keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.98, epsilon=1e-9),
            self.settings,
            phase.truncation(len(self.batches)),
        )
        optimizer.build(model.trainable_variables)
        model.compile(
            optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            ),
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )

    def configuration(self) -> dict[str, Any]:
        counts = {
            "steps_per_epoch": len(self.batches),
            **self.batches.padding(),
            "batch_shapes": len(self.batches.shapes),
        }
        return super().configuration() | self._text.facts | counts

    def save_inputs(self, directory: Path) -> None:
        vocabularies, max_length = self._text.vocabularies, self.settings.max_length
        save_translation(directory, vocabularies, max_length)

    @property
    def validation(self) -> dict[str, Any]:
        batches = EvaluationBatches(self._text.validation)
        return {"validation_data": batches.for_fit()}

    def callbacks(
        self, run: Run, say: Callable[[str], object]
    ) -> list[keras.callbacks.Callback]:
        def is_last(epoch: int, row: Row) -> bool:
            rows = [*run.log.rows, row]
            return epoch == run.phase.epochs or self.is_over(run.phase, rows)

        translations = callbacks.Translations(
            run.log,
            self._make_translator,
            callbacks.choose_sample(self._corpus.validation),
            self._corpus.test,
            self.settings.score_interval,
            is_last,
            say,
        )
        return [callbacks.Speed(self.batches), translations]

    def is_over(self, phase: Phase, rows: Sequence[Row]) -> bool:
        minutes = self.settings.minutes
        if minutes is None:
            return False
        return sum(row[TRAINING_SECONDS] for row in rows) >= 60 * minutes

    def score(self, row: Row) -> float:
        return -row["val_loss"]

    def finish(self, run: Run) -> None:
        """Scores the best model on the test set, for `scores.json`."""
        best, beams = self._best_row(run), self.settings.beams
        scores = {name: best.get(name) for name in (BLEU, CHRF)}
        if beams > 1 or None in scores.values():
            model = keras.saving.load_model(run.folder.best)
            test = self._corpus.test
            lines = run_callbacks.StepLines(verbosity(self.settings))
            lines.say(f"translating {len(test)} test sentences, {beams} beams")
            translations = self._make_translator(model, beams)([s for s, _ in test])
            scores = callbacks.score_translations(translations, test)
        self._scores = {"epoch": best[EPOCH], "beams": beams, **scores}
        saved_files.write_json(run.folder.directory / "scores.json", self._scores)

    def _make_translator(self, model: keras.Model, beams: int = 1) -> Translator:
        return Translator(
            model,
            self._text.vocabularies,
            max_length=self.settings.max_length,
            beams=beams,
        )

    def _best_row(self, run: Run) -> Row:
        best = results.best_row(run.log.rows, self.score)
        if best is None:
            raise ValueError(f"the log must have rows. Received: {run.log.path}")
        return best

    def summary(self, run: Run) -> list[str]:
        row, scores, beams = self._best_row(run), self._scores, self.settings.beams
        train, validation = self._text.train, self._text.validation
        left_out = train.left_out + validation.left_out
        search = "greedily" if beams == 1 else f"with {beams} beams"
        facts = {
            "corpus": f"{self._corpus.name} ({len(train)} training, {len(validation)} "
            f"validation, {len(self._corpus.test)} test pairs; {left_out} left out as "
            "too long)",
            "best epoch": f"{row[EPOCH]} of {run.log.rows[-1][EPOCH]}, by "
            "validation loss",
            "at that epoch": f"validation loss {row['val_loss']:.4f}, "
            f"validation accuracy {100 * row['val_accuracy']:.2f} %",
            "test": f"BLEU {scores[BLEU]:.2f}, chrF {scores[CHRF]:.2f}, {search}",
        }
        ranks = results.ranks(row)
        if ranks:
            facts["ranks"] = f"{min(ranks)} to {max(ranks)}"
        facts |= summary.sizes(row)
        # The first epoch compiles.
        speed = statistics.median_high(r[SPEED] for r in run.log.rows)
        facts["speed"] = f"{speed:,.0f} target tokens a second"
        return [*summary.table(facts | summary.places(run)), ""]
