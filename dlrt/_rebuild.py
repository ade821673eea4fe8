"""Copies of models with some layers replaced by others."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.models.functional import Functional  # not exported by Keras

from dlrt.layers import LowRankLayer


class Replacement(NamedTuple):
    """A layer that takes the place of another.

    Attributes:
        layer: The new layer, not built.
        weights: What `layer.set_weights` is to be given when it is.
    """

    layer: keras.layers.Layer
    weights: list[np.ndarray]


def rebuild(
    model: keras.Model, replace: Callable[[keras.layers.Layer], Replacement | None]
) -> keras.Model:
    """A copy of a model with layers replaced, not compiled.

    Layers that are used in several places, nested models included, stay shared.

    Args:
        model: A built Sequential or functional model; it is not changed.
        replace: Says what takes the place of a layer, or of a model within the model;
            `None` for a copy, and to be asked for the layers in such a model.

    Raises:
        ValueError: If the model, or one within it, is of another kind.
    """
    made: list[Replacement] = []
    clones: dict[int, Any] = {}
    in_place_of_models: set[int] = set()

    def cloned(model: keras.Model) -> keras.Model:
        if isinstance(model, keras.Sequential):
            return keras.models.clone_model(model, clone_function=clone)
        if isinstance(model, Functional):
            return keras.models.clone_model(
                model, clone_function=clone, call_function=call
            )
        raise _not_rebuildable(model)

    def clone(layer: Any) -> Any:
        if id(layer) not in clones:
            clones[id(layer)] = new(layer)
        return clones[id(layer)]

    def new(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            # One of `keras.ops` between the layers.
            return _copy(layer)
        replacement = replace(layer)
        if isinstance(layer, keras.Model):
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


def can_rebuild(model: keras.Model) -> bool:
    """Whether a model is Sequential or functional, and every one within it."""
    return isinstance(model, (keras.Sequential, Functional)) and all(
        can_rebuild(layer) for layer in model.layers if isinstance(layer, keras.Model)
    )


def copied(layer: keras.layers.Layer) -> Replacement:
    """A copy of a layer; factors are copied at their rank."""
    exact = {
        id(getattr(part, name)): factor
        for part in layer._flatten_layers()
        if isinstance(part, LowRankLayer) and part.built
        for name, factor in zip("usv", part.factors, strict=True)
    }
    values = zip(layer.weights, layer.get_weights(), strict=True)
    weights = [exact.get(id(weight), value) for weight, value in values]
    return Replacement(_copy(layer), weights)


def layers_in(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers that `rebuild` can replace, in order, each as often as it is found."""
    for layer in model.layers:
        if isinstance(layer, (keras.Sequential, Functional)):
            yield from layers_in(layer)
        else:
            yield layer


def _not_rebuildable(model: keras.Model) -> ValueError:
    return ValueError(
        "Only Sequential and functional models can be rebuilt layer by layer. "
        f"Received: model of type {type(model).__name__}"
    )


def _copy(operation: Any) -> Any:
    return type(operation).from_config(operation.get_config())
