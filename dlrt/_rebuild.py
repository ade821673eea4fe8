"""Copies of models with some layers replaced by others."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from dlrt._within import (
    build_shapes,
    has_own_weights,
    is_container,
    is_graph,
    parts,
)
from dlrt.exchanged import Exchanged
from dlrt.layers import LowRankLayer, ProjectedRNN


class Replacement(NamedTuple):
    """A layer that takes the place of another.

    Attributes:
        layer: The new layer, not built.
        weights: What `layer.set_weights` is to be given when it is.
    """

    layer: keras.layers.Layer
    weights: list[np.ndarray]


Replace = Callable[[keras.layers.Layer], Replacement | None]


def rebuild(model: keras.Model, replace: Replace) -> keras.Model:
    """A copy of a model with layers replaced, not compiled.

    Layers that are used in several places, nested models included, stay shared. Where
    layers within a layer or model of a user's class are replaced, it becomes an
    `Exchanged`.

    Args:
        model: A built model; it is not changed.
        replace: Says what takes the place of a layer, or of a Sequential or functional
            model within the model; `None` for a copy, and to be asked for the layers in
            such a model, or in a `ProjectedRNN`.

    Raises:
        ValueError: If a layer or model of a user's class can't be copied.
    """
    if not is_graph(model):
        return _with(model, _changes_within(model, replace)).layer
    made: list[Replacement] = []
    clones: dict[int, Any] = {}
    in_place_of_models: set[int] = set()

    def cloned(model: keras.Model) -> keras.Model:
        if isinstance(model, keras.Sequential):
            return keras.models.clone_model(model, clone_function=clone)
        return keras.models.clone_model(model, clone_function=clone, call_function=call)

    def clone(layer: Any) -> Any:
        if id(layer) not in clones:
            clones[id(layer)] = new(layer)
        return clones[id(layer)]

    def new(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            # One of `keras.ops` between the layers.
            return _copy(layer)
        if is_container(layer):
            changes = _changes_within(layer, replace)
            made.append(_with(layer, changes) if changes else copied(layer))
            return made[-1].layer
        replacement = replace(layer)
        if replacement is None and isinstance(layer, ProjectedRNN):
            replacement = _with_products(layer, replace)
        if is_graph(layer):
            if replacement is None:
                inner = cloned(layer)
                inner.supports_masking = layer.supports_masking
                return inner
            in_place_of_models.add(id(replacement.layer))
        made.append(replacement or copied(layer))
        return made[-1].layer

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        # Keras hands masks to models; layers don't take these, and find them.
        return layer(*args, **({} if id(layer) in in_place_of_models else kwargs))

    copy = cloned(model)
    # Keras clones the compilation as well; its optimizer is not for these layers.
    for part in copy._flatten_layers():
        if isinstance(part, keras.Model):
            part.compiled = False
            part.optimizer = None
    if not copy.built:
        copy.build(model.input_shape)
    for layer, weights in made:
        layer.set_weights(weights)
    return copy


def copied(layer: keras.layers.Layer) -> Replacement:
    """A copy of a layer; factors are copied at their rank."""
    return Replacement(_copy(layer), _exact_weights(layer))


def layers_in(model: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The layers that `rebuild` can replace, in order, each as often as it is found.

    Layers and models of users' classes with weights of their own are among them, but
    can't be replaced.
    """
    for layer in model.layers if is_graph(model) else parts(model).values():
        if is_graph(layer):
            yield from layers_in(layer)
        elif isinstance(layer, ProjectedRNN):
            for product in layer.projections:
                yield from layers_in(product) if is_graph(product) else [product]
        elif not is_container(layer):
            # One that is never called has no weights.
            if layer.built:
                yield layer
        else:
            if has_own_weights(layer):
                yield layer
            if is_graph(model):
                # Those within other containers are parts of the outermost.
                yield from layers_in(layer)


def _changes_within(
    layer: keras.layers.Layer, replace: Replace
) -> dict[str, keras.layers.Layer]:
    """What takes the place of layers within a container, built, by where it goes."""
    changed = {place: _changed(part, replace) for place, part in parts(layer).items()}
    return {place: new for place, new in changed.items() if new is not None}


def _with(layer: keras.layers.Layer, new: dict[str, keras.layers.Layer]) -> Replacement:
    """A built copy of a container with others in the places of layers within it."""
    copy = _built_copy(layer)
    if new:
        shapes = build_shapes(layer)
        could_be_called = _call_error(copy, shapes) is None
        copy = Exchanged(copy, new, name=layer.name)
        error = _call_error(copy, shapes)
        if could_be_called and error is not None:
            raise ValueError(
                f"`model` has layers within {layer.name!r} of type "
                f"{type(layer).__name__} that can't be replaced: it does more with "
                "them than to call them. Leave them out with `layers`. "
                f"{type(error).__name__}: {error}"
            ) from error
    return Replacement(copy, copy.get_weights())


def _changed(part: keras.layers.Layer, replace: Replace) -> Any:
    """What takes the place of a layer within another, built; `None` for nothing."""
    if is_container(part) or not part.built:
        return None
    replacement = replace(part)
    if replacement is None and is_graph(part):
        found = []

        def noted(layer: keras.layers.Layer) -> Replacement | None:
            found.append(replace(layer))
            return found[-1]

        copy = rebuild(part, noted)
        return copy if any(one is not None for one in found) else None
    if replacement is None and isinstance(part, ProjectedRNN):
        replacement = _with_products(part, replace)
    return None if replacement is None else _built(replacement, part)


def _with_products(layer: ProjectedRNN, replace: Replace) -> Replacement | None:
    """A recurrent layer with others in place of its products; `None` for no others."""
    changed = [_changed(product, replace) for product in layer.projections]
    if all(new is None for new in changed):
        return None
    products = [
        _built(copied(product), product) if new is None else new
        for product, new in zip(layer.projections, changed, strict=True)
    ]
    new = ProjectedRNN(
        layer.layer, *products, name=layer.name, trainable=layer.trainable
    )
    # That with the state is the cell's, and comes first.
    return Replacement(new, products[1].get_weights() + products[0].get_weights())


def _built(replacement: Replacement, like: keras.layers.Layer) -> keras.layers.Layer:
    """The layer of a replacement, built as another one and with its weights."""
    new, weights = replacement
    if not new.built:
        shapes = build_shapes(like)
        if len(shapes) == 1:
            new.build(*shapes.values())
        else:
            new.build(**shapes)
    new.set_weights(weights)
    return new


def _built_copy(layer: keras.layers.Layer) -> Any:
    """A copy of a layer or model of a user's class, with its weights.

    Raises:
        ValueError: If it can't be made from a configuration.
    """
    try:
        copy = _copy(layer)
        if not copy.built:
            _build_like(copy, layer)
        copy.set_weights(_exact_weights(layer))
    # A user's constructor may raise anything.
    except Exception as error:
        raise ValueError(
            f"`model` has layers within {layer.name!r} of type {type(layer).__name__}, "
            "which can't be copied: its `get_config` must say all that `from_config` "
            f"and `build` need. {type(error).__name__}: {error}"
        ) from error
    if {at: type(part) for at, part in parts(copy).items()} != {
        at: type(part) for at, part in parts(layer).items()
    }:
        raise ValueError(
            f"`model` has layers within {layer.name!r} of type {type(layer).__name__}, "
            "whose configuration makes other layers than it has: "
            f"{list(parts(copy))}. Received: {list(parts(layer))}"
        )
    return copy


def _build_like(copy: keras.layers.Layer, layer: keras.layers.Layer) -> None:
    if not getattr(copy.build, "_is_default", False):
        copy.build_from_config(layer.get_build_config())
        return
    # Its layers are built when they are called.
    shapes = build_shapes(layer)
    error = _call_error(copy, shapes)
    if error is not None:
        raise error
    copy._build_shapes_dict = shapes
    copy.built = True


def _call_error(layer: keras.layers.Layer, shapes: dict[str, Any]) -> Exception | None:
    """What calling a layer raises, as far as shapes alone tell."""
    tensors = {
        name.removesuffix("_shape"): keras.tree.map_shape_structure(
            keras.KerasTensor, shape
        )
        for name, shape in shapes.items()
    }
    first = [tensors.pop(name) for name in list(tensors)[:1]]
    try:
        layer.compute_output_spec(*first, **tensors)
    # It is the code of a user.
    except Exception as error:
        return error
    return None


def _exact_weights(layer: keras.layers.Layer) -> list[np.ndarray]:
    """The weights of a layer, those of factors at their rank."""
    exact = {
        id(getattr(part, name)): factor
        for part in layer._flatten_layers()
        if isinstance(part, LowRankLayer) and part.built
        for name, factor in zip("usv", part.factors, strict=True)
    }
    values = zip(layer.weights, layer.get_weights(), strict=True)
    return [exact.get(id(weight), value) for weight, value in values]


def _copy(operation: Any) -> Any:
    return type(operation).from_config(operation.get_config())
