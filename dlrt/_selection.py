"""Which layers of a model are to be replaced."""

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

import keras

from dlrt._families import FAMILIES, Family, family_of, family_of_low_rank
from dlrt._rebuild import layers_in
from dlrt.layers import ProjectedRNN

Layer: TypeAlias = keras.layers.Layer
# A layer that can be replaced.
Candidate = tuple[Layer, Family]
LayerFilter = str | Iterable[str] | Callable[[Layer], bool] | None


def select(model: keras.Model, layers: LayerFilter) -> list[Candidate]:
    """The layers to convert.

    The products of a `ProjectedRNN` go by its name as well.

    Raises:
        ValueError: If one of them has no low-rank form.
    """
    found = candidates(model)
    owners = names_of_recurrent(model)

    def names(layer: Layer) -> list[str]:
        return [layer.name, *owners.get(id(layer), ())]

    if layers is None:
        chosen = _default(found)
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
        obstacle = family.obstacle(layer)
        if obstacle is not None:
            raise ValueError(
                f"Layer {layer.name!r} {obstacle}. Leave the layer out with `layers`."
            )
    return chosen


def _default(found: list[Candidate]) -> list[Candidate]:
    chosen = [(layer, family) for layer, family in found if family.by_default(layer)]
    plain = (keras.layers.Dense, keras.layers.EinsumDense)
    last = [layer for layer, _ in chosen if type(layer) in plain][-1:]
    return [c for c in chosen if c[0] not in last] or chosen


def names_of_recurrent(model: keras.Model) -> dict[int, list[str]]:
    """The names of the recurrent layers that layers are within, by their `id`."""
    found: dict[int, list[str]] = {}
    for layer in model._flatten_layers():
        if isinstance(layer, ProjectedRNN):
            for part in layer._flatten_layers(include_self=False):
                found.setdefault(id(part), []).append(layer.name)
    return found


def candidates(model: keras.Model) -> list[Candidate]:
    """The layers of a family that can be replaced, in order, each once."""
    layers = {id(layer): layer for layer in layers_in(model)}.values()
    families = [(layer, family_of(layer)) for layer in layers]
    return [(layer, family) for layer, family in families if family is not None]


def overview(model: keras.Model) -> str:
    """What can be converted, and what is out of reach, for a message."""
    names = [layer.name for layer, _ in candidates(model)]
    hidden = [
        f"{layer.name}/{part.name}"
        for layer in layers_in(model)
        if family_of(layer) is None and family_of_low_rank(layer) is None
        for part in layer._flatten_layers(include_self=False)
        if family_of(part) is not None
    ]
    kinds = ", ".join(f.keras_types[0].__name__ for f in FAMILIES)
    text = f"Layers that can be converted ({kinds}): {names}."
    if hidden:
        text += f" Those within other layers can't be replaced: {hidden}."
    return text


def check_built(model: keras.Model) -> None:
    if not model.built:
        raise ValueError(
            f"`model` must be built. Received: {model.name!r}, which is not; call it "
            "on data or give it an Input."
        )
