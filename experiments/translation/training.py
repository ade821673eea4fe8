"""One run of a transformer from its settings to its last epoch."""

import json
from dataclasses import replace
from typing import Any

import keras

from dlrt.datasets import Corpus
from dlrt.history import atomic_file
from experiments.cli.checks import MOST_WEIGHTS, option
from experiments.cli.settings import verbosity
from experiments.runs import checkpoints, folders, run_callbacks, selection, truncation
from experiments.runs.folders import Run
from experiments.translation import callbacks, network, text
from experiments.translation.batches import EvaluationBatches, TrainingBatches
from experiments.translation.compiling import compile_model
from experiments.translation.config import (
    Config,
    default_vocab_size,
    default_warm_up_steps,
)
from experiments.translation.decoding import Translator
from experiments.translation.saved import load_translation, save_translation
from experiments.translation.tokenizers import Vocabularies, train_vocabularies

# What a continued run may change: when it ends, what it is scored by, and the folder
# of the text.
_EPOCHS = "epochs"
_CHANGEABLE = ("minutes", "score_interval", "beams", "corpus_source")
_TRUNCATION = "truncation_schedule"
_WARM_UP = "warm_up_steps"


class Training:
    """A run that has been set up: claimed folder, open log, network in memory.

    Args:
        config: The settings, with the corpus's real name.
        corpus: The sentences.

    Raises:
        ValueError: If the corpus or the run to continue don't fit the settings.
        OSError: If a file can't be written.
    """

    def __init__(self, config: Config, corpus: Corpus) -> None:
        if config.vocab_size is None:
            config = replace(config, vocab_size=default_vocab_size(corpus.name))
        self.config = config
        run = folders.find(config) if config.resume else None
        if run is not None:
            self._continue(run, corpus)
        elif config.resume:
            raise folders.missing(config)
        else:
            self._begin(corpus)

    def _begin(self, corpus: Corpus) -> None:
        self._prepare(corpus, self._new_vocabularies(corpus), stored={})
        self.run = folders.create(self.config)
        with folders.removed_if_unusable(self.run):
            self.log = self._open_log()
            self._start_at_zero()

    def _continue(self, run: Run, corpus: Corpus) -> None:
        self.run = run
        stored = folders.stored_configuration(run, self.config, [_EPOCHS])
        vocabularies = (
            load_translation(run.directory)[0]
            if run.last.exists()
            else self._new_vocabularies(corpus)
        )
        self._prepare(corpus, vocabularies, stored)
        self.log = self._open_log()
        checkpoints.remove_leftovers(run.directory)
        saved = checkpoints.to_continue(run.last, self.log.rows)
        if saved is None:
            self._start_at_zero()
            return
        self.model, state = saved
        self._epoch = state.epoch
        optimizer = self.model.optimizer
        self._compile()
        checkpoints.copy_state(optimizer, self.model.optimizer)

    def _new_vocabularies(self, corpus: Corpus) -> Vocabularies:
        return train_vocabularies(corpus.train, self.config.vocab_size)

    def _prepare(
        self, corpus: Corpus, vocabularies: Vocabularies, stored: dict[str, Any]
    ) -> None:
        """Encodes the text, and settles what depends on the number of batches."""
        config = self.config
        self.text = text.encode(corpus, vocabularies, config.max_length)
        self._batches = TrainingBatches(
            self.text.train,
            config.seed,
            batch_size=config.batch_size,
            batch_tokens=config.batch_tokens,
            steps_per_epoch=config.steps_per_epoch,
        )
        largest = max(count * width for count, width in self._batches.shapes)
        scores = largest * vocabularies.target.size
        if scores > MOST_WEIGHTS:
            size = "batch_size" if config.batch_tokens is None else "batch_tokens"
            raise ValueError(
                f"`{option(size)}` must be smaller: a batch would have {scores:,} "
                f"scores, {largest:,} tokens with {vocabularies.target.size:,} each, "
                f"and may have {MOST_WEIGHTS:,}. Received: {option(size)} "
                f"{getattr(config, size)}"
            )
        if config.warm_up_steps is None:
            # More epochs must not change the rate of those that have been.
            steps = config.epochs * len(self._batches)
            warm_up_steps = stored.get(_WARM_UP) or default_warm_up_steps(steps)
            self.config = replace(config, warm_up_steps=warm_up_steps)

    def _open_log(self) -> callbacks.TranslationLog:
        log = callbacks.TranslationLog(
            self.run.workbook(self.config.network),
            self._configuration(),
            resume=self.config.resume,
            changeable=(_EPOCHS, *_CHANGEABLE, _TRUNCATION),
        )
        log.phase = self.config.kind
        log.open()
        return log

    def _configuration(self) -> dict[str, Any]:
        config, steps = self.config, len(self._batches)
        padding = self._batches.padding()
        configuration = config.record() | self.text.facts
        configuration |= {
            "steps_per_epoch": steps,
            "padding_source": padding.source,
            "padding_target": padding.target,
            "padding": padding.both,
            "batch_shapes": len(self._batches.shapes),
        }
        if config.adaptive:
            configuration[_TRUNCATION] = truncation.schedule(config.epochs, steps)
        return configuration

    def _start_at_zero(self) -> None:
        config, vocabularies = self.config, self.text.vocabularies
        keras.utils.set_random_seed(config.seed)
        self.model = network.build(
            network.Architecture(
                dim=config.dim,
                layers=config.layers,
                heads=config.heads,
                feed_forward=config.feed_forward,
                dropout=config.dropout,
                source_size=vocabularies.source.size,
                target_size=vocabularies.target.size,
                rank=config.rank,
                embedding_rank=config.embedding_rank,
                max_rank=config.max_rank,
            )
        )
        self._epoch = 0
        self._compile()
        save_translation(self.run.directory, vocabularies, config.max_length)
        state = checkpoints.State(0, 0, 0, checkpoints.capacities(self.model))
        checkpoints.save(self.model, self.run.last, state)

    def _compile(self) -> None:
        compile_model(self.model, self.config, len(self._batches))

    def _translator(self, model: keras.Model, beams: int = 1) -> Translator:
        return Translator(
            model,
            self.text.vocabularies,
            max_length=self.config.max_length,
            beams=beams,
        )

    def train(self) -> None:
        """Runs what is left of the run, then scores the best model.

        Raises:
            NonFiniteLoss: If loss or weights stop being numbers.
            OSError: If a file can't be written.
        """
        if self._epoch < self.config.epochs and not self._out_of_time():
            self._fit()
        self._score_best()

    def _out_of_time(self) -> bool:
        minutes = self.config.minutes
        rows = [row for row in self.log.rows if row["epoch"] <= self._epoch]
        return minutes is not None and (
            callbacks.training_seconds(rows) >= 60 * minutes
        )

    def _fit(self) -> None:
        config, corpus = self.config, self.text.corpus
        stop = [] if config.minutes is None else [self._stop_in_time(config.minutes)]
        lines = run_callbacks.StepLines(verbosity(config))
        self.model.fit(
            self._batches.for_fit(),
            epochs=config.epochs,
            initial_epoch=self._epoch,
            validation_data=EvaluationBatches(self.text.validation).for_fit(),
            # The data set shuffles by itself; Keras would shuffle its batches.
            shuffle=False,
            verbose=verbosity(config),
            callbacks=[
                self._batches.follow(),
                run_callbacks.SeedDropout(config.seed),
                callbacks.Speed(self._batches),
                run_callbacks.StopAtNonFinite(),
                lines,
                *stop,
                callbacks.Translations(
                    self.log,
                    self._translator,
                    callbacks.sample_of(corpus.validation),
                    corpus.test,
                    config.score_interval,
                    config.epochs,
                    lines.say,
                ),
                self.log,
                run_callbacks.Checkpoint(
                    self.run.last, self.run.best, self.log, callbacks.validation_loss
                ),
            ],
        )

    def _stop_in_time(self, minutes: float) -> keras.callbacks.Callback:
        return callbacks.StopInTime(self.log, minutes)

    @property
    def best(self) -> selection.Row:
        """The row of the best epoch in the log."""
        best = selection.best_row(self.log.rows, callbacks.validation_loss)
        if best is None:
            raise ValueError(f"the log must have rows. Received: {self.log.path}")
        return best

    def _score_best(self) -> None:
        """Scores the best model on the test set, for `scores.json`."""
        best, beams = self.best, self.config.beams
        names = (callbacks.BLEU, callbacks.CHRF)
        scores = {name: best.get(name) for name in names}
        if beams > 1 or None in scores.values():
            model = keras.saving.load_model(self.run.best)
            test = self.text.corpus.test
            lines = run_callbacks.StepLines(verbosity(self.config))
            lines.say(f"translating {len(test)} test sentences, {beams} beams")
            translations = self._translator(model, beams)([s for s, _ in test])
            scores = callbacks.test_scores(translations, test)
        self.scores = {"epoch": best["epoch"], "beams": beams, **scores}
        content = json.dumps(self.scores, indent=2) + "\n"
        atomic_file.replace(self.run.directory / "scores.json", content.encode())
