"""Copies of models with some layers replaced by others."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
from keras import tree
from keras.src.backend import compute_output_spec  # not exported by Keras

from dlrt.backend.structure import (
    build_shapes,
    is_container,
    is_graph,
    own_variables,
    parts,
    tie,
)
from dlrt.layers import ProjectedRNN
from dlrt.surgery._copies import build_by_shapes, copy_of, deep_copy, make_like, no_copy
from dlrt.surgery.exchanged import Exchanged

Layer: TypeAlias = keras.layers.Layer


class Replacement(NamedTuple):
    """A layer that takes the place of another.

    Attributes:
        layer: The new layer, not built.
        weights: What `layer.set_weights` is to be given when it is.
        original: For a copy, the layer that it gets weights and state from instead.
    """

    layer: Layer
    weights: list[np.ndarray]
    original: Layer | None = None


Replace = Callable[[Layer], Replacement | None]


def rebuild(model: keras.Model, replace: Replace) -> keras.Model:
    """A copy of a model with layers replaced, not compiled.

    Layers that are used in several places, nested models included, stay shared, and so
    do those that layers of users' classes hold as well. Where layers within a layer or
    model of a user's class are replaced, it becomes an `Exchanged`. A layer without a
    configuration to copy it by is copied in memory, with a warning, but not if layers
    within it are replaced.

    Args:
        model: A built model; it is not changed.
        replace: Says what takes the place of a layer, or of a Sequential or functional
            model within the model; `None` for a copy, and to be asked for the layers in
            such a model, or in a `ProjectedRNN`.

    Raises:
        ValueError: If a layer or model can't be copied, or layers share weights that
            their copies would not share.
    """
    return _Rebuilding(model, replace).rebuilt()


def copy_layer(layer: Layer) -> Replacement:
    """A copy of a layer; factors are copied at their rank."""
    try:
        return Replacement(copy_of(layer), [], layer)
    # It may be the code of a user.
    except Exception as error:
        return Replacement(_copied_in_memory(layer, error, {}), [], layer)


def layers_in(model: Layer) -> Iterator[Layer]:
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
            if own_variables(layer):
                yield layer
            if is_graph(model):
                # Those within other containers are parts of the outermost.
                yield from layers_in(layer)


def out_of_reach(model: Layer) -> dict[int, str]:
    """Why layers within one that can't be copied can't be replaced, by their `id`."""
    found = {}
    for layer in model.layers if is_graph(model) else ():
        if is_graph(layer):
            found.update(out_of_reach(layer))
        elif is_container(layer):
            try:
                copy_of(layer)
            # It is the code of a user.
            except Exception as error:
                why = f"is within {no_copy(layer, error)}"
                found.update(dict.fromkeys(map(id, layers_in(layer)), why))
    return found


class _Rebuilding:
    """A copy of a model in the making."""

    def __init__(self, model: keras.Model, replace: Replace) -> None:
        self._model = model
        self._replace = replace
        self._shared = _in_several_places(model)
        self._replacements: dict[int, Replacement | None] = {}
        # Layers, and models within the model, with what has become of them, by `id`.
        self._new: dict[int, tuple[Any, Any]] = {}
        self._made: list[tuple[Replacement, Layer]] = []
        self._in_place_of_models: set[int] = set()

    def rebuilt(self) -> Any:
        model = self._model
        if is_graph(model):
            new = self._graph(model)
            if not new.built:
                new.build(model.input_shape)
        else:
            new = self._container(model)
        # Keras clones the compilation as well; its optimizer is not for these layers.
        for part in new._flatten_layers():
            if isinstance(part, keras.Model):
                part.compiled = False
                part.optimizer = None
        for replacement, layer in self._made:
            _finish(replacement, layer)
        pairs = list(_pairs(model, new))
        _freeze(pairs)
        _check_ties(pairs)
        _warn_of_files(new)
        return new

    def _graph(self, model: Any) -> Any:
        if not isinstance(model, keras.Sequential):
            return keras.models.clone_model(
                model,
                tree.map_structure(_input_like, model.input),
                clone_function=self._layer,
                call_function=self._call,
            )
        inputs = None
        if isinstance(model._layers[0], keras.layers.InputLayer):
            inputs = _input_like(model.inputs[0])
        return keras.models.clone_model(model, inputs, clone_function=self._layer)

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        # Keras hands masks to models; layers don't take these, and find them.
        masks = id(layer) not in self._in_place_of_models
        return layer(*args, **(kwargs if masks else {}))

    def _layer(self, layer: Any) -> Any:
        """What becomes of a layer, a model or an operation, each made once."""
        if id(layer) not in self._new:
            self._new[id(layer)] = layer, self._made_of(layer)
        return self._new[id(layer)][1]

    def _made_of(self, layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            # One of `keras.ops` between the layers.
            return copy_of(layer)
        if is_container(layer):
            return self._container(layer)
        replacement = self._replacement(layer)
        if is_graph(layer):
            if replacement is None:
                inner = self._graph(layer)
                inner.supports_masking = layer.supports_masking
                return inner
            self._in_place_of_models.add(id(replacement.layer))
        self._made.append((replacement or copy_layer(layer), layer))
        return self._made[-1][0].layer

    def _replacement(self, layer: Layer) -> Replacement | None:
        if id(layer) not in self._replacements:
            replacement = self._replace(layer)
            if replacement is None and isinstance(layer, ProjectedRNN):
                replacement = self._with_products(layer)
            self._replacements[id(layer)] = replacement
        return self._replacements[id(layer)]

    def _container(self, layer: Layer) -> Any:
        """A built copy of a user's layer with others in the places of those within."""
        found = parts(layer)
        changes: dict[str, Layer] = {}
        ties: dict[str, Layer] = {}
        for place, part in found.items():
            if any(place.startswith(f"{outer}/") for outer in ties):
                continue
            if id(part) in self._shared and part.built:
                ties[place] = self._finished(part)
            else:
                new = self._changed(part)
                if new is not None:
                    changes[place] = new
        if changes or any(type(new) is not type(found[at]) for at, new in ties.items()):
            return _exchanged(layer, {**changes, **ties})
        try:
            copy = _built_copy(layer)
        # It is the code of a user.
        except Exception as error:
            if layer is self._model:
                raise ValueError(f"`model` is {no_copy(layer, error)}") from error
            tied = {id(found[at]): new for at, new in ties.items()}
            return _copied_in_memory(layer, error, tied)
        if ties:
            inside = parts(copy)
            tie(copy, {id(inside[at]): new for at, new in ties.items()})
        return copy

    def _finished(self, part: Layer) -> Layer:
        """What becomes of a layer, built and with its weights before others are."""
        new = self._layer(part)
        for replacement, layer in self._made:
            if layer is part:
                _finish(replacement, layer)
        return new

    def _changed(self, part: Layer) -> Any:
        """What takes the place of a layer within another, built; `None` for nothing."""
        if is_container(part) or not part.built:
            return None
        replacement = self._replacement(part)
        if replacement is not None:
            return _finish(replacement, part)
        if is_graph(part):
            found = []

            def noted(layer: Layer) -> Replacement | None:
                found.append(self._replacement(layer))
                return found[-1]

            copy = rebuild(part, noted)
            return copy if any(one is not None for one in found) else None
        return None

    def _with_products(self, layer: ProjectedRNN) -> Replacement | None:
        """A recurrent layer with others in place of its products; `None` for none."""
        changed = [self._changed(product) for product in layer.projections]
        if all(new is None for new in changed):
            return None
        products = [
            _finish(copy_layer(product), product) if new is None else new
            for product, new in zip(layer.projections, changed, strict=True)
        ]
        new = ProjectedRNN(
            layer.layer, *products, name=layer.name, trainable=layer.trainable
        )
        # That with the state is the cell's, and comes first.
        return Replacement(new, products[1].get_weights() + products[0].get_weights())


def _exchanged(layer: Layer, new: dict[str, Layer]) -> Exchanged:
    """A copy of a container with others in the places of layers within it."""
    try:
        copy = _built_copy(layer)
    # It is the code of a user.
    except Exception as error:
        raise ValueError(
            f"`model` has layers within {no_copy(layer, error)}"
        ) from error
    called = _call_of(layer)
    could_be_called = _call_error(copy, *called) is None
    exchanged = Exchanged(copy, new, name=layer.name)
    reason = _call_error(copy, *called)
    if could_be_called and reason is not None:
        raise ValueError(
            f"`model` has layers within {layer.name!r} of type {type(layer).__name__} "
            "that can't be replaced: it does more with them than to call them. Leave "
            f"them out with `layers`. {type(reason).__name__}: {reason}"
        ) from reason
    return exchanged


def _built_copy(layer: Layer) -> Any:
    """A copy of a layer or model of a user's class, with its weights."""
    copy = copy_of(layer)
    make_like(copy, layer)
    if list(parts(copy)) != list(parts(layer)):
        raise ValueError(
            f"Its configuration makes the layers {list(parts(copy))}. Received: "
            f"{list(parts(layer))}"
        )
    return copy


def _copied_in_memory(layer: Layer, error: Exception, tied: dict[int, Any]) -> Any:
    """A copy of a layer without its configuration.

    Raises:
        ValueError: If there is no such copy either.
    """
    try:
        copy = deep_copy(layer, tied)
    # A user's layer may hold anything.
    except Exception:
        raise ValueError(f"`model` has a layer {no_copy(layer, error)}") from error
    warnings.warn(
        "Copied in memory, so that the new model may not be loaded from a file: "
        f"{no_copy(layer, error)}",
        stacklevel=2,
    )
    return copy


def _finish(replacement: Replacement, like: Layer) -> Layer:
    """The layer of a replacement, built and with its weights."""
    new, weights, original = replacement
    if original is not None:
        make_like(new, original)
    else:
        if not new.built:
            build_by_shapes(new, like)
        new.set_weights(weights)
    return new


def _call_of(layer: Layer) -> tuple[Any, Any]:
    """What a container is called with, as far as is known, without values."""

    def spec(x: Any) -> Any:
        # Keras takes the outputs of some operations for sparse that are not.
        return keras.KerasTensor(x.shape, x.dtype) if _is_symbolic(x) else x

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


def _is_symbolic(x: Any) -> bool:
    return isinstance(x, keras.KerasTensor)


def _call_error(layer: Layer, args: Any, kwargs: Any) -> Exception | None:
    """What calling a layer raises, as far as can be told without values."""
    try:
        compute_output_spec(layer, *args, **kwargs)
    # It is the code of a user.
    except Exception as error:
        return error
    return None


def _input_like(x: Any) -> Any:
    return keras.Input(
        batch_shape=x.shape,
        dtype=x.dtype,
        sparse=x.sparse,
        ragged=x.ragged,
        name=x.name,
        optional=x._keras_history.operation.optional,
    )


def _pairs(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    """A layer and what has become of it, then those within, the outer ones first."""
    yield old, new
    if _wraps(new, old):
        yield from _pairs(old, new.layer)
    elif type(new) is not type(old):
        return
    elif is_container(old):
        places = parts(new)
        for place, part in parts(old).items():
            if place not in places:
                # Within one of the containers here, which has become an `Exchanged`.
                continue
            if is_container(part) and not _wraps(places[place], part):
                yield part, places[place]
            else:
                yield from _pairs(part, places[place])
    else:
        layers = (x.layers if is_graph(x) else x._layers for x in (old, new))
        for part, copy in zip(*layers, strict=True):
            yield from _pairs(part, copy)


def _wraps(new: Any, old: Any) -> bool:
    return isinstance(new, Exchanged) and type(new.layer) is type(old)


def _freeze(pairs: list[tuple[Any, Any]]) -> None:
    """Freezes what is frozen, the outer layers first: they freeze those within."""
    for old, new in pairs:
        # TensorFlow's objects ignore what is set to what it is.
        new.trainable = not old.trainable
        new.trainable = old.trainable
        if type(new) is type(old):
            variables = own_variables(old), own_variables(new)
            for variable, copy in zip(*variables, strict=True):
                copy.trainable = variable.trainable


def _check_ties(pairs: list[tuple[Any, Any]]) -> None:
    """Refuses copies that don't share weights as the layers do."""
    found: dict[int, tuple[Layer, Any]] = {}
    for old, new in pairs:
        if _wraps(new, old):
            continue
        same = type(new) is type(old)
        olds = own_variables(old) if same else old.weights
        news = own_variables(new) if same else [new] * len(olds)
        for variable, counterpart in zip(olds, news, strict=True):
            other, known = found.setdefault(id(variable), (old, counterpart))
            if known is not counterpart:
                raise ValueError(
                    f"`model` has layers {other.name!r} and {old.name!r} that share "
                    f"the weights {variable.path!r}; their copies would not. Leave "
                    "them out with `layers`, or give each weights of its own."
                )


def _warn_of_files(model: keras.Model) -> None:
    """Warns of a layer in a model, and in another model within it."""
    graphs = {id(x): x for x in model._flatten_layers() if is_graph(x)}.values()
    layers = {id(x): x for graph in graphs for x in graph.layers if x.weights}
    counts = Counter(id(x) for graph in graphs for x in graph.layers)
    names = [layer.name for key, layer in layers.items() if counts[key] > 1]
    if names:
        warnings.warn(
            "Keras can save the new model, but not load it from the file: the layers "
            f"{names} are in several models, one within the other. Save its weights, "
            "and load them into a model that is made anew.",
            stacklevel=2,
        )


def _in_several_places(model: keras.Model) -> set[int]:
    """The layers that several layers or models of a model hold, by `id`."""
    places: Counter[int] = Counter()

    def visit(graph: Any) -> None:
        for layer in graph.layers:
            places[id(layer)] += 1
            if places[id(layer)] > 1:
                continue
            if is_graph(layer):
                visit(layer)
            else:
                inside = layer._flatten_layers(include_self=False)
                places.update({id(part) for part in inside})

    if is_graph(model):
        visit(model)
    return {key for key, count in places.items() if count > 1}
