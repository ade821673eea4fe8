"""Properties of convolutions that structures need."""

from typing import Any

import keras

from dlrt.accounting import known_size
from dlrt.compression.structures._structure import Layer, Shape

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)


def is_spatial(layer: Layer) -> bool:
    """Whether it is a convolution of more than one position."""
    return isinstance(layer, CONVOLUTIONS) and known_size(layer.kernel_size) > 1


def count_positions(layer: Layer, shape: Shape) -> int:
    """The number of positions of a tensor that a convolution takes or gives."""
    first = layer.data_format == "channels_first"
    return known_size(shape[2:] if first else shape[1:-1])


def keep_axis(layer: Layer, axis: int) -> dict[str, Any]:
    """Size and dilation of a convolution along one of its axes, the others left out."""
    return {
        name: tuple(
            value if number == axis else 1
            for number, value in enumerate(getattr(layer, name))
        )
        for name in ("kernel_size", "dilation_rate")
    }
