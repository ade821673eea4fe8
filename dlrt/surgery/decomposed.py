"""Rows of layers with kernels `U`, `s` and `Vᵀ`, in place of one with their product.

Such a row is a Sequential of two layers of one type with a `SingularValues` in between.
"""

from typing import Any

import keras
import numpy as np

from dlrt.layers import SingularValues
from dlrt.layers.low_rank_einsum_dense import axes_of
from dlrt.regularizers import Orthogonality
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.recurrent import restore_recurrent
from dlrt.surgery.replacements import (
    Layer,
    Replacement,
    bias_of,
    chain_layers,
    last_config,
)

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)
# The layers that can be decomposed.
DECOMPOSABLE = (keras.layers.Dense, keras.layers.EinsumDense, *_CONVOLUTIONS)


def make_row(
    layer: Layer,
    pair: tuple[Layer, Layer],
    kernels: list[np.ndarray],
    orthogonality: float,
    sparsity: Any,
) -> Replacement:
    """Three layers in a row in place of one.

    Args:
        layer: The layer.
        pair: Two layers in its place, the second with its bias.
        kernels: The kernel of the first, of orthonormal columns; the singular values,
            `(r,)`; and the kernel of the second, of orthonormal rows.
        orthogonality: Factor of the regularizer of the two kernels.
        sparsity: Regularizer of the singular values.
    """
    first, second = pair
    axis = 0 if isinstance(second, keras.layers.EinsumDense) else -2
    values = SingularValues(
        axis=_channel_axis(first),
        regularizer=sparsity,
        name=f"{layer.name}_s",
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
    )
    layers = [
        _regularize(first, Orthogonality(orthogonality)),
        values,
        _regularize(second, Orthogonality(orthogonality, axis=axis)),
    ]
    return chain_layers(layer, layers, kernels)


def is_decomposed(layer: Any) -> bool:
    """Whether a layer is such a row."""
    if not isinstance(layer, keras.Sequential) or len(layer.layers) != 3:
        return False
    first, values, second = layer.layers
    return (
        isinstance(values, SingularValues)
        and type(first) is type(second)
        and type(first) in DECOMPOSABLE
        and getattr(first, "bias", None) is None
        and first.activation is keras.activations.linear
        and (not isinstance(first, _CONVOLUTIONS) or _is_one_conv(first, second))
    )


def is_separable(row: Layer) -> bool:
    """Whether a row is of convolutions along one axis after the other."""
    return is_decomposed(row) and max(getattr(row.layers[2], "kernel_size", (1,))) > 1


def recompose_row(row: Layer) -> Replacement:
    """The layer that a row stands for."""
    first, values, second = row.layers
    config = last_config(second, name=row.name)
    scaled = np.asarray(first.kernel, "float64") * np.asarray(values.s, "float64")
    last = np.asarray(second.kernel, "float64")
    if isinstance(first, keras.layers.EinsumDense):
        # The kernels share one axis.
        rows, columns = axes_of(first.equation)[1][:-1], axes_of(second.equation)[1][1:]
        x, y = first.equation.split(",")[0], second.equation.split("->")[1]
        config["equation"] = f"{x},{rows}{columns}->{y}"
        kernel = np.tensordot(scaled, last, 1)
    else:
        kernel = _join_kernels(scaled, last)
    if isinstance(first, _CONVOLUTIONS):
        # The second is of size 1, or of the same padding.
        config["padding"] = first.padding
        for name in ("kernel_size", "strides", "dilation_rate"):
            sizes = np.multiply(getattr(first, name), getattr(second, name))
            config[name] = tuple(sizes.tolist())
    return Replacement(type(second).from_config(config), [kernel, *bias_of(second)])


def recompose(model: keras.Model) -> keras.Model:
    """The model with the layers that rows stand for; itself if it has none."""
    if not any(map(is_decomposed, model._flatten_layers(include_self=False))):
        return model
    return restore_recurrent(
        rebuild(model, lambda x: recompose_row(x) if is_decomposed(x) else None)
    )


def _regularize(layer: Layer, regularizer: Any) -> Layer:
    config = {**layer.get_config(), "kernel_regularizer": regularizer}
    return type(layer).from_config(config)


def _channel_axis(layer: Layer) -> int:
    """The axis of the output that belongs to the last axis of the kernel."""
    if isinstance(layer, keras.layers.EinsumDense):
        output = layer.equation.split("->")[1]
        return len(output) - 4 if output.endswith("...") else -1
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _is_one_conv(first: Layer, second: Layer) -> bool:
    """Whether two convolutions equal one, with nothing in between.

    Along each axis, one of them has to leave everything where it is.
    """
    extents = [np.multiply(x.kernel_size, x.strides) for x in (first, second)]
    one_each = np.all(np.minimum(*extents) == 1)
    padding = first.padding == second.padding or max(second.kernel_size) == 1
    return bool(one_each) and padding and first.groups == second.groups == 1


def _join_kernels(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`(*k k', c, m)` of `(*k, c, r)` and `(*k', r, m)`, where `k` or `k'` is 1."""
    axes = first.ndim - 2
    product = np.tensordot(first, second, axes=(-1, -2))
    # (*k, c, *k', m): each axis next to its other half.
    order = [axis for i in range(axes) for axis in (i, axes + 1 + i)]
    product = np.transpose(product, [*order, axes, 2 * axes + 1])
    sizes = np.multiply(first.shape[:axes], second.shape[:axes]).astype(int)
    return product.reshape(*sizes, first.shape[-2], second.shape[-1])
