"""Which layers of a model are to be replaced."""

import contextlib
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

import keras

from dlrt.backend.structure import is_container
from dlrt.layers import ProjectedRNN
from dlrt.surgery.families import (
    FAMILIES,
    Family,
    family_of,
    family_of_low_rank,
    stranger,
)
from dlrt.surgery.rebuild import layers_in, out_of_reach
from dlrt.surgery.replacements import plain_type

Layer: TypeAlias = keras.layers.Layer
# A layer that can be replaced.
Candidate = tuple[Layer, Family]
LayerFilter = str | Iterable[str] | Callable[[Layer], bool] | None


def select(model: keras.Model, layers: LayerFilter) -> list[Candidate]:
    """The layers to convert.

    The products of a `ProjectedRNN` go by its name as well, and so do the projections
    of attention of a user's class.

    Raises:
        ValueError: If one of them has no low-rank form.
    """
    check_filter(layers)
    found = candidates(model)
    far = out_of_reach(model)
    owners = names_of_owners(model, (ProjectedRNN, keras.layers.MultiHeadAttention))

    def names(layer: Layer) -> list[str]:
        return [layer.name, *owners.get(id(layer), ())]

    if layers is None:
        chosen = _default([c for c in found if id(c[0]) not in far])
    elif isinstance(layers, str):
        chosen = [
            c for c in found if any(re.fullmatch(layers, name) for name in names(c[0]))
        ]
    elif callable(layers):
        chosen = [c for c in found if layers(c[0])]
    else:
        wanted = set(layers)
        missing = wanted - {name for layer, _ in found for name in names(layer)}
        if missing:
            raise ValueError(
                "`layers` names no layer that can be converted: "
                f"{sorted(missing)}. {overview(model)}"
            )
        chosen = [c for c in found if not wanted.isdisjoint(names(c[0]))]
    for layer, family in chosen:
        obstacle = far.get(id(layer)) or family.obstacle(layer)
        if obstacle is not None:
            raise ValueError(
                f"Layer {layer.name!r} {obstacle}. Leave the layer out with `layers`."
            )
    return chosen


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


def _default(found: list[Candidate]) -> list[Candidate]:
    chosen = [(layer, family) for layer, family in found if family.by_default(layer)]
    plain = (keras.layers.Dense, keras.layers.EinsumDense)
    last = [layer for layer, _ in chosen if plain_type(layer) in plain][-1:]
    return [c for c in chosen if c[0] not in last] or chosen


def names_of_owners(
    model: keras.Model, kinds: type[Layer] | tuple[type[Layer], ...]
) -> dict[int, list[str]]:
    """The names of layers of some types that layers are within, by their `id`."""
    found: dict[int, list[str]] = {}
    for layer in model._flatten_layers():
        if isinstance(layer, kinds):
            for part in layer._flatten_layers(include_self=False):
                found.setdefault(id(part), []).append(layer.name)
    return found


def candidates(model: keras.Model) -> list[Candidate]:
    """The layers of a family that can be replaced, in order, each once."""
    layers = {id(layer): layer for layer in layers_in(model)}.values()
    families = [(layer, family_of(layer)) for layer in layers]
    return [(layer, family) for layer, family in families if family is not None]


def overview(model: keras.Model) -> str:
    """What can be converted, for a message, and what can't."""
    far = out_of_reach(model)
    names = [layer.name for layer, _ in candidates(model) if id(layer) not in far]
    kinds = ", ".join(f.keras_types[0].__name__ for f in FAMILIES)
    text = f"Layers that can be converted ({kinds}): {names}."
    return " ".join([text, *find_left_alone(model)])


def find_left_alone(model: keras.Model) -> list[str]:
    """Sentences on layers that one would take for convertible, and are not."""
    far = out_of_reach(model)
    found: dict[str, list[str]] = {}
    for layer in layers_in(model):
        known = id(layer) in far and family_of(layer) is not None
        why_not = far[id(layer)] if known else stranger(layer)
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


def check_built(model: keras.Model) -> None:
    """Refuses what is no built model.

    Raises:
        TypeError: If it is no model.
        ValueError: If it is not built.
    """
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
