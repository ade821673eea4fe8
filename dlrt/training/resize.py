"""Room for the factors of low-rank layers.

A Keras variable has a fixed shape, so factors of changing rank live in variables with
room for `capacity` columns, zero beyond the rank. Between epochs and after training the
variables are replaced by ones that fit, together with the optimizer's slots, and
compiled functions are traced again.
"""

from collections.abc import Mapping
from typing import Any

import keras

from dlrt import accounting
from dlrt.checks import check_positive_integer
from dlrt.layers import LowRankLayer
from dlrt.layers.factor import layers_of


def resize(model: keras.Model, capacities: dict[str, int]) -> bool:
    """Changes the capacity of low-rank layers.

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
        ValueError: If there is no such layer, or a capacity is not a positive integer.
    """
    named = accounting.named_layers(model)
    if not isinstance(capacities, Mapping) or not capacities.keys() <= named.keys():
        raise ValueError(
            "`capacities` must be a dictionary with some of the built low-rank layers "
            f"{list(named)} for its keys. Received: capacities={capacities!r}"
        )
    for name, room in capacities.items():
        check_positive_integer(f"capacities[{name!r}]", room)
    rooms = [(named[name], room) for name, room in capacities.items()]
    return resize_layers(rooms, model)


def compact(model: keras.Model) -> bool:
    """Shrinks every low-rank layer's variables to its rank, see `resize`."""
    layers = accounting.low_rank_layers(model)
    return resize_layers([(layer, layer.rank) for layer in layers], model)


def resize_layers(
    rooms: list[tuple[LowRankLayer, int]], model: keras.Model | None = None
) -> bool:
    """Sets the capacity of each layer, see `resize`.

    Args:
        rooms: The layers and their new capacities.
        model: The model that they belong to, if they may not know it yet.

    Returns:
        Whether anything changed.
    """
    changed = False
    for layer, capacity in rooms:
        if model is not None:
            # It knows the models that have called it; this one may not have done so.
            layer.remember(model)
        if capacity != layer.capacity:
            layer.set_factors(layer.factors.truncated(capacity), capacity)
            changed = True
    return changed


def innermost_optimizer(model: keras.Model) -> Any:
    """The optimizer that a model is compiled with, without what scales its losses."""
    optimizer = getattr(model, "optimizer", None)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer


def compact_trained(optimizer: keras.optimizers.Optimizer, variables: list) -> None:
    """Compacts the layers that an optimizer has trained, where it is safe.

    Keras calls an optimizer at the end of `fit`, but does not say for which model, and
    on TensorFlow a compiled function of the model would go on with the old variables.
    It is among the models that the layers know if one of these is compiled with this
    optimizer. Otherwise the variables keep their capacity, which only costs memory.
    """
    layers = layers_of(variables)
    if any(layer.u._value is None for layer in layers):
        # On JAX, a step that failed has consumed the values; its error is on the way.
        return
    models = {id(m): m for layer in layers for m in layer.outermost_models()}
    for layer in layers:
        layer.keeps_room = False
    for model in models.values():
        if innermost_optimizer(model) is optimizer:
            compact(model)
    if keras.backend.backend() == "jax":
        # Compiled functions take the variables as arguments and notice new shapes.
        resize_layers([(layer, layer.rank) for layer in layers])
