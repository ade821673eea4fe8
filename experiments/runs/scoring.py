"""Loss and metrics of a network on a part of its data."""

from typing import Any

import keras
import numpy as np

from experiments.runs.image_data import EVALUATION_BATCH


class TestEvaluation(keras.callbacks.Callback):
    """Adds `test_loss` and metrics, as `test_accuracy`, to the logs of every epoch."""

    def __init__(
        self, test: tuple[np.ndarray, np.ndarray], batch_size: int = EVALUATION_BATCH
    ) -> None:
        super().__init__()
        self._test, self._batch_size = test, batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs.update(evaluate(self.model, self._test, "test_", self._batch_size))


def evaluate(
    model: keras.Model,
    part: tuple[np.ndarray, np.ndarray],
    prefix: str = "",
    batch_size: int = EVALUATION_BATCH,
) -> dict[str, float]:
    """Loss and metrics on a part of the data."""
    values = model.evaluate(*part, batch_size=batch_size, verbose=0, return_dict=True)
    return {prefix + name: value for name, value in values.items()}
