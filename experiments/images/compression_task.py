"""The compression runs: a trained network, made smaller, trained on, measured."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

import dlrt
from dlrt_names.log_schema import LAYERS
from experiments.images import measuring, networks, task
from experiments.images.compression_config import (
    SENSITIVITY,
    CompressionConfig,
    SVDTrainingConfig,
)
from experiments.images.config import Config
from experiments.runs import folders, results, saved_files, scoring
from experiments.runs.folders import Folder
from experiments.runs.image_data import Data
from experiments.runs.log_format import TESTS
from experiments.runs.run import Run
from experiments.words.text import WordData

# The name in the log of the network before further training.
COMPRESSED = "compressed"
_OUTPUT = "output"
# The settings that an earlier run must share.
_SAME = (
    *("architecture", "dataset", "image_size", "dataset_size", "val_size", "seed"),
    *("vocabulary", "augment", "scheme", "sparsity", "orthogonality"),
)
_LATENCY_BATCH = 64


def find_newest(config: Config, data: Data) -> Folder | None:
    """The newest finished run that trains a network with these settings and words."""
    return folders.find_newest_finished(config, _SAME, data.facts)


def load_dense(path: Path, config: Config, data: Data) -> keras.Model:
    """A trained network, which fits the images or words.

    Raises:
        ValueError: If it can't be read, or is for other ones.
        OSError: If the words that it is for can't be read.
    """
    what = "`--load-model` must name a .keras file; this one"
    with saved_files.reading(path, what, "--load-model"):
        model = keras.saving.load_model(path, compile=False)
    shapes = tuple(model.input_shape[1:]), model.output_shape[-1]
    wanted = data.train[0].shape[1:], data.num_classes
    if shapes != wanted:
        raise ValueError(
            f"`--load-model` must be for {config.results.examples} of shape "
            f"{wanted[0]} in {wanted[1]} classes. Received: --load-model "
            f"{path}, for {shapes[0]} in {shapes[1]}"
        )
    if isinstance(data, WordData):
        data.vocabulary.check_model(path)
    return model


def decompose(config: SVDTrainingConfig, dense: keras.Model) -> keras.Model:
    """Makes a network that is trained as singular vectors and values."""
    return dlrt.decompose(
        dense,
        structure=config.scheme,
        orthogonality=config.orthogonality,
        sparsity=config.sparsity,
    )


class Compression(task.Images):
    """A network that is made smaller, and trained and tested as was asked.

    Args:
        settings: The settings, with the data set's real name.
        data: The images, or the words, of the dense network.
        target: The data to fine-tune on.
        dense: The trained dense network.
        trained: The network to compress: `dense`, or one trained by singular values.

    Raises:
        ValueError: If the settings don't fit the network.

    Attributes:
        report: What the compression has done.
    """

    settings: CompressionConfig

    def __init__(
        self,
        settings: CompressionConfig,
        data: Data,
        target: Data,
        dense: keras.Model,
        trained: keras.Model,
    ) -> None:
        super().__init__(settings, target)
        self._original, self._dense = data, dense
        self._tests: dict[str, dict[str, Any]] = {}
        whole = dlrt.to_dense(trained)
        transfers = settings.transfer is not None
        self._whole = _for_classes(whole, target) if transfers else whole
        self._small, self.report = self._compress()
        self.dense_parameters = self.report.parameters_before
        self.title = f"{settings.method} on {settings.network}"
        self.trains = settings.train

    def build(self) -> keras.Model:
        return self._small

    def _compress(self) -> tuple[keras.Model, dlrt.compression.Report]:
        config = self.settings
        key, amount = config.budget
        layers: Any = config.layers
        if layers is None and config.transfer is not None and key != "ranks":
            # The new last layer has not learned anything yet.
            candidates = networks.full_ranks(self._whole)
            layers = [name for name in candidates if name != _OUTPUT]
        allocation, data = config.allocation, None
        if allocation == SENSITIVITY:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            allocation = dlrt.compression.Sensitivity(loss=loss)
            count = self.data.evaluation_batch
            data = tuple(part[:count] for part in self.data.train)
        keras.utils.set_random_seed(config.seed)
        return dlrt.compress(
            self._whole,
            config.method,
            {key: amount},
            layers=layers,
            structure=config.scheme,
            allocation=allocation,
            data=data,
        )

    def log_start(self, run: Run) -> None:
        layers = [_cells(asdict(row)) for row in self.report.layers]
        run.log.add_rows(LAYERS, layers)
        run.log.with_singular_values = run.phase.adaptive
        self.log_untrained(run, COMPRESSED)

    def finish(self, run: Run) -> None:
        if not self.settings.test:
            return
        # The one that was made first has been trained on.
        tested = {"dense": self._dense, COMPRESSED: self._compress()[0]}
        if self.trains:
            tested["fine-tuned"] = keras.saving.load_model(run.folder.best)
        self._tests = {name: self._measure(tested[name], name) for name in tested}
        saved_files.write_json(run.folder.directory / TESTS, self._tests)

    def _measure(self, model: keras.Model, name: str) -> dict[str, Any]:
        x, y = (self._original if name == "dense" else self.data).test
        model = dlrt.merge(model) if dlrt.accounting.low_rank_layers(model) else model
        model.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=task.metrics(self.settings),
        )
        batch = self._original.evaluation_batch
        found = scoring.evaluate(model, (x, y), "test_", batch)
        measured: dict[str, Any] = {
            "parameters": dlrt.accounting.parameter_count(model),
            "flops": dlrt.accounting.flop_count(model),
            "test_accuracy": found["test_accuracy"],
        }
        if self.settings.reads_text:
            perplexity = results.perplexity(found["test_crossentropy"])
            measured["test_perplexity"] = perplexity
        else:
            epsilon = self.settings.attack
            attacked = measuring.accuracy_under_attack(model, x, y, epsilon)
            measured |= {"attack": epsilon, "attacked_accuracy": attacked}
        return measured | {
            "latency_ms": measuring.measure_latency(model, x, _LATENCY_BATCH),
            "latency_batch": min(_LATENCY_BATCH, len(x)),
        }

    def announcement(self, directory: Path) -> str:
        return f"{super().announcement(directory)}\n{self.report}"

    def summary(self, run: Run) -> list[str]:
        tests = [
            f"{name}: {found['parameters']:,} parameters, {found['flops']:,} flops, "
            f"{self.results.tell_test(found)}, "
            f"{found['latency_ms']:.1f} ms for {found['latency_batch']} "
            f"{self.results.examples}"
            for name, found in self._tests.items()
        ]
        return [*super().summary(run), *tests]


def _for_classes(dense: keras.Model, data: Data) -> keras.Model:
    """A network with a new last layer, for the classes of other images.

    Raises:
        ValueError: If these have another shape.
    """
    shape = data.train[0].shape[1:]
    if tuple(dense.input_shape[1:]) != shape:
        raise ValueError(
            "`--transfer` must name images of the shape "
            f"{tuple(dense.input_shape[1:])} that the network takes. Received: images "
            f"of shape {shape}"
        )

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        changes = {"units": data.num_classes} if layer.name == _OUTPUT else {}
        return type(layer).from_config(layer.get_config() | changes)

    copy = keras.models.clone_model(dense, clone_function=copied)
    for layer in copy.layers:
        if layer.name != _OUTPUT:
            layer.set_weights(dense.get_layer(layer.name).get_weights())
    return copy


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: "x".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in row.items()
    }
