"""Copies of models with some layers replaced by others."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from dlrt.backend.structure import is_container, is_graph, parts, tie
from dlrt.layers import ProjectedRNN
from dlrt.surgery.copies import (
    build_replacement,
    copy_built,
    copy_in_memory,
    copy_layer,
    copy_unbuilt,
    explain_no_copy,
)
from dlrt.surgery.counterparts import (
    check_ties,
    freeze_alike,
    pair_layers,
    warn_of_files,
)
from dlrt.surgery.exchanged import copy_exchanged
from dlrt.surgery.replacements import Layer, Replacement

Replace = Callable[[Layer], Replacement | None]


def rebuild(model: keras.Model, replace: Replace) -> keras.Model:
    """A copy of a model with layers replaced, not compiled.

    Layers that are used in several places, nested models included, stay shared, as do
    those that layers of users' classes also hold. If layers inside a layer or model of
    a user's class are replaced, it becomes an `Exchanged`. A layer that can't be copied
    from its configuration is copied in memory, with a warning, unless layers inside it
    are replaced.

    Args:
        model: A built model; it is not changed.
        replace: Returns the replacement of a layer, or of a Sequential or functional
            model inside the model. `None` means a copy; for such a model or a
            `ProjectedRNN`, `replace` is then called for the layers in it.

    Raises:
        ValueError: If a layer or model can't be copied, or layers share weights that
            their copies would not share.
    """
    return _Rebuilding(model, replace).run()


class _Rebuilding:
    """A copy of a model under construction."""

    def __init__(self, model: keras.Model, replace: Replace) -> None:
        self._model = model
        self._replace = replace
        self._shared = _find_shared(model)
        self._replacements: dict[int, Replacement | None] = {}
        # Layers, and models inside the model, with their counterparts, by `id`.
        self._new: dict[int, tuple[Any, Any]] = {}
        self._made: list[tuple[Replacement, Layer]] = []
        self._in_place_of_models: set[int] = set()

    def run(self) -> Any:
        model = self._model
        if is_graph(model):
            new = self._rebuild_graph(model)
            if not new.built:
                new.build(model.input_shape)
        else:
            new = self._rebuild_container(model)
        # Keras also clones the compilation, whose optimizer is not for these layers.
        for part in new._flatten_layers():
            if isinstance(part, keras.Model):
                part.compiled = False
                part.optimizer = None
        for made in self._made:
            build_replacement(*made)
        pairs = list(pair_layers(model, new))
        freeze_alike(pairs)
        check_ties(pairs)
        warn_of_files(new)
        return new

    def _rebuild_graph(self, model: Any) -> Any:
        if isinstance(model, keras.Sequential):
            given = isinstance(model._layers[0], keras.layers.InputLayer)
            inputs = _make_input(model.inputs[0]) if given else None
            call = None
        else:
            inputs, call = tree.map_structure(_make_input, model.input), self._call
        return keras.models.clone_model(
            model, inputs, clone_function=self._rebuild_layer, call_function=call
        )

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        # Keras passes masks to models; layers don't take them, and find them.
        masks = id(layer) not in self._in_place_of_models
        return layer(*args, **(kwargs if masks else {}))

    def _rebuild_layer(self, layer: Any) -> Any:
        """The counterpart of a layer, a model or an operation, each made once."""
        if id(layer) not in self._new:
            self._new[id(layer)] = layer, self._make(layer)
        return self._new[id(layer)][1]

    def _make(self, layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            # One of `keras.ops` between the layers.
            return copy_unbuilt(layer)
        if is_container(layer):
            return self._rebuild_container(layer)
        replacement = self._find_replacement(layer)
        if is_graph(layer):
            if replacement is None:
                inner = self._rebuild_graph(layer)
                inner.supports_masking = layer.supports_masking
                return inner
            self._in_place_of_models.add(id(replacement.layer))
        self._made.append((replacement or copy_layer(layer), layer))
        return self._made[-1][0].layer

    def _find_replacement(self, layer: Layer) -> Replacement | None:
        if id(layer) not in self._replacements:
            replacement = self._replace(layer)
            if replacement is None and isinstance(layer, ProjectedRNN):
                replacement = self._rebuild_products(layer)
            self._replacements[id(layer)] = replacement
        return self._replacements[id(layer)]

    def _rebuild_container(self, layer: Layer) -> Any:
        """A built copy of a user's layer with layers inside it replaced."""
        found = parts(layer)
        changes: dict[str, Layer] = {}
        ties: dict[str, Layer] = {}
        for place, part in found.items():
            if any(place.startswith(f"{outer}/") for outer in ties):
                continue
            if id(part) in self._shared and part.built:
                ties[place] = self._build_shared(part)
            else:
                new = self._rebuild_changed(part)
                if new is not None:
                    changes[place] = new
        if changes or any(type(new) is not type(found[at]) for at, new in ties.items()):
            return copy_exchanged(layer, {**changes, **ties})
        try:
            copy = copy_built(layer)
        # It is the code of a user.
        except Exception as error:
            if layer is self._model:
                raise ValueError(
                    f"`model` is {explain_no_copy(layer, error)}"
                ) from error
            tied = {id(found[at]): new for at, new in ties.items()}
            return copy_in_memory(layer, error, tied)
        if ties:
            inside = parts(copy)
            tie(copy, {id(inside[at]): new for at, new in ties.items()})
        return copy

    def _build_shared(self, part: Layer) -> Layer:
        """What becomes of a layer, built and with its weights before others are."""
        new = self._rebuild_layer(part)
        for replacement, layer in self._made:
            if layer is part:
                build_replacement(replacement, layer)
        return new

    def _rebuild_changed(self, part: Layer) -> Any:
        """The replacement of a layer inside another, built; `None` for none."""
        if is_container(part) or not part.built:
            return None
        replacement = self._find_replacement(part)
        if replacement is not None:
            return build_replacement(replacement, part)
        if not is_graph(part):
            return None
        found = []

        def replace_and_note(layer: Layer) -> Replacement | None:
            found.append(self._find_replacement(layer))
            return found[-1]

        copy = rebuild(part, replace_and_note)
        return copy if any(one is not None for one in found) else None

    def _rebuild_products(self, layer: ProjectedRNN) -> Replacement | None:
        """A recurrent layer with its products replaced; `None` if none is."""
        changed = [self._rebuild_changed(product) for product in layer.projections]
        if all(new is None for new in changed):
            return None
        products = [
            build_replacement(copy_layer(product), product) if new is None else new
            for product, new in zip(layer.projections, changed, strict=True)
        ]
        new = ProjectedRNN(
            layer.layer, *products, name=layer.name, trainable=layer.trainable
        )
        # The product with the state belongs to the cell and comes first.
        return Replacement(new, products[1].get_weights() + products[0].get_weights())


def _make_input(x: Any) -> Any:
    return keras.Input(
        batch_shape=x.shape,
        dtype=x.dtype,
        sparse=x.sparse,
        ragged=x.ragged,
        name=x.name,
        optional=x._keras_history.operation.optional,
    )


def _find_shared(model: keras.Model) -> set[int]:
    """The layers that several layers or models of a model hold, by `id`."""
    places: Counter[int] = Counter()

    def visit(graph: Any) -> None:
        for layer in graph.layers:
            places[id(layer)] += 1
            if places[id(layer)] == 1 and is_graph(layer):
                visit(layer)
            elif places[id(layer)] == 1:
                inside = layer._flatten_layers(include_self=False)
                places.update({id(part) for part in inside})

    if is_graph(model):
        visit(model)
    return {key for key, count in places.items() if count > 1}
