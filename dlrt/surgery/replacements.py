"""Layers of Keras in a row that take the place of one."""

from typing import Any, TypeAlias

import keras
import numpy as np

from dlrt.layers.low_rank_conv import LowRankConv
from dlrt.surgery.rebuild import Replacement

Layer: TypeAlias = keras.layers.Layer

# What low-rank layers don't take of a Keras layer's configuration, and the other way
# round.
KERAS_ONLY = (
    "kernel_constraint",
    "embeddings_constraint",
    "lora_rank",
    "lora_alpha",
    "quantization_config",
    "gptq_unpacked_column_size",
)
LOW_RANK_ONLY = ("rank", "tolerance", "max_rank")
# What a subclass may have anew and still compute the same.
_SAME = {
    "__init__",
    "get_config",
    "from_config",
    *("__module__", "__doc__", "__annotations__", "__dict__", "__weakref__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
}
# What makes a convolution one of size 1.
POINTWISE = {"kernel_size": 1, "strides": 1, "padding": "valid", "dilation_rate": 1}


def plain_type(layer: Layer) -> type[Layer]:
    """The type of Keras or dlrt that computes what a layer does.

    For a subclass that overrides more than the constructor and the configuration, this
    is its own type.
    """
    kind = type(layer)
    for index, base in enumerate(kind.__mro__):
        overridden = {name for own in kind.__mro__[:index] for name in vars(own)}
        if overridden & set(dir(base)) - _SAME:
            break
        known = base.__module__.split(".")[0] in ("keras", "dlrt")
        if known and kind.__mro__[index:] == base.__mro__:
            return base
    return kind


def chain_layers(
    layer: Layer, layers: list[Any], kernels: list[np.ndarray]
) -> Replacement:
    """Layers of Keras in place of one, the last with its bias.

    Args:
        layer: The layer.
        layers: Those in its place.
        kernels: Their kernels.
    """
    row = keras.Sequential(layers, name=layer.name)
    # Or Keras would warn of masks that get lost, which these do not.
    row.supports_masking = layer.supports_masking
    return Replacement(row, [*kernels, *bias_of(layer)])


def inner_conv(layer: Layer, **changes: Any) -> Layer:
    """A convolution as one that it is to stand before: no bias, no activation.

    Args:
        layer: A convolution of Keras, or a low-rank one.
        changes: Arguments that are others.
    """
    config = pair_config(layer)
    plain = {"use_bias": False, "activation": None, "activity_regularizer": None}
    return _keras_type(layer).from_config({**config, **plain, **changes})


def last_conv(layer: Layer, **changes: Any) -> Layer:
    """The last of the convolutions in place of one, with its bias and activation."""
    config = pair_config(layer)
    return _keras_type(layer).from_config(
        {**config, **changes, **second_of_pair(layer)}
    )


def _keras_type(layer: Layer) -> Any:
    return layer.keras_type if isinstance(layer, LowRankConv) else plain_type(layer)


def config_of(layer: Layer, without: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    """The configuration of a layer without some arguments, and with others changed."""
    # That of a user's class may have more than Keras takes.
    config = plain_type(layer).get_config(layer)
    return {**{k: v for k, v in config.items() if k not in without}, **changes}


def pair_config(layer: Layer) -> dict[str, Any]:
    """The configuration of a layer, for the last one of Keras in its place."""
    return config_of(layer, (*KERAS_ONLY, *LOW_RANK_ONLY), kernel_regularizer=None)


def bias_of(layer: Layer) -> list[np.ndarray]:
    """The value of the bias, if there is one."""
    bias = getattr(layer, "bias", None)
    return [] if bias is None else [bias.numpy()]


def first_of_pair(layer: Layer) -> dict[str, Any]:
    """Arguments of the first of two layers in place of one."""
    return {
        "name": f"{layer.name}_k",
        "dtype": layer.dtype_policy,
        "trainable": layer.trainable,
    }


def second_of_pair(layer: Layer) -> dict[str, Any]:
    """Arguments of the second, beside `pair_config`."""
    return {"name": f"{layer.name}_v"}
