"""Layers compressed one after the other, with training in between."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from dlrt.compression._plan import Candidate, Plan
from dlrt.compression.structures import Choice
from dlrt.surgery.counterparts import pair_layers
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.replacements import Layer, Replacement
from dlrt.surgery.selection import layers_in


def replace_one_by_one(
    model: keras.Model,
    plan: Plan,
    plan_again: Callable[[Layer, Candidate, Choice], tuple[Candidate, Choice | None]],
    fine_tune: Callable[[keras.Model], Any],
    freeze: bool,
) -> tuple[keras.Model, Plan]:
    """A model with one layer after the other replaced, and the plan as carried out.

    Astrid & Lee, 2017, arXiv:1701.07148: each is decomposed after training with the
    previous ones already decomposed. `plan_again` returns the replacement of a layer as
    it is now, from the plan; `fine_tune` is called after each layer but the last; with
    `freeze`, layers that have been replaced stay untrained.
    """
    done = list(plan)
    now = {id(layer): layer for layer in layers_in(model)}
    current = model
    waiting = {i: choice for i, (_, choice) in enumerate(plan) if choice is not None}
    for index, planned in waiting.items():
        before = plan[index][0]
        candidate, choice = plan_again(now[id(before.layer)], before, planned)
        done[index] = before, choice
        if choice is not None:
            replacement = candidate.structure.build_replacement(choice)
            current, now = _replace_one(current, now, candidate.layer, replacement)
        if index != max(waiting):
            with _freeze(_find_new(current, now) if freeze else []):
                fine_tune(current)
    if current is model:
        current = rebuild(model, lambda layer: None)
    return current, done


def _replace_one(
    model: keras.Model, now: dict[int, Layer], old: Layer, replacement: Replacement
) -> tuple[keras.Model, dict[int, Layer]]:
    """A copy of a model with a layer replaced, and the counterparts of the others."""
    copy = rebuild(model, lambda layer: replacement if layer is old else None)
    new = {id(layer): counterpart for layer, counterpart in pair_layers(model, copy)}
    return copy, {k: new[id(layer)] for k, layer in now.items() if layer is not old}


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
