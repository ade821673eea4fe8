"""Measures trained networks: speed, and accuracy under attack."""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from dlrt.backend.autodiff import vector_jacobian

_CALLS = 15
_ATTACK_BATCH = 500


def measure_latency(model: keras.Model, images: np.ndarray, batch_size: int) -> float:
    """Milliseconds of a prediction for a batch of images, the median of several."""
    batch = images[:batch_size]
    for _ in range(3):
        model.predict_on_batch(batch)
    seconds = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        model.predict_on_batch(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def accuracy_under_attack(
    model: keras.Model, x: np.ndarray, y: np.ndarray, epsilon: float
) -> float:
    """The share of images that a network gets right after a fast gradient sign attack.

    Every pixel, in [0, 1], moves by `epsilon` in the direction in which the loss grows:
    Goodfellow et al., 2015, arXiv:1412.6572, section 4.
    """
    right = 0
    sign = _gradient_sign(model)
    for start in range(0, len(x), _ATTACK_BATCH):
        images = x[start : start + _ATTACK_BATCH]
        labels = y[start : start + _ATTACK_BATCH]
        attacked = np.clip(images + epsilon * sign(images, labels), 0, 1)
        scores = np.asarray(model.predict_on_batch(attacked))
        right += int(np.sum(scores.argmax(-1) == labels))
    return right / len(x)


def _gradient_sign(
    model: keras.Model,
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The direction in which every pixel increases the loss: -1, 0 or 1."""

    def gradient(images: Any, labels: Any) -> Any:
        def loss(x: Any) -> Any:
            losses = keras.losses.sparse_categorical_crossentropy(
                labels, model(x, training=False), from_logits=True
            )
            return ops.sum(losses)

        return vector_jacobian(loss, (images,), ops.ones(()))[0]

    def sign(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found = gradient(ops.convert_to_tensor(images), ops.convert_to_tensor(labels))
        return np.sign(ops.convert_to_numpy(found))

    return sign
