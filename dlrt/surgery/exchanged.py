"""A layer or model of a user's class with layers inside it replaced."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import keras
from keras import tree
from keras.src.backend import compute_output_spec  # not exported by Keras

from dlrt.backend.structure import (
    build_shapes,
    exchange,
    has_build,
    is_container,
    parts,
)
from dlrt.surgery.copies import copy_built, explain_no_copy
from dlrt.surgery.replacements import Layer
from dlrt.training.model import Model


@keras.saving.register_keras_serializable(package="dlrt")
class Exchanged(Model):
    """Calls a layer some of whose layers have been replaced.

    When a file is loaded, the class of a layer recreates the layers inside it and does
    not know their replacements. This model does: its configuration contains that of the
    original layer and those of all new layers. `dlrt.convert`, `dlrt.compress` and
    similar functions put it in place of a layer or model of a user's class if they
    replace layers inside it.

    It is called, trained and saved like the layer, with the same arguments. The
    attributes of the layer are found on `layer`; a custom training step of its class is
    not used.

    Args:
        layer: A built layer or model with a configuration. It is modified in place: its
            layers are replaced.
        replacements: The new layers, built, by path: names of attributes, and indices
            or keys in these, `"blocks/0/hidden"`.
        **kwargs: Arguments of `dlrt.Model`.

    Attributes:
        layer: The layer.

    Raises:
        ValueError: If there is no layer at one of the paths.
    """

    def __init__(
        self, layer: Any, replacements: Mapping[str, Any], **kwargs: Any
    ) -> None:
        @functools.wraps(layer.call)
        def call(*args: Any, **kwargs: Any) -> Any:
            return layer(*args, **kwargs)

        # Keras inspects the signature when the layer is made.
        self.call = call
        super().__init__(**{"dtype": layer.dtype_policy, **kwargs})
        # The layer converts and checks its own arguments.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self._register_call_context_args(*layer._call_context_args)
        found = parts(layer)
        missing = sorted(set(replacements) - set(found))
        if missing:
            raise ValueError(
                f"`replacements` must be for places of layers within {layer.name!r}: "
                f"{list(found)}. Received also: {missing}"
            )
        # As JSON, so that deserializing can't alter it.
        self._original = json.dumps(keras.saving.serialize_keras_object(layer))
        self._places = tuple(replacements)
        self._build_configs = {
            at: part.get_build_config()
            for at, part in found.items()
            if is_container(part) and part.built and has_build(part)
        }
        exchange(layer, {id(found[at]): new for at, new in replacements.items()})
        self.layer = layer
        self.supports_masking = layer.supports_masking
        # Needed for export.
        self._build_shapes_dict = build_shapes(layer)
        self.built = True

    def compute_mask(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_mask(*args, **kwargs)

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_shape(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        found = parts(self.layer)
        return {
            "name": self.name,
            "trainable": self.trainable,
            "layer": json.loads(self._original),
            "replacements": {
                at: keras.saving.serialize_keras_object(found[at])
                for at in self._places
            },
            "build_configs": dict(self._build_configs),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "Exchanged":
        def make(serialized: dict[str, Any]) -> Any:
            return keras.saving.deserialize_keras_object(serialized, custom_objects)

        config = dict(config)
        layer = make(config.pop("layer"))
        found = parts(layer)
        for at, build_config in config.pop("build_configs", {}).items():
            # Later they would build the replacements inside them once more.
            if not found[at].built:
                found[at].build_from_config(build_config)
        new = {at: make(it) for at, it in config.pop("replacements").items()}
        return cls(layer, new, **config)


def copy_exchanged(layer: Layer, new: dict[str, Layer]) -> Exchanged:
    """A copy of a container with layers inside it replaced."""
    try:
        copy = copy_built(layer)
    # It is the code of a user.
    except Exception as error:
        raise ValueError(
            f"`model` has layers within {explain_no_copy(layer, error)}"
        ) from error
    called = _find_call(layer)
    could_be_called = _find_call_error(copy, *called) is None
    exchanged = Exchanged(copy, new, name=layer.name)
    reason = _find_call_error(copy, *called)
    if could_be_called and reason is not None:
        raise ValueError(
            f"`model` has layers within {layer.name!r} of type {type(layer).__name__} "
            "that can't be replaced: it does more with them than call them. Leave "
            f"them out with `layers`. {type(reason).__name__}: {reason}"
        ) from reason
    return exchanged


def _find_call(layer: Layer) -> tuple[Any, Any]:
    """The arguments of a container, as far as known, as specifications."""

    def spec(x: Any) -> Any:
        # Keras takes the outputs of some operations for sparse although they are not.
        symbolic = isinstance(x, keras.KerasTensor)
        return keras.KerasTensor(x.shape, x.dtype) if symbolic else x

    if layer._inbound_nodes:
        arguments = layer._inbound_nodes[0].arguments
        return tree.map_structure(spec, (arguments.args, arguments.kwargs))
    tensors = {
        name.removesuffix("_shape"): tree.map_shape_structure(keras.KerasTensor, shape)
        for name, shape in build_shapes(layer).items()
        if shape is not None
    }
    first = tuple(tensors.pop(name) for name in list(tensors)[:1])
    return first, tensors


def _find_call_error(layer: Layer, args: Any, kwargs: Any) -> Exception | None:
    """The error that calling a layer raises, as far as can be told without values."""
    try:
        compute_output_spec(layer, *args, **kwargs)
    # It is the code of a user.
    except Exception as error:
        return error
    return None
