"""`Conv1D` and `Conv2D` layers."""

from typing import Any

import numpy as np

from dlrt.layers import LowRankConv1D, LowRankConv2D
from dlrt.layers.low_rank_conv import LowRankConv, unfold_filters
from dlrt.surgery.families.base import OneKernel, register_family
from dlrt.surgery.replacements import Layer, last_config, plain_type

# The arguments of a convolution of size 1.
POINTWISE = {"kernel_size": 1, "strides": 1, "padding": "valid", "dilation_rate": 1}


class Convolution(OneKernel):
    """Convolutions of Keras without groups, and their low-rank form."""

    def __init__(self, low_rank_type: type[LowRankConv]) -> None:
        self.low_rank_type = low_rank_type
        self.keras_types = (low_rank_type.keras_type,)

    def by_default(self, layer: Layer) -> bool:
        return layer.groups == 1

    def obstacle(self, layer: Layer) -> str | None:
        if layer.groups != 1:
            return f"has {layer.groups} groups, each with a matrix of its own"
        return super().obstacle(layer)

    def unfold(self, layer: Layer, kernel: np.ndarray) -> np.ndarray:
        return unfold_filters(kernel)

    def fold(self, layer: Layer, matrix: np.ndarray) -> np.ndarray:
        return np.asarray(layer.fold(matrix))

    def make_pair(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        return inner_conv(layer, filters=rank), last_conv(layer, **POINTWISE)

    def fold_pair(
        self, layer: Layer, k: np.ndarray, vt: np.ndarray
    ) -> list[np.ndarray]:
        point = (1,) * len(layer.kernel_size)
        return [
            k.reshape(*layer.kernel_size, -1, len(vt)),
            vt.reshape(*point, *vt.shape),
        ]


register_family(Convolution(LowRankConv1D))
register_family(Convolution(LowRankConv2D))


def inner_conv(layer: Layer, **changes: Any) -> Layer:
    """A convolution before the last in place of one: no bias, no activation."""
    plain = {
        "name": f"{layer.name}_k",
        "use_bias": False,
        "activation": None,
        "activity_regularizer": None,
    }
    return last_conv(layer, **{**plain, **changes})


def last_conv(layer: Layer, **changes: Any) -> Layer:
    """The last of the convolutions in place of one, with its bias and activation."""
    low_rank = isinstance(layer, LowRankConv)
    kind: Any = layer.keras_type if low_rank else plain_type(layer)
    return kind.from_config(last_config(layer, **changes))
