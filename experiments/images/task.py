"""The image runs, and those of the language model: what is trained in them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras

from experiments.images import networks
from experiments.images.batches import AugmentedBatches
from experiments.images.config import Config
from experiments.runs import image_data, optimizers
from experiments.runs.classification import Classification
from experiments.runs.image_data import Data, ShuffledBatches
from experiments.runs.phases import Phase
from experiments.words import network, text


def load(config: Config) -> Data:
    """Loads and splits the data set of a run; prints if it is not the requested one.

    Raises:
        ValueError: If a file of the data set or a setting is wrong.
        OSError: If the data set can't be had.
    """
    if config.reads_text:
        return text.load(config.dataset, config.vocabulary, config.dataset_size)
    return image_data.load(
        config.dataset,
        config.val_size,
        config.seed,
        config.dataset_size,
        flat=False,
        image_size=config.image_size,
    )


def metrics(config: Config) -> list[Any]:
    """The metrics besides the loss, which may include penalties on weights."""
    if not config.reads_text:
        return ["accuracy"]
    crossentropy = keras.metrics.SparseCategoricalCrossentropy(
        from_logits=True, name="crossentropy"
    )
    return ["accuracy", crossentropy]


class Images(Classification):
    """A network on images or on words.

    Args:
        settings: The settings, with the data set's real name.
        data: The images, or the words.
        start: Makes the network at the start. Defaults to that of the settings.
        title: The start of the title.
    """

    settings: Config

    def __init__(
        self,
        settings: Config,
        data: Data,
        start: Callable[[], keras.Model] | None = None,
        title: str = "",
    ) -> None:
        self.results = settings.results
        super().__init__(settings, data)
        self._start = start
        self.title = f"{title}{settings.subcommand} on {data.name}"

    def _make_batches(self) -> ShuffledBatches:
        settings, data = self.settings, self.data
        coloured = not settings.reads_text and data.train[0].shape[-1] == 3
        augment = coloured if settings.augment is None else settings.augment
        batches = AugmentedBatches if augment else ShuffledBatches
        return batches(*data.train, settings.batch_size, settings.seed)

    def build(self) -> keras.Model:
        if self._start is not None:
            return self._start()
        config, data = self.settings, self.data
        keras.utils.set_random_seed(config.seed)
        if config.reads_text:
            return network.build(data.num_classes, weight_decay=config.weight_decay)
        make = partial(
            networks.build,
            config.architecture,
            data.train[0].shape[1:],
            data.num_classes,
            weight_decay=config.weight_decay,
        )
        dense = make()
        if config.ranks is None:
            return dense
        ranks = _ranks_of(config, networks.full_ranks(dense))
        keras.utils.set_random_seed(config.seed)
        return make(ranks=ranks)

    def compile(self, model: keras.Model, phase: Phase) -> None:
        optimizers.compile_classifier(
            model,
            self.settings,
            phase,
            len(self.batches),
            momentum=self.settings.momentum,
            metrics=metrics(self.settings),
        )

    def save_inputs(self, directory: Path) -> None:
        if isinstance(self.data, text.WordData):
            self.data.vocabulary.save(directory)


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
