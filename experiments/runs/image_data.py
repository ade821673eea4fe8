"""The images of a run, and the order in which they are trained on."""

import math
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from dlrt import datasets
from experiments.cli import quiet

# Large, because evaluation keeps no activations for a backward pass.
EVALUATION_BATCH = 2000

# Scores of many classes at many positions take memory: at most 64 MiB.
_MOST_SCORES = 2**24

# Batches prepared while a step runs.
_PREFETCHED = 2


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in three parts, each of them images and labels.

    Args:
        name: The data set's real name, whatever was asked for.
        source: Where it was found.
        num_classes: Number of classes.
        train: The part to train on.
        val: The part to select the best epoch by.
        test: The part to report.
    """

    name: str
    source: str
    num_classes: int
    train: tuple[np.ndarray, np.ndarray] = field(repr=False)
    val: tuple[np.ndarray, np.ndarray] = field(repr=False)
    test: tuple[np.ndarray, np.ndarray] = field(repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts on the data for the log, besides their number."""
        return {}

    def counts(self, examples: str) -> dict[str, int]:
        """How many examples the parts have, by the names that a log has for them."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {f"{name}_{examples}": len(part[0]) for name, part in parts.items()}

    @property
    def evaluation_batch(self) -> int:
        """How many examples to evaluate at a time."""
        scores = self.num_classes * math.prod(self.train[1].shape[1:])
        return max(1, min(EVALUATION_BATCH, _MOST_SCORES // scores))


def load(
    name: str,
    val_size: int | float,
    seed: int,
    dataset_size: float,
    noise: float = 0.0,
    *,
    flat: bool = True,
    image_size: tuple[int, int] | None = None,
) -> Data:
    """Loads and splits a data set; prints if it is not the requested one.

    Args:
        name: Name or folder of the data set.
        val_size: See `dlrt.datasets.split`, as the next three.
        seed: Seed of the split.
        dataset_size: Share of the images to use.
        noise: Share of the training labels to replace by random ones.
        flat: Whether to make vectors of the images; otherwise they have channels last.
        image_size: See `dlrt.datasets.load`.

    Raises:
        ValueError: If a file of the data set or a setting is wrong.
        OSError: If the data set can't be had.
    """
    with quiet.warnings_as_lines():
        dataset = datasets.load(name, image_size=image_size)
    splits = datasets.split(
        dataset, val_size=val_size, seed=seed, fraction=dataset_size, label_noise=noise
    )

    def shape(images: np.ndarray) -> np.ndarray:
        if flat:
            return images.reshape(len(images), math.prod(images.shape[1:]))
        return images[..., None] if images.ndim == 3 else images

    return Data(
        dataset.name,
        dataset.source,
        dataset.num_classes,
        (shape(splits.x_train), splits.y_train),
        (shape(splits.x_val), splits.y_val),
        (shape(splits.x_test), splits.y_test),
    )


class ShuffledBatches(keras.utils.PyDataset):
    """Training batches in an order that depends on seed and epoch only.

    Keras's own shuffling continues a random state that is not saved, so a resumed
    run would see other batches. `follow()` gives the callback that keeps the epoch.

    Args:
        x: Images.
        y: Labels.
        batch_size: Images in a batch; the last one of an epoch may have fewer.
        seed: A non-negative integer.

    Attributes:
        epoch: The current epoch, counted from 0.
        order: Indices of the images in the order of that epoch.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self._x, self._y = x, y
        self.batch_size, self.seed = batch_size, seed
        self._tensor: Any = None
        self.begin_epoch(0)

    def __len__(self) -> int:
        return -(-len(self._x) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * self.batch_size
        chosen = self.order[start : start + self.batch_size]
        return self._x[chosen], self._y[chosen]

    def begin_epoch(self, epoch: int) -> None:
        """Shuffles for an epoch."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        self.order = rng.permutation(len(self._x))
        if self._tensor is not None:
            self._tensor.assign(self.order)

    def for_fit(self) -> Any:
        """These batches in the form that the backend trains on fastest."""
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        # Keras would wrap the batches into a data set that tunes itself in a thread
        # with growing sleeps, and `fit` may stall at the end of an epoch until it wakes
        # up. This one does not, and gathers images without going through Python.

        self._tensor = tf.Variable(self.order)
        x, y = tf.constant(self._x), tf.constant(self._y)

        def batch(index: Any) -> tuple[Any, Any]:
            start = index * self.batch_size
            chosen = self._tensor[start : start + self.batch_size]
            return tf.gather(x, chosen), tf.gather(y, chosen)

        options = tf.data.Options()
        options.autotune.enabled = False
        batches = tf.data.Dataset.range(len(self)).map(batch)
        return batches.prefetch(_PREFETCHED).with_options(options)

    def follow(self) -> keras.callbacks.Callback:
        """A callback of `fit` that shuffles for every epoch."""
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.begin_epoch(epoch)
        )
