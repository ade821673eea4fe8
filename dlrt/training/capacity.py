"""Decides when the capacity of low-rank layers changes, see `resize`."""

import contextlib
import warnings
from typing import Any

import keras

from dlrt import accounting
from dlrt.backend.shapes import dynamic_shapes
from dlrt.layers import LowRankLayer
from dlrt.training._update import Bounds
from dlrt.training.optimizer import LowRank
from dlrt.training.resize import innermost_optimizer, resize_layers

# With dynamic shapes only the inner optimizer works on columns that are not in use.
# Tracing a training step again takes as long as Adam takes to update two million
# entries of `U` and `V` some five hundred times (measured on two cores: 2.5 s and 5
# ms).
_WORTH_A_MOVE = 2_000_000
# Reduced capacities are rounded up to a multiple of this.
_ROOM = 8
# How much the rank of a layer can grow until the end of the epoch. It is little, since
# the inner optimizer works on all columns.
_GROWTH = 16


def low_rank_optimizer(model: keras.Model) -> LowRank | None:
    """The `LowRank` optimizer that a model is compiled with, if any."""
    optimizer = innermost_optimizer(model)
    return optimizer if isinstance(optimizer, LowRank) else None


def variable_scope(model: keras.Model) -> Any:
    """The scope in which variables of a model get a copy on every device."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _iterations(optimizer: Any) -> int:
    # `int` rejects a variable that is on several devices.
    return int(keras.ops.copy(optimizer.iterations))


def reserve(model: keras.Model) -> bool:
    """Makes room for what the integrator adds and for ranks to grow, see `resize`."""
    optimizer = low_rank_optimizer(model)
    if optimizer is None:
        return False
    room = optimizer.integrator.room
    rooms = [
        (layer, max(layer.capacity, room(_columns(optimizer, layer))))
        for layer in _trained_layers(model)
    ]
    return resize_layers(rooms, model)


def _columns(optimizer: LowRank, layer: LowRankLayer) -> int:
    """Number of columns that a layer needs before the next change of capacity."""
    rank, bounds = layer.rank, optimizer.bounds_of(layer)
    if bounds is None or not optimizer.candidates:
        return rank
    return max(rank, min(rank + _GROWTH, bounds.max_rank))


def settle(model: keras.Model) -> bool:
    """Ends the adaptation of ranks after the optimizer's `truncation_stop`.

    From then on a step costs as much as at fixed rank. The training function must be
    rebuilt if anything changed.

    Returns:
        Whether anything changed.
    """
    optimizer = low_rank_optimizer(model)
    if optimizer is None or optimizer.truncation_stop is None:
        return False
    before, resized = optimizer.settled, False
    optimizer.settled = _iterations(optimizer) >= optimizer.truncation_stop
    if optimizer.settled:
        room = optimizer.integrator.room
        rooms = [(layer, room(layer.rank)) for layer in _trained_layers(model)]
        resized = resize_layers(rooms, model)
    return resized or optimizer.settled != before


def mark(model: keras.Model) -> None:
    """Tells layers, before functions are traced, whether to leave out padding.

    Layers have padding where ranks adapt, and between steps that augment bases.
    """
    optimizer = low_rank_optimizer(model)
    if optimizer is not None:
        augments = optimizer.integrator.augments
        for layer in accounting.low_rank_layers(model):
            padded = augments or optimizer.bounds_of(layer) is not None
            layer.computes_at_rank = layer.trainable and padded


def adapt(model: keras.Model) -> bool:
    """Follows adapted ranks in a few large changes of capacity, see `resize`.

    The capacity shrinks where the rank has fallen below half of it, if that saves
    enough, and doubles at least, up to the layer's largest rank, where the rank has
    reached it. Once the ranks are settled, it becomes what they need.
    """
    optimizer = low_rank_optimizer(model)
    if optimizer is None:
        return False
    if settle(model):
        return True
    truncating = _iterations(optimizer) > optimizer.truncation_start
    integrator = optimizer.integrator
    growth = _GROWTH if optimizer.candidates else 0
    smaller: list[tuple[LowRankLayer, int]] = []
    larger: list[tuple[LowRankLayer, int]] = []
    saved = 0
    for layer in _trained_layers(model):
        bounds = optimizer.bounds_of(layer)
        if bounds is None:
            continue
        rank, columns = layer.rank, integrator.rank_of_room(layer.capacity)
        if truncating and optimizer.candidates and rank >= bounds.max_rank:
            _warn_of_limit(layer, bounds)
        if 2 * max(rank, growth) <= columns:
            # Some room, so that the rank can recover before the next change, and the
            # same for layers of nearly equal rank, which then share a trace.
            room = integrator.room(min(columns, _rounded_up(rank + max(2, rank // 4))))
            smaller.append((layer, room))
            saved += (layer.capacity - room) * sum(layer.matrix_shape)
        elif truncating and rank >= columns and columns < bounds.max_rank:
            more = min(max(2 * columns, columns + _GROWTH), bounds.max_rank)
            larger.append((layer, integrator.room(more)))
    if dynamic_shapes() and saved < _WORTH_A_MOVE:
        smaller = []
    return resize_layers(smaller + larger, model)


def _warn_of_limit(layer: LowRankLayer, bounds: Bounds) -> None:
    if bounds.max_rank < min(layer.matrix_shape):
        # Python shows the same warning once.
        warnings.warn(
            f"The rank of layer {layer.name!r} stays at max_rank={bounds.max_rank}: "
            f"tolerance={bounds.tolerance} may ask for more.",
            stacklevel=2,
        )


def _rounded_up(room: int) -> int:
    return -(-room // _ROOM) * _ROOM


def _trained_layers(model: keras.Model) -> list[LowRankLayer]:
    trained = set(map(id, model.trainable_variables))
    return [
        layer for layer in accounting.low_rank_layers(model) if id(layer.s) in trained
    ]
