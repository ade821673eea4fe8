"""Layers and their counterparts in a copy of their model."""

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

from dlrt.backend.structure import is_container, is_graph, own_variables, parts
from dlrt.surgery.exchanged import Exchanged
from dlrt.surgery.replacements import Layer


def pair_layers(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    """A layer and its counterpart, then those inside, outer ones first."""
    yield old, new
    if _wraps(new, old):
        yield from pair_layers(old, new.layer)
    elif type(new) is not type(old):
        return
    elif is_container(old):
        places = parts(new)
        for place, part in parts(old).items():
            if place not in places:
                # Inside one of these containers, which has become an `Exchanged`.
                continue
            if is_container(part) and not _wraps(places[place], part):
                yield part, places[place]
            else:
                yield from pair_layers(part, places[place])
    else:
        layers = (x.layers if is_graph(x) else x._layers for x in (old, new))
        for part, copy in zip(*layers, strict=True):
            yield from pair_layers(part, copy)


def _wraps(new: Any, old: Any) -> bool:
    return isinstance(new, Exchanged) and type(new.layer) is type(old)


def freeze_alike(pairs: list[tuple[Any, Any]]) -> None:
    """Freezes copies of frozen layers, outer ones first: they freeze inner ones."""
    for old, new in pairs:
        # TensorFlow's objects ignore an attribute that is set to its current value.
        new.trainable = not old.trainable
        new.trainable = old.trainable
        if type(new) is type(old):
            variables = own_variables(old), own_variables(new)
            for variable, copy in zip(*variables, strict=True):
                copy.trainable = variable.trainable


def check_ties(pairs: list[tuple[Any, Any]]) -> None:
    """Rejects copies that don't share weights as the layers do."""
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


def warn_of_files(model: keras.Model) -> None:
    """Warns of a layer that is in a model and in another model inside it."""
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
