"""Replacements of a layer: the layers, their configurations and weights."""

from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

Layer: TypeAlias = keras.layers.Layer

# Entries of a Keras layer's configuration that low-rank layers don't take, and vice
# versa.
KERAS_ONLY = (
    "kernel_constraint",
    "embeddings_constraint",
    "lora_rank",
    "lora_alpha",
    "quantization_config",
    "gptq_unpacked_column_size",
)
LOW_RANK_ONLY = ("rank", "tolerance", "max_rank")
# What a subclass may override without changing the result.
_SAME = {
    "__init__",
    "get_config",
    "from_config",
    *("__module__", "__doc__", "__annotations__", "__dict__", "__weakref__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
}


class Replacement(NamedTuple):
    """A layer that takes the place of another.

    Attributes:
        layer: The new layer, not built.
        weights: The weights to set once the layer is built.
        original: For a copy, the layer whose weights and state it gets instead.
    """

    layer: Layer
    weights: list[np.ndarray]
    original: Layer | None = None


def plain_type(layer: Layer) -> type[Layer]:
    """The type of Keras or dlrt that computes what a layer does.

    It is the layer's own type if that overrides more than constructor and
    configuration.
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
    """Layers of Keras in place of one, with their kernels; the last has its bias."""
    row = keras.Sequential(layers, name=layer.name)
    # Otherwise Keras would warn of lost masks, but these are kept.
    row.supports_masking = layer.supports_masking
    return Replacement(row, [*kernels, *bias_of(layer)])


def config_of(layer: Layer, without: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    """The configuration of a layer, with some arguments left out or changed."""
    # The configuration of a user's class may have more than Keras takes.
    config = plain_type(layer).get_config(layer)
    return {**{k: v for k, v in config.items() if k not in without}, **changes}


def first_config(layer: Layer, **changes: Any) -> dict[str, Any]:
    """Arguments of the first of two layers in place of one."""
    common = {"dtype": layer.dtype_policy, "trainable": layer.trainable}
    return {"name": f"{layer.name}_k", **common, **changes}


def last_config(layer: Layer, **changes: Any) -> dict[str, Any]:
    """The configuration of a layer, for the last one of Keras in its place."""
    config = config_of(layer, (*KERAS_ONLY, *LOW_RANK_ONLY), kernel_regularizer=None)
    return {**config, "name": f"{layer.name}_v", **changes}


def bias_of(layer: Layer) -> list[np.ndarray]:
    """The value of the bias, if there is one."""
    bias = getattr(layer, "bias", None)
    return [] if bias is None else [bias.numpy()]
