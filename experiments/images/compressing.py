"""One compression run: a trained network, made smaller, trained on, measured."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

import dlrt
from dlrt.history import atomic_file
from dlrt_names.log_schema import LAYERS
from experiments.images import measuring, training
from experiments.images.compression import (
    SENSITIVITY,
    CompressionConfig,
    SVDTrainingConfig,
)
from experiments.images.config import Config
from experiments.images.training import Training
from experiments.runs import folders, saved_files, scoring, tasks
from experiments.runs.folders import Run
from experiments.runs.image_data import Data
from experiments.runs.log_format import TESTS
from experiments.words.text import WordData

# What the log calls the network before it is trained on.
COMPRESSED = "compressed"
_OUTPUT = "output"
# What an earlier run must have in common with the settings.
_SAME = (
    *("architecture", "dataset", "image_size", "dataset_size", "val_size", "seed"),
    *("vocabulary", "augment", "scheme", "sparsity", "orthogonality"),
)
_LATENCY_BATCH = 64


def newest(config: Config, data: Data) -> Run | None:
    """The newest finished run that trains a network with these settings and words."""
    return folders.newest_finished(config, _SAME, data.facts)


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
            f"`--load-model` must be for {config.task.examples} of shape {wanted[0]} "
            f"in {wanted[1]} classes. Received: --load-model {path}, for {shapes[0]} "
            f"in {shapes[1]}"
        )
    if isinstance(data, WordData):
        data.vocabulary.check_model(path)
    return model


def decomposed(config: SVDTrainingConfig, dense: keras.Model) -> keras.Model:
    """A network to train as singular vectors and values."""
    return dlrt.decompose(
        dense,
        structure=config.scheme,
        orthogonality=config.orthogonality,
        sparsity=config.sparsity,
    )


class Compressing:
    """A compression that has been set up.

    Args:
        config: The settings, with the data set's real name.
        data: The images, or the words, of the dense network.
        target: Those to fine-tune on.
        dense: The trained dense network.
        trained: What is made smaller: that, or one trained by singular values.

    Raises:
        ValueError: If the settings or the run to continue don't fit the network.
        OSError: If the log can't be written.

    Attributes:
        report: What the compression has done.
        tests: What was measured of each network, by its name.
    """

    def __init__(
        self,
        config: CompressionConfig,
        data: Data,
        target: Data,
        dense: keras.Model,
        trained: keras.Model,
    ) -> None:
        self.config = config
        self.tests: dict[str, dict[str, Any]] = {}
        self._data, self._target = data, target
        self.dense = dense
        whole = dlrt.to_dense(trained)
        self._start = whole if config.transfer is None else _for_classes(whole, target)
        small, self.report = self._compress()
        before = self.report.parameters_before
        self.training = Training(config, target, lambda: small, before)

    @property
    def run(self) -> Run:
        """The folder of the run."""
        return self.training.run

    def _compress(self) -> tuple[keras.Model, dlrt.compression.Report]:
        config = self.config
        key, amount = config.budget
        layers: Any = config.layers
        if layers is None and config.transfer is not None and key != "ranks":
            # The new last layer has learned nothing yet that could be kept.
            candidates = training.networks.full_ranks(self._start)
            layers = [name for name in candidates if name != _OUTPUT]
        allocation, data = config.allocation, None
        if allocation == SENSITIVITY:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            allocation = dlrt.compression.Sensitivity(loss=loss)
            count = self._target.evaluation_batch
            data = tuple(part[:count] for part in self._target.train)
        keras.utils.set_random_seed(config.seed)
        return dlrt.compress(
            self._start,
            config.method,
            {key: amount},
            layers=layers,
            structure=config.scheme,
            allocation=allocation,
            data=data,
        )

    def finish(self) -> None:
        """Logs the compressed network, then trains and tests it as was asked.

        Raises:
            NonFiniteLoss: If loss or weights stop being numbers.
        """
        log = self.training.log
        if not log.rows:
            log.add_rows(LAYERS, [_cells(asdict(row)) for row in self.report.layers])
            self.training.log_start(COMPRESSED)
        if self.config.train:
            self.training.train()
        if self.config.test:
            self._test()

    def _test(self) -> None:
        # The one that was made first has been trained on.
        networks = {"dense": self.dense, COMPRESSED: self._compress()[0]}
        if self.config.train:
            networks["fine-tuned"] = keras.saving.load_model(self.run.best)
        self.tests = {name: self._measured(networks[name], name) for name in networks}
        content = json.dumps(self.tests, indent=2) + "\n"
        atomic_file.replace(self.run.directory / TESTS, content.encode())

    def _measured(self, model: keras.Model, name: str) -> dict[str, Any]:
        own = name == "dense"
        x, y = (self._data if own else self.training.data).test
        model = dlrt.merge(model) if dlrt.accounting.low_rank_layers(model) else model
        model.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=training.metrics(self.config),
        )
        found = scoring.evaluate(model, (x, y), "test_", self._data.evaluation_batch)
        results: dict[str, Any] = {
            "parameters": dlrt.accounting.parameter_count(model),
            "flops": dlrt.accounting.flop_count(model),
            "test_accuracy": found["test_accuracy"],
        }
        if self.config.reads_text:
            crossentropy = found["test_crossentropy"]
            results["test_perplexity"] = tasks.perplexity(crossentropy)
        else:
            epsilon = self.config.attack
            attacked = measuring.accuracy_under_attack(model, x, y, epsilon)
            results |= {"attack": epsilon, "attacked_accuracy": attacked}
        return results | {
            "latency_ms": measuring.latency(model, x, _LATENCY_BATCH),
            "latency_batch": min(_LATENCY_BATCH, len(x)),
        }


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
