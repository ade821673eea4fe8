"""The runs that evolve widths: the network, and how it is trained."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import Input, Sequential, layers

import dlrt
from dlrt_names.log_schema import EPOCH, TRAINED_PARAMETERS, WIDTH
from experiments.cli.checks import require
from experiments.cli.settings import verbosity
from experiments.images.evolution_config import Config
from experiments.runs import scoring
from experiments.runs.classification import Classification
from experiments.runs.folders import Folder
from experiments.runs.image_data import Data
from experiments.runs.phases import Phase
from experiments.runs.run import Run

# Widths of the two convolutions and the dense layer: at the start, and the least.
_WIDTHS = 20, 50, 500
_MIN_WIDTH = 2


class Evolution(Classification):
    """A convolutional network that finds its widths.

    Args:
        settings: The settings, with the data set's real name.
        data: The images.
    """

    settings: Config
    lengths = ()
    # The last model is the smallest, and the one that is wanted.
    score = None

    def __init__(self, settings: Config, data: Data) -> None:
        super().__init__(settings, data)
        self.title = f"evolve on {data.name}"

    def prepare(self, folder: Folder | None, stored: Mapping[str, Any]) -> None:
        """Raises `ValueError` if even the smallest network takes too much memory."""
        config = self.settings
        if config.max_memory is None:
            return
        model = build(self.data.num_classes, (_MIN_WIDTH,) * len(_WIDTHS))
        self.compile(model, config.phases[0])
        model.optimizer.build(model.trainable_variables)
        least = dlrt.evolution.training_memory(model, config.batch_size).total
        allowed = f"be at least {least}, with --batch-size {config.batch_size}"
        require(config.max_memory >= least, config, "max_memory", allowed)

    def build(self) -> keras.Model:
        keras.utils.set_random_seed(self.settings.seed)
        return build(self.data.num_classes)

    def compile(self, model: keras.Model, phase: Phase) -> None:
        steps = phase.epochs * len(self.batches)
        rate = keras.optimizers.schedules.CosineDecay(
            self.settings.learning_rate, steps
        )
        optimizer = keras.optimizers.Adam(rate)
        # Without slots its first step would be traced twice.
        optimizer.build(model.trainable_variables)
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )

    def configuration(self) -> dict[str, Any]:
        return self.settings.record()

    def callbacks(
        self, run: Run, say: Callable[[str], object]
    ) -> list[keras.callbacks.Callback]:
        config = self.settings
        evolve = dlrt.callbacks.Evolve(
            self.data.train[0][: config.samples],
            threshold=config.threshold,
            max_parameters=config.max_parameters,
            max_memory=config.max_memory,
            training_batch_size=config.batch_size,
            min_width=_MIN_WIDTH,
            stop=config.stop,
            verbose=int(verbosity(config) > 0),
        )
        return [evolve, scoring.TestEvaluation(self.data.test)]

    def summary(self, run: Run) -> list[str]:
        rows = run.log.rows
        first, last = rows[0], rows[-1]
        names = [name for name in last if name.startswith(WIDTH)]
        facts = {
            "parameters": f"{first[TRAINED_PARAMETERS]:,} at the start, "
            f"{run.model.count_params():,} at the end"
        }
        if "memory" in last:
            facts["memory"] = (
                f"{first['memory'] / 1e6:.1f} MB at the start, "
                f"{last['memory'] / 1e6:.1f} MB at the end"
            )
        facts |= {
            "widths": ", ".join(
                f"{name.removeprefix(WIDTH)} {first[name]} to {last[name]}"
                for name in names
            ),
            "accuracy": f"{last['val_accuracy']:.2%} validation, "
            f"{last['test_accuracy']:.2%} test, after epoch {last[EPOCH]}",
            "seconds": f"{sum(row['seconds'] for row in rows):.0f}",
        }
        return [*(f"{name + ':':<12} {text}" for name, text in facts.items()), ""]


def build(num_classes: int, widths: tuple[int, ...] | None = None) -> keras.Model:
    """LeNet-5 without cropping, in the widths of Caffe unless others are given."""
    first, second, dense = widths or _WIDTHS
    return Sequential(
        [
            Input((28, 28, 1)),
            layers.Conv2D(first, 5, padding="same", activation="relu", name="conv_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(second, 5, padding="same", activation="relu", name="conv_2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(dense, activation="relu", name="dense"),
            layers.Dense(num_classes, name="classes"),
        ]
    )
