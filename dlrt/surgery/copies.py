"""Copies of layers with all of their state."""

import copy
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras.src.utils.tracking import DotNotTrackScope  # not exported by Keras

from dlrt.backend.structure import (
    build_shapes,
    has_build,
    is_graph,
    own_variables,
    parts,
)
from dlrt.surgery.replacements import Layer, Replacement

# Methods that Keras gives every object.
_INSTANCE_METHODS = ("build", "quantize")


def copy_layer(layer: Layer) -> Replacement:
    """A copy of a layer; factors are copied at their rank."""
    try:
        return Replacement(copy_unbuilt(layer), [], layer)
    # It may be user code.
    except Exception as error:
        return Replacement(copy_in_memory(layer, error, {}), [], layer)


def copy_unbuilt(operation: Any) -> Any:
    """A layer or operation of the same configuration, not built."""
    return type(operation).from_config(operation.get_config())


def explain_no_copy(layer: Layer, error: Exception) -> str:
    """Explains why `copy_unbuilt` fails for a layer."""
    return (
        f"{layer.name!r} of type {type(layer).__name__}, which can't be copied: its "
        "`get_config` must say all that `from_config` and `build` need. "
        f"{type(error).__name__}: {error}"
    )


def copy_built(layer: Layer) -> Any:
    """A copy of a layer or model of a user's class, with its weights."""
    new = copy_unbuilt(layer)
    make_like(new, layer)
    if list(parts(new)) != list(parts(layer)):
        raise ValueError(
            f"Its configuration makes the layers {list(parts(new))}. Received: "
            f"{list(parts(layer))}"
        )
    return new


def copy_in_memory(layer: Layer, error: Exception, tied: dict[int, Any]) -> Any:
    """A copy of a layer without its configuration; a ValueError if that fails too."""
    try:
        new = deep_copy(layer, tied)
    # A user's layer may hold anything that copying fails for.
    except Exception:
        raise ValueError(
            f"`model` has a layer {explain_no_copy(layer, error)}"
        ) from error
    warnings.warn(
        "Copied in memory, so that the new model may not be loaded from a file: "
        f"{explain_no_copy(layer, error)}",
        stacklevel=2,
    )
    return new


def build_replacement(replacement: Replacement, like: Layer) -> Layer:
    """The layer of a replacement, built and with its weights."""
    new, weights, original = replacement
    if original is not None:
        make_like(new, original)
    else:
        if not new.built:
            build_by_shapes(new, like)
        new.set_weights(weights)
    return new


def make_like(new: Layer, layer: Layer) -> None:
    """Builds a layer of the same configuration, and gives it weights and state.

    Includes state that configurations omit: LoRA, quantisation and types of layers
    inside, and what a layer saves besides its weights. It is an error if the new layer
    has other layers or weights.
    """
    build_like(new, layer)
    for old, copied in _pair_all(layer, new):
        _give_state(copied, old)


def build_like(new: Layer, layer: Layer) -> None:
    """Builds a layer, and those inside, as far as another one is built."""
    if layer.built and not new.built and has_build(new):
        if isinstance(new, keras.Model):
            # Its `build_from_config` hides errors.
            build_by_shapes(new, layer)
        else:
            new.build_from_config(layer.get_build_config())
    with new._open_name_scope():
        for old, inside in _pair_children(layer, new):
            build_like(inside, old)
    if layer.built and not new.built:
        new._build_shapes_dict = layer._build_shapes_dict
        new.built = True


def build_by_shapes(new: Layer, layer: Layer) -> None:
    """Builds a layer for the shapes that another one is built for."""
    shapes = build_shapes(layer)
    if len(shapes) == 1:
        new.build(*shapes.values())
    else:
        new.build(**shapes)


def deep_copy(layer: Layer, new: Mapping[int, Layer]) -> Any:
    """A copy of a built layer in memory, with replacements of layers inside by `id`."""
    inside = [part for part in layer._flatten_layers() if id(part) not in new]
    made: dict[int, Any] = {id(part): _make_empty(type(part)) for part in inside}
    # Modules can't be copied; seed generators hold one.
    modules = {id(module): module for module in sys.modules.values()}
    memo: dict[int, Any] = {**modules, **new, **made}
    for part in inside:
        # How it is called belongs to the model.
        memo[id(part._inbound_nodes)] = []
        memo[id(part._outbound_nodes)] = []
    with DotNotTrackScope():
        for part in inside:
            state = {k: v for k, v in vars(part).items() if k not in _INSTANCE_METHODS}
            vars(made[id(part)]).update(copy.deepcopy(state, memo))
    for copied in made.values():
        tracker = copied._tracker
        for name, (_, store) in tracker.config.items():
            tracker.stored_ids[name] = set(map(id, store))
    return made[id(layer)]


def _make_empty(kind: Any) -> Any:
    return kind.__new__(kind)


def _pair_children(layer: Layer, new: Layer) -> list[tuple[Layer, Layer]]:
    """The layers directly inside a layer and inside its copy."""
    old, copied = (x.layers if is_graph(x) else x._layers for x in (layer, new))
    if [type(x) for x in old] != [type(x) for x in copied]:
        raise ValueError(
            f"Layer {layer.name!r} of type {type(layer).__name__} has a configuration "
            f"that doesn't recreate its layers: {[x.name for x in copied]}. "
            f"Received: {[x.name for x in old]}"
        )
    return list(zip(old, copied, strict=True))


def _pair_all(layer: Layer, new: Layer) -> Iterator[tuple[Layer, Layer]]:
    yield layer, new
    for pair in _pair_children(layer, new):
        yield from _pair_all(*pair)


def _give_state(new: Any, layer: Any) -> None:
    if new.dtype_policy != layer.dtype_policy:
        # This also quantises.
        new.dtype_policy = layer.dtype_policy
    if isinstance(layer, keras.layers.MultiHeadAttention):
        # Keras leaves this out of the configuration: it depends on the machine.
        new._flash_attention = layer._flash_attention
    if getattr(layer, "lora_enabled", False):
        # Keras saves the product with the kernel, and no `lora_alpha`.
        if not new.lora_enabled:
            new.enable_lora(layer.lora_rank)
        new.lora_alpha = layer.lora_alpha
        for name, value in vars(layer).items():
            if isinstance(value, keras.Variable):
                getattr(new, name).assign(value)
    elif own_variables(layer) or own_variables(new):
        saved: dict[str, Any] = {}
        layer.save_own_variables(saved)
        new.load_own_variables({name: np.asarray(it) for name, it in saved.items()})
