"""Selects the layers of a model to be replaced."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator

import keras

from dlrt.backend.structure import is_container, is_graph, own_variables, parts
from dlrt.layers import ProjectedRNN
from dlrt.surgery.copies import copy_unbuilt, explain_no_copy
from dlrt.surgery.families.base import (
    FAMILIES,
    Family,
    explain_override,
    family_of,
    family_of_low_rank,
)
from dlrt.surgery.replacements import Layer, plain_type

# A layer that can be replaced.
Candidate = tuple[Layer, Family]
LayerFilter = str | Iterable[str] | Callable[[Layer], bool] | None


def select(model: keras.Model, layers: LayerFilter) -> list[Candidate]:
    """The layers to convert; a ValueError if one of them has no low-rank form.

    The products of a `ProjectedRNN` are also selected by its name, and so are the
    projections of attention layers of a user's class.
    """
    check_filter(layers)
    found = find_candidates(model)
    far = out_of_reach(model)
    owners = names_of_owners(model, (ProjectedRNN, keras.layers.MultiHeadAttention))

    def names(layer: Layer) -> list[str]:
        return [layer.name, *owners.get(id(layer), ())]

    if layers is None:
        chosen = _select_by_default([c for c in found if id(c[0]) not in far])
    else:
        if not (isinstance(layers, str) or callable(layers)):
            layers = set(layers)
            missing = layers - {name for layer, _ in found for name in names(layer)}
            if missing:
                raise ValueError(
                    "`layers` names no layer that can be converted: "
                    f"{sorted(missing)}. {describe_choices(model)}"
                )
        chosen = [c for c in found if matches(layers, c[0], names(c[0]))]
    for layer, family in chosen:
        obstacle = far.get(id(layer)) or family.obstacle(layer)
        if obstacle is not None:
            raise ValueError(
                f"Layer {layer.name!r} {obstacle}. Leave the layer out with `layers`."
            )
    return chosen


def matches(layers: LayerFilter, layer: Layer, names: Iterable[str]) -> bool:
    """Whether `layers` selects a layer with these names; `None` selects all."""
    if layers is None or callable(layers):
        return layers is None or layers(layer)
    if isinstance(layers, str):
        return any(re.fullmatch(layers, name) for name in names)
    return not set(names).isdisjoint(layers)


def check_filter(layers: object) -> None:
    """Raises a ValueError unless `layers` can select layers."""
    if layers is None or callable(layers):
        return
    if isinstance(layers, str):
        with contextlib.suppress(re.error):
            re.compile(layers)
            return
    elif isinstance(layers, Iterable):
        return
    raise ValueError(
        "`layers` must be a regular expression, names of layers or a function of a "
        f"layer. Received: layers={layers!r}"
    )


def _select_by_default(found: list[Candidate]) -> list[Candidate]:
    chosen = [(layer, family) for layer, family in found if family.by_default(layer)]
    plain = (keras.layers.Dense, keras.layers.EinsumDense)
    last = [layer for layer, _ in chosen if plain_type(layer) in plain][-1:]
    return [c for c in chosen if c[0] not in last] or chosen


def names_of_owners(
    model: keras.Model, kinds: type[Layer] | tuple[type[Layer], ...]
) -> dict[int, list[str]]:
    """The names of containers of some types, by the `id` of the layers inside."""
    found: dict[int, list[str]] = {}
    for layer in model._flatten_layers():
        if isinstance(layer, kinds):
            for part in layer._flatten_layers(include_self=False):
                found.setdefault(id(part), []).append(layer.name)
    return found


def find_candidates(model: keras.Model) -> list[Candidate]:
    """The layers of a family that can be replaced, in order, each once."""
    layers = {id(layer): layer for layer in layers_in(model)}.values()
    return [(x, family) for x in layers if (family := family_of(x)) is not None]


def describe_choices(model: keras.Model) -> str:
    """Text on which layers can be converted, and which can't."""
    far = out_of_reach(model)
    names = [layer.name for layer, _ in find_candidates(model) if id(layer) not in far]
    kinds = ", ".join(f.keras_types[0].__name__ for f in FAMILIES)
    text = f"Layers that can be converted ({kinds}): {names}."
    return " ".join([text, *find_left_alone(model)])


def find_left_alone(model: keras.Model) -> list[str]:
    """Sentences on layers that seem convertible but are not."""
    far = out_of_reach(model)
    found: dict[str, list[str]] = {}
    for layer in layers_in(model):
        known = id(layer) in far and family_of(layer) is not None
        why_not = far[id(layer)] if known else explain_override(layer)
        if why_not is not None:
            found.setdefault(why_not, []).append(layer.name)
    sentences = [f"Left alone: {names}; each {why}." for why, names in found.items()]
    hidden = [
        f"{layer.name}/{part.name}"
        for layer in layers_in(model)
        if not (family_of(layer) or family_of_low_rank(layer) or is_container(layer))
        for part in layer._flatten_layers(include_self=False)
        if family_of(part) is not None
    ]
    if hidden:
        sentences.append(f"Those within other layers can't be replaced: {hidden}.")
    return sentences


def layers_in(model: Layer) -> Iterator[Layer]:
    """The layers that `rebuild` can replace, in order, each as often as it occurs.

    These include layers and models of users' classes with weights of their own, which
    can't be replaced.
    """
    for layer in model.layers if is_graph(model) else parts(model).values():
        if is_graph(layer):
            yield from layers_in(layer)
        elif isinstance(layer, ProjectedRNN):
            for product in layer.projections:
                yield from layers_in(product) if is_graph(product) else [product]
        elif not is_container(layer):
            # A layer that is never called has no weights.
            if layer.built:
                yield layer
        else:
            if own_variables(layer):
                yield layer
            if is_graph(model):
                # Layers inside other containers belong to the outermost.
                yield from layers_in(layer)


def out_of_reach(model: Layer) -> dict[int, str]:
    """Why layers inside one that can't be copied can't be replaced, by their `id`."""
    found = {}
    for layer in model.layers if is_graph(model) else ():
        if is_graph(layer):
            found.update(out_of_reach(layer))
        elif is_container(layer):
            try:
                copy_unbuilt(layer)
            # It is the code of a user.
            except Exception as error:
                why = f"is within {explain_no_copy(layer, error)}"
                found.update(dict.fromkeys(map(id, layers_in(layer)), why))
    return found


def check_built(model: keras.Model) -> None:
    """Raises a TypeError unless `model` is a model, a ValueError unless it is built."""
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(
            f"`model` must be a built Keras model. Received: {model!r} of type "
            f"{type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            f"`model` must be built. Received: {model.name!r}, which is not; call it "
            "on data or give it an Input."
        )
