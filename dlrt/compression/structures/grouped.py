"""One matrix for each group of input channels."""

from typing import Any

import keras
import numpy as np

from dlrt.compression.structures._convolutions import CONVOLUTIONS, is_spatial
from dlrt.compression.structures._structure import Layer, register_structure
from dlrt.compression.structures.folded import Pair
from dlrt.compression.structures.pointwise import Pointwise
from dlrt.surgery.families.convolutions import POINTWISE, inner_conv, last_conv
from dlrt.surgery.replacements import (
    Replacement,
    bias_of,
    chain_layers,
    first_config,
    last_config,
)

_MAX_GROUPS = 8


@register_structure
class Grouped(Pointwise):
    """One matrix for each group of input channels; other layers have a single group.

    A layer with `k` groups, of `r` channels each, and one that joins them: Liebenwein
    et al., 2021, arXiv:2107.11442, section 2.
    """

    name = "grouped"

    def list_groups(self) -> list[int]:
        dense = isinstance(self.layer, keras.layers.Dense)
        if not dense and not isinstance(self.layer, CONVOLUTIONS):
            return [1]
        if dense and self.shapes[0][1:-1].count(None) > 1:
            # Keras can't split the last axis of such an input.
            return [1]
        channels = self.layer.kernel.shape[-2]
        return [k for k in range(1, _MAX_GROUPS + 1) if channels % k == 0]

    def fold(self, groups: int = 1) -> list[np.ndarray]:
        if groups == 1:
            return super().fold()
        parts = np.split(np.asarray(self.layer.kernel), groups, axis=-2)
        return [part.reshape(-1, part.shape[-1]) for part in parts]

    def unit_costs(self, groups: int = 1) -> tuple[int, int]:
        if groups == 1:
            return super().unit_costs()
        n, m = super().fold()[0].shape
        parameters = n + groups * m
        return parameters, 2 * parameters * self.count_products()

    def build_layers(self, pairs: list[Pair]) -> Replacement:
        if len(pairs) == 1:
            return super().build_layers(pairs)
        if isinstance(self.layer, keras.layers.Dense):
            return _build_dense(self.layer, pairs)
        return _build_convolutions(self.layer, pairs)


def _build_convolutions(layer: Layer, pairs: list[Pair]) -> Replacement:
    # One convolution a group: Keras's grouped ones run through XLA on TensorFlow's CPU,
    # where a training step of LeNet-5 takes ten times as long.
    groups, (rank, filters) = len(pairs), pairs[0][1].shape
    size, name = layer.kernel_size, layer.name
    axis = 1 if layer.data_format == "channels_first" else -1
    inputs = keras.Input(layer.get_build_config()["input_shape"][1:])
    taken, strides = _subsample(layer, inputs)
    convolved = [
        inner_conv(layer, filters=rank, name=f"{name}_k_{number}", **strides)(x)
        for number, x in enumerate(keras.ops.split(taken, groups, axis), start=1)
    ]
    joined = keras.layers.Concatenate(axis, name=f"{name}_groups")(convolved)
    outputs = last_conv(layer, **POINTWISE)(joined)
    last = np.concatenate([vt for _, vt in pairs]).reshape(
        *[1] * len(size), -1, filters
    )
    kernels = [*(k.reshape(*size, -1, rank) for k, _ in pairs), last]
    row = keras.Model(inputs, outputs, name=name)
    return Replacement(row, [*kernels, *bias_of(layer)])


def _subsample(layer: Layer, x: Any) -> tuple[Any, dict[str, Any]]:
    """The entries of `x` that a convolution of size 1 uses, and its remaining strides.

    With strides, few channels and an odd batch size, TensorFlow 2.21 writes beyond the
    gradient of such a kernel, and the process crashes (oneDNN, on a CPU with AVX-512).
    """
    if is_spatial(layer) or max(layer.strides) == 1:
        return x, {}
    plane = len(layer.strides) == 2
    pool = (keras.layers.MaxPooling2D if plane else keras.layers.MaxPooling1D)(
        1,
        layer.strides,
        data_format=layer.data_format,
        name=f"{layer.name}_positions",
        dtype=layer.dtype_policy,
    )
    return pool(x), {"strides": 1}


def _build_dense(layer: Layer, pairs: list[Pair]) -> Replacement:
    groups, (rank, units) = len(pairs), pairs[0][1].shape
    between = layer.get_build_config()["input_shape"][1:-1]
    lengths = [-1 if length is None else length for length in between]
    config = last_config(
        layer,
        equation="...gj,gjm->...m",
        output_shape=(units,),
        bias_axes="m" if layer.use_bias else None,
    )
    del config["units"], config["use_bias"]
    layers = [
        keras.layers.Reshape(
            (*lengths, groups, len(pairs[0][0])), name=f"{layer.name}_groups"
        ),
        keras.layers.EinsumDense(
            "...gi,gij->...gj", (groups, rank), **first_config(layer)
        ),
        keras.layers.EinsumDense.from_config(config),
    ]
    kernels = [np.stack(factors) for factors in zip(*pairs, strict=True)]
    return chain_layers(layer, layers, kernels)
