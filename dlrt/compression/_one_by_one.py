"""Layers compressed one after the other, with training in between."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras

from dlrt.compression._candidates import Candidate, Plan
from dlrt.compression.structures import Choice
from dlrt.layers import ProjectedRNN
from dlrt.surgery.copies import copy_layer
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.replacements import Replacement
from dlrt.surgery.selection import layers_in

Layer: TypeAlias = keras.layers.Layer


def replace_one_by_one(
    model: keras.Model,
    plan: Plan,
    plan_again: Callable[[Layer, Candidate, Choice], tuple[Candidate, Choice | None]],
    fine_tune: Callable[[keras.Model], Any],
    freeze: bool,
) -> tuple[keras.Model, Plan]:
    """A model with one layer after the other replaced, from the first to the last.

    Astrid & Lee, 2017, arXiv:1701.07148: each is decomposed after training with the
    previous ones already decomposed.

    Args:
        model: The model; it is not changed.
        plan: The plan for its layers before any training.
        plan_again: Returns the replacement of a layer as it is now, from the plan.
        fine_tune: Trains a model. It is called after each layer but the last.
        freeze: Whether layers that have been replaced stay untrained.

    Returns:
        The model, and the plan as carried out.
    """
    done = list(plan)
    now = {id(layer): layer for layer in layers_in(model)}
    current = model
    waiting = [
        (i, before, choice)
        for i, (before, choice) in enumerate(plan)
        if choice is not None
    ]
    for index, before, planned in waiting:
        candidate, choice = plan_again(now[id(before.layer)], before, planned)
        done[index] = before, choice
        if choice is not None:
            replacement = candidate.structure.build_replacement(choice)
            current, now = _replace_one(current, now, candidate.layer, replacement)
        if index != waiting[-1][0]:
            with _freeze(_find_new(current, now) if freeze else []):
                fine_tune(current)
    if current is model:
        current = rebuild(model, lambda layer: None)
    return current, done


def _replace_one(
    model: keras.Model, now: dict[int, Layer], old: Layer, replacement: Replacement
) -> tuple[keras.Model, dict[int, Layer]]:
    """A copy of a model with a layer replaced, and the counterparts of the others."""
    copies: dict[int, Layer] = {}

    def replace(layer: Layer) -> Replacement | None:
        if layer is old:
            return replacement
        if isinstance(layer, (keras.Model, ProjectedRNN)):
            return None
        made = copy_layer(layer)
        copies[id(layer)] = made.layer
        return made

    copy = rebuild(model, replace)
    still = {key: copies.get(id(layer)) for key, layer in now.items()}
    return copy, {key: layer for key, layer in still.items() if layer is not None}


def _find_new(model: keras.Model, now: dict[int, Layer]) -> list[Layer]:
    old = {id(layer) for layer in now.values()}
    return [layer for layer in layers_in(model) if id(layer) not in old]


@contextmanager
def _freeze(layers: Sequence[Layer]) -> Iterator[None]:
    were = [layer.trainable for layer in layers]
    for layer in layers:
        layer.trainable = False
    try:
        yield
    finally:
        for layer, trainable in zip(layers, were, strict=True):
            layer.trainable = trainable
