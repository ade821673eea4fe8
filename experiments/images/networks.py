"""Networks that classify images, with any of their layers of low rank."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

import dlrt


class Layers:
    """Makes the layers of a network: those that have a rank are low-rank.

    Args:
        ranks: The rank of layers, by name; the others are those of Keras.
    """

    def __init__(self, ranks: Mapping[str, int]) -> None:
        self._ranks = ranks

    def conv(self, filters: int, size: int, *, name: str, **kwargs: Any) -> Any:
        """A convolution over a plane."""
        kind = self._kind(keras.layers.Conv2D, dlrt.layers.LowRankConv2D, name)
        return kind(filters, size, name=name, **kwargs, **self._rank(name))

    def dense(self, units: int, *, name: str, **kwargs: Any) -> Any:
        """A dense layer."""
        kind = self._kind(keras.layers.Dense, dlrt.layers.LowRankDense, name)
        return kind(units, name=name, **kwargs, **self._rank(name))

    def _kind(self, plain: Any, low_rank: Any, name: str) -> Any:
        return low_rank if name in self._ranks else plain

    def _rank(self, name: str) -> dict[str, int]:
        return {"rank": self._ranks[name]} if name in self._ranks else {}


def lenet5(make: Layers, x: Any, num_classes: int) -> Any:
    """LeNet-5 with 20 and 50 filters and 500 units: 430,500 weights and 580 biases.

    LeCun et al., 1998, Proceedings of the IEEE 86, in the sizes of "Low-rank lottery
    tickets", NeurIPS 2022, arXiv:2205.13571, table 8.
    """
    x = make.conv(20, 5, activation="relu", name="conv_1")(x)
    x = keras.layers.MaxPooling2D(name="pool_1")(x)
    x = make.conv(50, 5, activation="relu", name="conv_2")(x)
    x = keras.layers.MaxPooling2D(name="pool_2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = make.dense(500, activation="relu", name="dense_1")(x)
    return make.dense(num_classes, name="output")(x)


NETWORKS: dict[str, Callable[[Layers, Any, int], Any]] = {"lenet5": lenet5}


def build(
    name: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    ranks: Mapping[str, int] | None = None,
) -> keras.Model:
    """A network that is not compiled.

    Args:
        name: A key of `NETWORKS`.
        input_shape: Shape of an image, channels last.
        num_classes: Number of outputs, which are logits.
        ranks: The rank of low-rank layers, by name, at most that of their kernels.

    Raises:
        ValueError: If the images are too small for the network.
    """
    ranks = ranks or {}
    inputs = keras.Input(input_shape)
    outputs = NETWORKS[name](Layers(ranks), inputs, num_classes)
    return (dlrt.Model if ranks else keras.Model)(inputs, outputs, name=name)


def full_ranks(model: keras.Model) -> dict[str, int]:
    """The full rank of every kernel of a dense network, by the name of its layer."""
    kernels = {
        layer.name: layer.kernel.shape
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    }
    return {
        name: min(math.prod(shape[:-1]), shape[-1]) for name, shape in kernels.items()
    }
