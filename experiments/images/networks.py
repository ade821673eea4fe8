"""Networks that classify images, with any of their layers of low rank."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

import dlrt
from experiments.cli.checks import MOST_WEIGHTS

# With the 500 units of LeNet-5 they have the weights that a network may have.
_MOST_FEATURES = MOST_WEIGHTS // 500


class Layers:
    """Makes the layers of a network: those that have a rank are low-rank.

    Args:
        ranks: The ranks of low-rank layers, by name; the others are Keras layers.
        weight_decay: Factor of half the squared norm of all kernels in the loss.
    """

    def __init__(self, ranks: Mapping[str, int], weight_decay: float) -> None:
        self._ranks = ranks
        self._weight_decay = weight_decay

    def conv(self, filters: int, size: int, **kwargs: Any) -> Any:
        """A convolution over a plane."""
        kinds = keras.layers.Conv2D, dlrt.layers.LowRankConv2D
        return self._make(*kinds, filters, size, **kwargs)

    def dense(self, units: int, **kwargs: Any) -> Any:
        """A dense layer."""
        return self._make(keras.layers.Dense, dlrt.layers.LowRankDense, units, **kwargs)

    def _make(self, full: Any, low_rank: Any, *sizes: int, **kwargs: Any) -> Any:
        if self._weight_decay:
            decay = keras.regularizers.L2(self._weight_decay / 2)
            kwargs["kernel_regularizer"] = decay
        if kwargs["name"] in self._ranks:
            return low_rank(*sizes, rank=self._ranks[kwargs["name"]], **kwargs)
        return full(*sizes, **kwargs)


def lenet5(make: Layers, x: Any) -> Any:
    """LeNet-5 with 20 and 50 filters and 500 units: 430,500 weights and 580 biases.

    LeCun et al., 1998, Proceedings of the IEEE 86, in the sizes of "Low-rank lottery
    tickets", NeurIPS 2022, arXiv:2205.13571, table 8.
    """
    x = make.conv(20, 5, activation="relu", name="conv_1")(x)
    x = keras.layers.MaxPooling2D(name="pool_1")(x)
    x = make.conv(50, 5, activation="relu", name="conv_2")(x)
    x = keras.layers.MaxPooling2D(name="pool_2")(x)
    return make.dense(500, activation="relu", name="dense_1")(_flat(x))


def cnn(make: Layers, x: Any) -> Any:
    """A small network: three convolutions and two dense layers."""
    for number, filters in enumerate((32, 64, 128), start=1):
        x = _activated(make, x, filters, 3, name=f"conv_{number}")
        x = keras.layers.MaxPooling2D(padding="same", name=f"pool_{number}")(x)
    return make.dense(128, activation="relu", name="dense_1")(_flat(x))


def alexnet(make: Layers, x: Any) -> Any:
    """AlexNet for images of 32x32, with batch normalisation and one dense layer.

    Krizhevsky et al., 2012, NeurIPS 25, in the sizes of 2014, arXiv:1404.5997.
    """
    return _flat(_alexnet_features(make, x, pool=2))


def alexnet_full(make: Layers, x: Any) -> Any:
    """AlexNet for images of 224x224, with batch normalisation."""
    x = _flat(_alexnet_features(make, x, pool=3))
    for number in (1, 2):
        x = keras.layers.Dropout(0.5, name=f"dropout_{number}")(x)
        x = make.dense(4096, activation="relu", name=f"dense_{number}")(x)
    return x


def resnet20(make: Layers, x: Any) -> Any:
    """ResNet-20 for images of 32x32: He et al., 2016, arXiv:1512.03385, section 4.2.

    Where the shape changes, the shortcut is a convolution of size 1.
    """
    return _resnet(make, x, blocks=3)


def resnet8(make: Layers, x: Any) -> Any:
    """A light residual network: `resnet20` with one block a stage."""
    return _resnet(make, x, blocks=1)


def _flat(x: Any) -> Any:
    """The features of images as the inputs of a dense layer.

    Raises:
        ValueError: If the layer would have more weights than there is memory for.
    """
    count = math.prod(x.shape[1:])
    if count > _MOST_FEATURES:
        raise ValueError(
            "Images must be smaller, see `--image-size`: a dense layer would have "
            f"{count:,} inputs, and may have {_MOST_FEATURES:,}"
        )
    return keras.layers.Flatten(name="flatten")(x)


def _normalised(
    make: Layers, x: Any, filters: int, size: int, name: str, strides: int = 1
) -> Any:
    """A convolution with batch normalisation."""
    x = make.conv(
        filters, size, strides=strides, padding="same", use_bias=False, name=name
    )(x)
    return keras.layers.BatchNormalization(name=f"{name}_norm")(x)


def _activated(make: Layers, x: Any, *sizes: int, name: str, strides: int = 1) -> Any:
    """A convolution with batch normalisation and ReLU."""
    x = _normalised(make, x, *sizes, name, strides)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _alexnet_features(make: Layers, x: Any, pool: int) -> Any:
    sizes = ((64, 11, 4), (192, 5, 1), (384, 3, 1), (256, 3, 1), (256, 3, 1))
    for number, (filters, size, strides) in enumerate(sizes, start=1):
        name = f"conv_{number}"
        x = _activated(make, x, filters, size, name=name, strides=strides)
        if number in (1, 2, 5):
            padding = "same" if pool == 2 else "valid"
            x = keras.layers.MaxPooling2D(
                pool, 2, padding=padding, name=f"pool_{number}"
            )(x)
    return x


def _resnet(make: Layers, x: Any, blocks: int) -> Any:
    x = _activated(make, x, 16, 3, name="conv")
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, blocks + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _block(make, x, filters, strides, f"block_{stage}_{block}")
    return keras.layers.GlobalAveragePooling2D(name="pool")(x)


def _block(make: Layers, x: Any, filters: int, strides: int, name: str) -> Any:
    shortcut = x
    if strides > 1:
        shortcut = _normalised(make, x, filters, 1, f"{name}_shortcut", strides)
    x = _activated(make, x, filters, 3, name=f"{name}_conv_1", strides=strides)
    x = _normalised(make, x, filters, 3, f"{name}_conv_2")
    x = keras.layers.Add(name=f"{name}_sum")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


# All but the last layer of each.
_BUILDERS: dict[str, Callable[[Layers, Any], Any]] = {
    builder.__name__: builder
    for builder in (lenet5, cnn, alexnet, alexnet_full, resnet8, resnet20)
}


def build(
    name: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    ranks: Mapping[str, int] | None = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """A network that is not compiled.

    Args:
        name: One of `experiments.images.config.NETWORKS`.
        input_shape: Shape of an image, channels last.
        num_classes: Number of outputs, which are logits.
        ranks: The rank of low-rank layers, by name, at most that of their kernels.
        weight_decay: Factor of half the squared norm of all kernels in the loss.

    Raises:
        ValueError: If the images are too small for the network.
    """
    ranks = ranks or {}
    inputs = keras.Input(input_shape)
    make = Layers(ranks, weight_decay)
    features = _BUILDERS[name](make, inputs)
    outputs = make.dense(num_classes, name="output")(features)
    return (dlrt.Model if ranks else keras.Model)(inputs, outputs, name=name)


def full_ranks(model: keras.Model) -> dict[str, int]:
    """The full rank of every kernel of a dense network, by the name of its layer."""
    kernels = {
        layer.name: layer.kernel.shape
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    }
    return {name: min(math.prod(s[:-1]), s[-1]) for name, s in kernels.items()}
