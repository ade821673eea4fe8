"""The state of a `LowRank` optimizer in files: slots of factors at their ranks."""

import warnings
from typing import Any

import keras
import numpy as np

from dlrt.layers import LowRankLayer
from dlrt.layers.factor import layer_of
from dlrt.training import optimizer_slots


def save(optimizer: Any, store: Any) -> None:
    """Saves the variables of an optimizer, those for factors at the current rank."""
    owners = _owners(optimizer.inner_optimizer)
    for index, variable in enumerate(optimizer.variables):
        value = variable.numpy()
        if id(variable) in owners:
            layer, factor = owners[id(variable)]
            shape = _shape_at_rank(value, layer, factor, layer.rank)
            value = optimizer_slots.crop_or_pad(value, shape)
        store[str(index)] = value


def load(optimizer: Any, store: Any) -> None:
    """Loads the variables of an optimizer; factors may have had other ranks."""
    slots = optimizer.variables
    if len(store.keys()) != len(slots):
        # The warning of Keras, whose own would blame this function.
        warnings.warn(
            f"Skipping variable loading for optimizer {optimizer.name!r}, because it "
            f"has {len(slots)} variables whereas the saved optimizer has "
            f"{len(store.keys())} variables.",
            stacklevel=3,
        )
        return
    values = [np.asarray(store[str(index)]) for index in range(len(slots))]
    owners, at_ranks = _owners(optimizer.inner_optimizer), set()
    for index, (slot, value) in enumerate(zip(slots, values, strict=True)):
        if id(slot) not in owners or value.ndim != 2:
            continue
        layer, factor = owners[id(slot)]
        rank = value.shape[1]
        like_factor = _shape_at_rank(slot, layer, factor, rank) == value.shape
        if slot.shape == factor.shape and like_factor:
            at_ranks.add(index)
            if rank > layer.capacity:
                # The factors come after the optimizer.
                layer.set_factors(layer.factors, rank)
    for index, (slot, value) in enumerate(
        zip(optimizer.variables, values, strict=True)
    ):
        if index in at_ranks:
            value = optimizer_slots.crop_or_pad(value, tuple(slot.shape))
        slot.assign(value)


def _owners(
    inner: keras.optimizers.Optimizer,
) -> dict[int, tuple[LowRankLayer, keras.Variable]]:
    """The layer and the factor to which each slot of an optimizer belongs."""
    return {
        id(slots[index]): (layer, weight)
        for index, weight in enumerate(inner._trainable_variables)
        if (layer := layer_of(weight)) is not None
        for _, slots in optimizer_slots.slot_lists(inner)
        if slots[index] is not None
    }


def _shape_at_rank(
    slot: Any, layer: LowRankLayer, factor: keras.Variable, rank: int
) -> tuple[int, ...]:
    core = factor is layer.s
    return optimizer_slots.shape_at_rank(
        tuple(slot.shape), tuple(factor.shape), core, rank
    )
