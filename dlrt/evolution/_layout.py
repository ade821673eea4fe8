"""Where the channels of a width lie in tensors and variables."""

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Layer: TypeAlias = Any


class Layout(NamedTuple):
    """Where channels lie along an axis of length `before * channels * after`."""

    axis: int
    before: int = 1
    after: int = 1

    def find_indices(self, channels: np.ndarray, size: int) -> np.ndarray:
        """Positions of channels along the axis; -1, for a new channel, stays -1.

        Args:
            channels: `(k,)`, numbers below `size`, or -1.
            size: How many channels there are.
        """
        shape = self.before, size, self.after
        positions = np.arange(math.prod(shape)).reshape(shape)
        taken = np.where(channels[:, None] < 0, -1, positions[:, channels])
        return taken.reshape(-1)

    def split(self, array: np.ndarray) -> np.ndarray:
        """An array as `(..., channels)`, all other axes moved to the front."""
        axis, shape = self.axis % array.ndim, array.shape
        parts = (*shape[:axis], self.before, -1, self.after, *shape[axis + 1 :])
        return np.moveaxis(array.reshape(parts), axis + 1, -1)

    def join(self, array: np.ndarray, ndim: int) -> np.ndarray:
        """The inverse of `split`, to an array of `ndim` axes."""
        axis = self.axis % ndim
        array = np.moveaxis(array, -1, axis + 1)
        return array.reshape(*array.shape[:axis], -1, *array.shape[axis + 3 :])


class Part(NamedTuple):
    """The attribute of a layer that holds a variable with one slice per channel."""

    layer: Layer
    attribute: str
    layout: Layout

    @property
    def variable(self) -> Any:
        """The variable, `None` if the layer has none of this name."""
        return getattr(self.layer, self.attribute, None)
