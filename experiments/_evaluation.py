"""Loss and accuracy of an MNIST network on a part of its data."""

from typing import Any

import keras
import numpy as np

from experiments._data import EVALUATION_BATCH


class TestEvaluation(keras.callbacks.Callback):
    """Adds `test_loss` and `test_accuracy` to the logs of every epoch."""

    def __init__(self, test: tuple[np.ndarray, np.ndarray]) -> None:
        super().__init__()
        self._test = test

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs.update(evaluate(self.model, self._test, "test_"))


def evaluate(
    model: keras.Model, part: tuple[np.ndarray, np.ndarray], prefix: str = ""
) -> dict[str, float]:
    """Loss and accuracy on a part of the data."""
    values = model.evaluate(
        *part, batch_size=EVALUATION_BATCH, verbose=0, return_dict=True
    )
    return {prefix + name: value for name, value in values.items()}
