"""One run of a network from its settings to its last epoch."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

import dlrt
from experiments.cli.settings import verbosity
from experiments.images import networks
from experiments.images.batches import AugmentedBatches
from experiments.images.config import Config
from experiments.mnist.network import steps_per_execution
from experiments.runs import (
    checkpoints,
    folders,
    image_data,
    optimizers,
    run_callbacks,
    scoring,
    truncation,
)
from experiments.runs.finite import require_finite
from experiments.runs.folders import Run
from experiments.runs.image_data import Data, ShuffledBatches
from experiments.words import network, text

# What a continued run may change: how long it goes on.
_EPOCHS = "epochs"
_TRUNCATION = "truncation_schedule"


def load(config: Config) -> Data:
    """Loads and splits the data set of a run; says so where it is another one.

    Raises:
        ValueError: If a file of the data set or a setting is wrong.
        OSError: If the data set can't be had.
    """
    if config.reads_text:
        return text.load(config.dataset, config.vocabulary, config.dataset_size)
    return image_data.prepare(
        config.dataset,
        config.val_size,
        config.seed,
        config.dataset_size,
        flat=False,
        image_size=config.image_size,
    )


def build(config: Config, data: Data) -> keras.Model:
    """The network at the start of a run.

    Raises:
        ValueError: If the settings don't fit the network.
    """
    if config.reads_text:
        keras.utils.set_random_seed(config.seed)
        return network.build(data.num_classes, weight_decay=config.weight_decay)
    shape = data.train[0].shape[1:]
    make = partial(
        networks.build,
        config.architecture,
        shape,
        data.num_classes,
        weight_decay=config.weight_decay,
    )
    keras.utils.set_random_seed(config.seed)
    dense = make()
    if config.ranks is None:
        return dense
    ranks = _ranks_of(config, networks.full_ranks(dense))
    keras.utils.set_random_seed(config.seed)
    return make(ranks=ranks)


def metrics(config: Config) -> list[Any]:
    """What is measured besides the loss, in which penalties on weights may be."""
    if not config.reads_text:
        return ["accuracy"]
    crossentropy = keras.metrics.SparseCategoricalCrossentropy(
        from_logits=True, name="crossentropy"
    )
    return ["accuracy", crossentropy]


class Training:
    """A run that has been set up: claimed folder, open log, network in memory.

    Args:
        config: The settings, with the data set's real name.
        data: The images, or the words.
        start: Makes the network of a new run. Defaults to `build`.
        dense_parameters: Parameters of the dense network that it was made from.

    Raises:
        ValueError: If the settings or the run to continue don't fit the network.
        OSError: If the log can't be written.
    """

    def __init__(
        self,
        config: Config,
        data: Data,
        start: Callable[[], keras.Model] | None = None,
        dense_parameters: int | None = None,
    ) -> None:
        self.config = config
        self._dense_parameters = dense_parameters
        self.data = data
        self._build = start or partial(build, config, data)
        coloured = not config.reads_text and data.train[0].shape[-1] == 3
        augment = coloured if config.augment is None else config.augment
        batches = AugmentedBatches if augment else ShuffledBatches
        self._batches = batches(*data.train, config.batch_size, config.seed)
        run = folders.find(config) if config.resume else None
        if run is not None:
            self._continue(run)
        elif config.resume:
            raise folders.missing(config)
        else:
            self._begin()

    def _begin(self) -> None:
        model = self._build()
        self.run = folders.create(self.config)
        with folders.removed_if_unusable(self.run):
            self.log = self._open_log()
            self._start_at_zero(model)

    def _continue(self, run: Run) -> None:
        self.run = run
        folders.stored_configuration(run, self.config, [_EPOCHS])
        self.log = self._open_log()
        checkpoints.remove_leftovers(run.directory)
        saved = checkpoints.to_continue(run.last, self.log.rows)
        if saved is None:
            self._start_at_zero(self._build())
            return
        self.model, state = saved
        self._epoch = state.epoch
        optimizer = self.model.optimizer
        self._compile()
        checkpoints.copy_state(optimizer, self.model.optimizer)

    def _open_log(self) -> run_callbacks.RunLog:
        log = run_callbacks.RunLog(
            self.run.workbook(self.config.network),
            self._configuration(),
            resume=self.config.resume,
            changeable=(_EPOCHS, _TRUNCATION),
            dense_parameters=self._dense_parameters,
        )
        log.phase, log.adaptive = self.config.kind, self.config.adaptive
        log.open()
        return log

    def _configuration(self) -> dict[str, Any]:
        sizes = {
            f"{part}_{self.config.task.examples}": len(getattr(self.data, part)[0])
            for part in ("train", "val", "test")
        }
        configuration = self.config.record() | sizes | self.data.facts
        if self.config.adaptive:
            configuration[_TRUNCATION] = self._schedule
        return configuration

    @property
    def _schedule(self) -> dict[str, int | None]:
        return truncation.schedule(self.config.epochs, len(self._batches))

    @property
    def first_selected_epoch(self) -> int:
        """The first epoch whose model may be the best."""
        if not self.config.adaptive:
            return 1
        return truncation.first_selected_epoch(self.config.epochs, len(self._batches))

    def _start_at_zero(self, model: keras.Model) -> None:
        if isinstance(self.data, text.WordData):
            self.data.vocabulary.save(self.run.directory)
        self.model = model
        self._epoch = 0
        self._compile()
        state = checkpoints.State(0, 0, 0, checkpoints.capacities(model))
        checkpoints.save(model, self.run.last, state)

    def _compile(self) -> None:
        config, steps = self.config, len(self._batches)
        optimizer = optimizers.low_rank(
            _optimizer(config, config.epochs * steps),
            config,
            self._schedule if config.adaptive else None,
        )
        optimizer.build(self.model.trainable_variables)
        self.model.compile(
            optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=metrics(config),
            steps_per_execution=steps_per_execution(steps),
        )

    def log_start(self, phase: str) -> None:
        """Writes a row for the network before the first epoch."""
        start = time.perf_counter()
        logs: dict[str, float] = {}
        for prefix in ("", "val_", "test_"):
            part = getattr(self.data, prefix.removesuffix("_") or "train")
            logs |= scoring.evaluate(
                self.model, part, prefix, self.data.evaluation_batch
            )
        require_finite(logs, 0, 0)
        self.log.phase = phase
        self.log.append(0, time.perf_counter() - start, logs, self.model)
        self.log.phase = self.config.kind

    def train(self) -> None:
        """Runs what is left of the run.

        Raises:
            NonFiniteLoss: If loss or weights stop being numbers.
        """
        if self._epoch >= self.config.epochs:
            return
        evaluation_batch = self.data.evaluation_batch
        self.model.fit(
            self._batches.for_fit(),
            epochs=self.config.epochs,
            initial_epoch=self._epoch,
            validation_data=self.data.val,
            validation_batch_size=evaluation_batch,
            # The data set shuffles by itself; Keras would shuffle its batches.
            shuffle=False,
            verbose=verbosity(self.config),
            callbacks=[
                self._batches.follow(),
                run_callbacks.SeedDropout(self.config.seed),
                run_callbacks.StopAtNonFinite(),
                run_callbacks.StepLines(verbosity(self.config)),
                scoring.TestEvaluation(self.data.test, evaluation_batch),
                dlrt.callbacks.RankLog(self._dense_parameters),
                self.log,
                run_callbacks.Checkpoint(
                    self.run.last,
                    self.run.best,
                    self.log,
                    self.config.task.score,
                    first_epoch=self.first_selected_epoch,
                ),
            ],
        )


def _optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=config.momentum)
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(rate)
    return keras.optimizers.Adam(rate)


def _ranks_of(config: Config, full: dict[str, int]) -> dict[str, int]:
    """The rank of each layer, by name.

    Raises:
        ValueError: If there are others than one or one for each.
    """
    ranks = config.ranks or ()
    if len(ranks) not in (1, len(full)):
        raise ValueError(
            f"`--ranks` must be one number, or {len(full)} for the layers "
            f"{', '.join(full)}. Received: --ranks {','.join(map(str, ranks))}"
        )
    bound = config.max_rank or max(full.values())
    each = ranks * len(full) if len(ranks) == 1 else ranks
    return {
        name: min(rank, limit, bound)
        for rank, (name, limit) in zip(each, full.items(), strict=True)
    }
