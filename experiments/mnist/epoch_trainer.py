"""Training of small networks, one after another, one call for each epoch.

A small network spends its time between steps: in Python, in the input pipeline, in
three evaluations per epoch, and in tracing. Here an epoch with its evaluations is one
call on data that stay in place, and networks of one shape, which differ in their seed,
share the trace. Losses, metrics and the order of the images are those of `fit`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import dlrt
from dlrt.training import capacity
from dlrt_names.log_schema import TRAINED_PARAMETERS
from experiments.mnist import network
from experiments.mnist.config import Config
from experiments.runs import checkpoints, scoring
from experiments.runs.image_data import EVALUATION_BATCH, Data, ShuffledBatches


class EpochTrainer:
    """Trains networks of one shape, one at a time.

    Where the backend is not TensorFlow, an epoch is a `fit` of one epoch.

    Args:
        configs: The settings of all networks. All networks are made in advance: setting
            a random seed makes TensorFlow prepare every compiled function again.
        num_classes: Number of classes.
    """

    def __init__(self, configs: Sequence[Config], num_classes: int) -> None:
        self._num_classes = num_classes
        self._starts = {}
        for config in configs:
            self.model = network.build(config, num_classes, None)
            self._starts[config] = self.model.get_weights()
        self._slots: list[np.ndarray] | None = None
        self._call: Any = None

    def __len__(self) -> int:
        """Number of steps in an epoch of the current network."""
        return len(self._batches)

    def begin(self, config: Config, data: Data) -> None:
        """Makes the initial network of a run the current one."""
        start = self._starts[config]
        if _shapes(self.model.get_weights()) != _shapes(start):
            # Ranks have adapted, so compiled functions fit this network only.
            self.model = network.build(config, self._num_classes, None)
            self._slots = None
        self.model.set_weights(start)
        self._take(config, data)

    def resume(self, model: keras.Model, config: Config, data: Data) -> None:
        """Makes a saved network, with its optimizer, the current one."""
        optimizer = model.optimizer
        self.model, self._slots = model, None
        self._take(config, data)
        checkpoints.copy_state(optimizer, self.model.optimizer)

    def _take(self, config: Config, data: Data) -> None:
        self._batches = ShuffledBatches(*data.train, config.batch_size, config.seed)
        if self._slots is None:
            self._call = None
            (phase,) = config.phases
            network.compile_model(self.model, config, phase, len(self._batches))
            self._slots = [v.numpy() for v in self.model.optimizer.variables]
        variables = self.model.optimizer.variables
        for variable, value in zip(variables, self._slots, strict=True):
            variable.assign(value)
        self._data = data
        self._tensors: list[Any] = []
        if keras.backend.backend() == "tensorflow":
            self._tensors = [
                keras.ops.convert_to_tensor(array)
                for part in (data.train, data.val, data.test)
                for array in part
            ]
            self._prepare()

    def epoch(self, index: int) -> dict[str, Any]:
        """Trains for an epoch, counted from 0, and returns its row of the log."""
        if not self._tensors:
            return self._fit(index)
        self._batches.begin_epoch(index)
        order = keras.ops.convert_to_tensor(self._batches.order)
        logs = {k: float(v) for k, v in self._call(order, *self._tensors).items()}
        if capacity.adapt(self.model):
            self._call = None
            self._prepare()
        return logs

    def _prepare(self) -> None:
        # Making Keras's function, which is never called, prepares the model for
        # training.
        self.model.make_train_function()
        if self._call is None:
            # Metric variables created inside a function would make it trace twice.
            self.model._symbolic_build(data_batch=self._batches[0])
            self._call = _epoch_function(self.model, self._batches.batch_size)

    def _fit(self, index: int) -> dict[str, Any]:
        history = self.model.fit(
            self._batches.for_fit(),
            epochs=index + 1,
            initial_epoch=index,
            validation_data=self._data.val,
            validation_batch_size=EVALUATION_BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[
                self._batches.follow(),
                scoring.TestEvaluation(self._data.test),
            ],
        )
        return {name: values[0] for name, values in history.history.items()}


def facts(model: keras.Model) -> dict[str, Any]:
    """Ranks and counts of a network, by the names that a log has for them."""
    return {
        **{f"rank/{name}": rank for name, rank in dlrt.accounting.ranks(model).items()},
        "parameters": dlrt.accounting.parameter_count(model),
        TRAINED_PARAMETERS: dlrt.accounting.parameter_count(model, True),
        "compression": dlrt.accounting.compression(model),
        "learning_rate": float(model.optimizer.learning_rate),
    }


def _shapes(weights: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [weight.shape for weight in weights]


def _epoch_function(model: keras.Model, batch_size: int) -> Any:
    """An epoch of training and the evaluations after it as one TensorFlow function."""
    import tensorflow as tf

    def evaluate(x: Any, y: Any, prefix: str) -> dict[str, Any]:
        model.reset_metrics()
        # As large as memory allows: a batch of evaluation has no backward pass.
        for start in range(0, int(x.shape[0]), EVALUATION_BATCH):
            model.test_step(
                (x[start:][:EVALUATION_BATCH], y[start:][:EVALUATION_BATCH])
            )
        return {f"{prefix}{k}": v for k, v in model.get_metrics_result().items()}

    @tf.function
    def epoch(
        order: Any, x: Any, y: Any, x_val: Any, y_val: Any, x_test: Any, y_test: Any
    ) -> dict[str, Any]:
        model.reset_metrics()
        for start in tf.range(0, tf.shape(order)[0], batch_size):
            chosen = order[start : start + batch_size]
            model.train_step((tf.gather(x, chosen), tf.gather(y, chosen)))
        logs = model.get_metrics_result()
        return logs | evaluate(x_val, y_val, "val_") | evaluate(x_test, y_test, "test_")

    return epoch
