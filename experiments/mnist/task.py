"""The MNIST runs: what is trained in them, and from which start."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from experiments.mnist import network
from experiments.mnist.config import NUM_HIDDEN, Config
from experiments.runs import image_data, results
from experiments.runs.classification import Classification
from experiments.runs.folders import Folder
from experiments.runs.image_data import Data
from experiments.runs.phases import Phase
from experiments.runs.results import Row
from experiments.runs.run import Run

_DENSE_WEIGHTS = "dense_weights"


def load(config: Config) -> Data:
    """Loads and splits the data set of a run, with images as vectors.

    Raises:
        ValueError: If a file of the data set or a setting is wrong.
        OSError: If the data set can't be had.
    """
    return image_data.load(
        config.dataset, config.val_size, config.seed, config.dataset_size, config.noise
    )


class DenseLayers(Classification):
    """A network of dense or low-rank layers on MNIST and its like.

    Args:
        settings: The settings, with the data set's real name.
        data: The images.
        weights: File or folder of the weights to start from, if any.
    """

    settings: Config
    lengths = ("epochs", "fine_tune_epochs")

    def __init__(self, settings: Config, data: Data, weights: Path | None) -> None:
        super().__init__(settings, data)
        self._weights = weights
        self.title = f"{settings.subcommand} on {data.name}"
        self.trains = settings.train

    def prepare(self, folder: Folder | None, stored: Mapping[str, Any]) -> None:
        if self.settings.load_model is None and stored.get(_DENSE_WEIGHTS):
            self._weights = Path(stored[_DENSE_WEIGHTS])

    def build(self) -> keras.Model:
        return network.build(self.settings, self.data.num_classes, self._weights)

    def compile(self, model: keras.Model, phase: Phase) -> None:
        network.compile_model(model, self.settings, phase, len(self.batches))

    def configuration(self) -> dict[str, Any]:
        configuration = super().configuration() | {"hidden_layers": NUM_HIDDEN}
        if self.settings.prunes:
            weights = self._weights
            configuration[_DENSE_WEIGHTS] = None if weights is None else str(weights)
        return configuration

    def log_start(self, run: Run) -> None:
        if self.settings.prunes:
            self.log_untrained(run, "pruned")
        elif self.settings.load_model is not None:
            self.log_untrained(run, "loaded")

    def is_over(self, phase: Phase, rows: Sequence[Row]) -> bool:
        if not phase.adaptive or phase.last:
            return False
        steps = len(self.batches)
        start = (phase.truncation(steps) or {})["truncation_start"] or 0
        patience = self.settings.patience_ranks or 1
        return results.has_settled(rows, patience, start // steps + 1)
