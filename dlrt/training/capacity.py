"""Room for the factors of low-rank layers, and its changes.

A Keras variable has a fixed shape, so factors of changing rank live in variables with
room for `capacity` columns, zero beyond the rank. Between epochs and after training
the variables are replaced by ones that fit, together with the optimizer's slots, and
compiled functions are traced anew.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import keras

from dlrt import accounting
from dlrt.backend.shapes import dynamic_shapes
from dlrt.checks import check_positive_integer
from dlrt.layers import LowRankLayer
from dlrt.training._layer_step import layers_of
from dlrt.training.optimizer import LowRank

# With dynamic shapes only the inner optimizer works on columns that are not in use. To
# trace a training step anew takes as long as Adam takes for two million entries of `U`
# and `V` in about five hundred steps (measured on two cores: 2.5 s, and 5 ms).
_WORTH_A_MOVE = 2_000_000
# Rooms that shrink are multiples of this.
_ROOM = 8


def low_rank_optimizer(model: keras.Model) -> LowRank | None:
    """The `LowRank` optimizer that a model is compiled with, if any."""
    optimizer = getattr(model, "optimizer", None)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer if isinstance(optimizer, LowRank) else None


def resize(model: keras.Model, capacities: dict[str, int]) -> bool:
    """Gives low-rank layers room for another number of columns.

    Optimizer slots keep their values, and compiled functions are dropped. Safe between
    epochs of a `fit` (in a callback's `on_epoch_end`) and outside of it. A layer whose
    rank is above its new capacity is truncated to it.

    Args:
        model: A model with built low-rank layers.
        capacities: The new capacity by layer, at least 1; layers have the names that
            `dlrt.accounting.ranks` gives them.

    Returns:
        Whether anything changed.

    Raises:
        ValueError: If there is no such layer, or a capacity is no positive integer.
    """
    named = accounting.named_layers(model)
    if not isinstance(capacities, Mapping) or not capacities.keys() <= named.keys():
        raise ValueError(
            "`capacities` must be a dictionary with some of the built low-rank layers "
            f"{list(named)} for its keys. Received: capacities={capacities!r}"
        )
    for name, room in capacities.items():
        check_positive_integer(f"capacities[{name!r}]", room)
    return _resize(model, [(named[name], room) for name, room in capacities.items()])


def _resize(model: keras.Model, rooms: list[tuple[LowRankLayer, int]]) -> bool:
    for layer, _ in rooms:
        # It knows the models that have called it, which this one need not have.
        layer.remember(model)
    return _resize_layers(rooms)


def _resize_layers(rooms: list[tuple[LowRankLayer, int]]) -> bool:
    changed = False
    for layer, capacity in rooms:
        if capacity != layer.capacity:
            layer.set_factors(layer.factors.truncated(capacity), capacity)
            changed = True
    return changed


def variable_scope(model: keras.Model) -> Any:
    """Where the variables of a model must be made to have a copy on every device."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _iterations(optimizer: Any) -> int:
    # `int` refuses a variable of several devices.
    return int(keras.ops.copy(optimizer.iterations))


def compact(model: keras.Model) -> bool:
    """Shrinks every low-rank layer's variables to its rank, see `resize`."""
    layers = accounting.low_rank_layers(model)
    return _resize(model, [(layer, layer.rank) for layer in layers])


def compact_trained(optimizer: LowRank, variables: list) -> None:
    """Compacts the layers that an optimizer has trained, where it is safe.

    Keras calls an optimizer at the end of `fit`, but does not say for which model, and
    on TensorFlow a compiled function of the model would go on with the old variables.
    It is one of those that the layers know if that is compiled with this optimizer.
    Otherwise the variables keep their room, which is correct and merely larger.
    """
    layers = layers_of(variables)
    if any(layer.u._value is None for layer in layers):
        # On JAX, a step that failed has consumed the values; its error is on the way.
        return
    models = {id(m): m for layer in layers for m in layer.outermost_models()}
    for layer in layers:
        layer.keeps_room = False
    for model in models.values():
        if low_rank_optimizer(model) is optimizer:
            compact(model)
    if keras.backend.backend() == "jax":
        # Compiled functions get the variables handed in, and notice their new shapes.
        _resize_layers([(layer, layer.rank) for layer in layers])


def reserve(model: keras.Model) -> bool:
    """Makes room for the augmented factors of the integrator, see `resize`."""
    optimizer = low_rank_optimizer(model)
    if optimizer is None or optimizer.integrator.growth == 1:
        return False
    growth = optimizer.integrator.growth
    return _resize(
        model,
        [
            (layer, max(layer.capacity, growth * layer.rank))
            for layer in _trained_layers(model)
        ],
    )


def settle(model: keras.Model) -> bool:
    """Ends the adaptation of ranks after the optimizer's `truncation_stop`.

    From there on a step costs what it costs at fixed rank. The training function must
    be made anew if anything changed.

    Returns:
        Whether anything changed.
    """
    optimizer = low_rank_optimizer(model)
    if optimizer is None or optimizer.truncation_stop is None:
        return False
    before, resized = optimizer.settled, False
    optimizer.settled = _iterations(optimizer) >= optimizer.truncation_stop
    if optimizer.settled:
        growth = optimizer.integrator.growth
        resized = _resize(
            model, [(layer, growth * layer.rank) for layer in _trained_layers(model)]
        )
    return resized or optimizer.settled != before


def mark(model: keras.Model) -> None:
    """Tells layers, before functions are traced, whether they are to leave padding out.

    They have some where ranks adapt, and between steps that augment the bases.
    """
    optimizer = low_rank_optimizer(model)
    if optimizer is not None:
        augments = optimizer.integrator.growth > 1
        for layer in accounting.low_rank_layers(model):
            padded = augments or optimizer.truncation_of(layer) is not None
            layer.computes_at_rank = layer.trainable and padded


def adapt(model: keras.Model) -> bool:
    """Follows adapted ranks in a few large moves, see `resize`.

    The room shrinks where the rank has fallen below half of it, if that saves enough,
    and doubles, up to the layer's largest rank, where truncation presses against it.
    Once the ranks are to stay, it becomes what they need.
    """
    optimizer = low_rank_optimizer(model)
    if optimizer is None:
        return False
    if settle(model):
        return True
    truncating = _iterations(optimizer) > optimizer.truncation_start
    growth = optimizer.integrator.growth
    smaller: list[tuple[LowRankLayer, int]] = []
    larger: list[tuple[LowRankLayer, int]] = []
    saved = 0
    for layer in _trained_layers(model):
        bound = optimizer.truncation_of(layer)
        if bound is None:
            continue
        rank, columns = layer.rank, layer.capacity // growth
        if 2 * rank <= columns:
            # A little room, so that the rank can recover before the next move, and the
            # same for layers that are nearly alike: they share what is traced.
            room = min(columns, _rounded_up(rank + max(2, rank // 4)))
            smaller.append((layer, growth * room))
            saved += growth * (columns - room) * sum(layer.matrix_shape)
        elif truncating and rank >= columns and columns < bound[1]:
            larger.append((layer, growth * min(2 * columns, bound[1])))
    if dynamic_shapes() and saved < _WORTH_A_MOVE:
        smaller = []
    return _resize(model, smaller + larger)


def _rounded_up(room: int) -> int:
    return -(-room // _ROOM) * _ROOM


def _trained_layers(model: keras.Model) -> list[LowRankLayer]:
    trained = set(map(id, model.trainable_variables))
    return [
        layer for layer in accounting.low_rank_layers(model) if id(layer.s) in trained
    ]
