"""Finds and exchanges layers inside layers that users have written."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import keras
from keras.src.models.functional import Functional  # not exported by Keras

Layer: TypeAlias = keras.layers.Layer

# Attributes that TensorFlow adds to every object that it tracks.
_OF_TENSORFLOW = (
    "_self_setattr_tracking",
    "_self_unconditional_",
    "_self_update_uid",
    "_self_name_based_restores",
    "_self_saveable_object_factories",
)


def is_graph(layer: Any) -> bool:
    """Whether a model is Sequential or functional, so that its layers are known."""
    return isinstance(layer, (keras.Sequential, Functional))


def is_container(layer: Any) -> bool:
    """Whether a layer or model is of a user's class and contains other layers.

    Layers of Keras and dlrt don't count, nor do subclasses of them, which may do more
    with the layers inside them than call them. Subclasses of attention layers do.
    """
    return _is_own(layer) and any(_layers_in_value(list(_attributes(layer).values())))


def parts(layer: Layer) -> dict[str, Layer]:
    """The layers inside a container, each once, by path.

    A path has names of attributes, and indices or keys in these: `"blocks/0/hidden"`.
    The layers inside nested containers follow these; layers inside other layers and
    models are left out.
    """
    found: dict[str, Layer] = {}
    seen = {id(layer)}

    def walk(value: Any, place: str) -> None:
        if isinstance(value, keras.layers.Layer):
            if id(value) not in seen:
                seen.add(id(value))
                found[place] = value
                if _is_own(value):
                    walk(_attributes(value), place)
        else:
            for key, item in _items(value):
                walk(item, f"{place}/{key}" if place else str(key))

    walk(_attributes(layer), "")
    return found


def exchange(layer: Layer, new: Mapping[int, Layer]) -> None:
    """Replaces layers inside a built container.

    Args:
        layer: The container.
        new: The replacement of each layer, by its `id`.
    """
    inside = [part for part in parts(layer).values() if _is_own(part)]
    for owner in (layer, *inside):
        for name, value in _attributes(owner).items():
            old = [part for part in _layers_in_value(value) if id(part) in new]
            if old:
                locked = owner._tracker.locked
                owner._tracker.unlock()
                for part in old:
                    owner._tracker.untrack(part)
                setattr(owner, name, _exchanged(value, new))
                if locked:
                    owner._tracker.lock()


def tie(layer: Layer, new: Mapping[int, Layer]) -> None:
    """As `exchange`, keeping the order of the layers, and so of the weights."""
    owners = [layer, *(part for part in parts(layer).values() if _is_own(part))]
    orders = [[new.get(id(part), part) for part in owner._layers] for owner in owners]
    exchange(layer, new)
    for owner, order in zip(owners, orders, strict=True):
        owner._layers[:] = order


def own_variables(layer: Layer) -> list[keras.Variable]:
    """The weights of a layer that belong to no layer inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def has_build(layer: Layer) -> bool:
    """Whether the class of a layer overrides `build`."""
    return not getattr(layer.build, "_is_default", False)


def build_shapes(layer: Layer) -> dict[str, Any]:
    """The shapes with which a layer was built, by the argument names of `build`.

    Empty if Keras does not know.
    """
    config = layer.get_build_config() or {}
    if "shapes_dict" in config:
        return dict(config["shapes_dict"])
    return dict(config)


def _is_own(layer: Any) -> bool:
    if not isinstance(layer, keras.layers.Layer) or is_graph(layer):
        return False
    known = [
        kind
        for kind in type(layer).__mro__
        if kind.__module__.split(".")[0] in ("keras", "dlrt")
        and issubclass(kind, keras.layers.Layer)
        and not issubclass(kind, keras.Model)
        and kind not in keras.Model.__mro__
    ]
    attention = isinstance(layer, keras.layers.MultiHeadAttention)
    return not known or (attention and type(layer) not in known)


@functools.cache
def _names_of_keras() -> frozenset[str]:
    """Attributes that every model has."""
    return frozenset(vars(keras.Model()))


def _attributes(layer: Layer) -> dict[str, Any]:
    """The attributes that a container, or its class, adds to those of every model."""
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in _names_of_keras() and not name.startswith(_OF_TENSORFLOW)
    }


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)


def _layers_in_value(value: Any) -> Iterator[Layer]:
    if isinstance(value, keras.layers.Layer):
        yield value
    for _, item in _items(value):
        yield from _layers_in_value(item)


def _exchanged(value: Any, new: Mapping[int, Layer]) -> Any:
    if isinstance(value, keras.layers.Layer):
        return new.get(id(value), value)
    if isinstance(value, dict):
        return {key: _exchanged(item, new) for key, item in value.items()}
    if hasattr(value, "_fields"):
        # A named tuple, which TensorFlow wraps in a type of its own.
        fields = {name: _exchanged(getattr(value, name), new) for name in value._fields}
        return value._replace(**fields)
    if isinstance(value, (list, tuple)):
        items = [_exchanged(item, new) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value
