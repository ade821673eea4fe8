"""The variables that a Keras optimizer keeps for each weight.

Any optimizer can be wrapped, so nothing is assumed of its slots but what Keras
guarantees: lists as long as the list of weights, made by `build`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.utils.tracking import DotNotTrackScope  # not exported by Keras

# Slots that accumulate squares or magnitudes, not directions. They carry over to
# rotated coordinates as variances do.
_MAGNITUDES = ("velocit", "accumul", "norm", "average_grad")
_DIRECTIONS = ("gradient_accumulator",)


def slot_lists(
    optimizer: keras.optimizers.Optimizer,
) -> Iterator[tuple[str, list]]:
    """The optimizer's lists of slots, one entry a weight, by attribute name."""
    weights = optimizer._trainable_variables
    for name, value in vars(optimizer).items():
        if (
            name not in ("_trainable_variables", "_variables")
            and isinstance(value, (list, tuple))
            and len(value) == len(weights) > 0
            and all(v is None or isinstance(v, keras.Variable) for v in value)
        ):
            yield name, list(value)


def slots_of(optimizer: keras.optimizers.Optimizer, index: int) -> list[keras.Variable]:
    """The slots of one weight that have the shape of the weight."""
    shape = tuple(optimizer._trainable_variables[index].shape)
    return [
        slots[index]
        for _, slots in slot_lists(optimizer)
        if slots[index] is not None and tuple(slots[index].shape) == shape
    ]


def holds_magnitudes(slot: keras.Variable) -> bool:
    """Whether a slot holds squares or magnitudes rather than directions."""
    name = slot.name
    if any(part in name for part in _DIRECTIONS):
        return False
    return any(part in name for part in _MAGNITUDES)


def rotated(value: Any, factor: str, left: Any, right: Any, magnitudes: bool) -> Any:
    """A slot in the coordinates of new bases.

    First moments rotate; second moments propagate as the variances of independent
    entries.

    Args:
        value: The slot.
        factor: `"u"`, `"s"` or `"v"`, the factor that it belongs to.
        left: Overlap `Uᵀ U1` of the old with the new basis.
        right: Overlap `Vᵀ V1`.
        magnitudes: Whether it holds second moments.
    """
    if magnitudes:
        left, right = ops.square(left), ops.square(right)
    if factor == "u":
        return value @ right
    if factor == "v":
        return value @ left
    return ops.swapaxes(left, -1, -2) @ value @ right


def shape_at_rank(
    slot: tuple[int, ...], weight: tuple[int, ...], core: bool, rank: int
) -> tuple[int, ...]:
    """The shape of a slot if its factor had no more columns than its rank.

    Args:
        slot: Shape of the slot, that of the factor or a part of it.
        weight: Shape of the factor: `(n, capacity)`, or `(capacity, capacity)`.
        core: Whether the factor is `S`.
        rank: The rank of the factor.
    """
    rows, columns = weight
    smaller = (rank if core else rows, rank)
    if slot == weight:
        return smaller
    return tuple({rows: smaller[0], columns: rank}.get(size, size) for size in slot)


def crop_or_pad(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The leading part of an array, padded with zeros."""
    if array.shape == tuple(shape):
        return array
    cropped = array[tuple(slice(size) for size in shape)]
    return np.pad(
        cropped,
        [(0, size - have) for size, have in zip(shape, cropped.shape, strict=True)],
    )


def fitted(slot: keras.Variable, fresh: keras.Variable) -> np.ndarray:
    """The value of a slot, cropped or padded to the shape of a fresh one."""
    return crop_or_pad(slot.numpy(), tuple(fresh.shape))


def rebuild(
    optimizer: keras.optimizers.Optimizer,
    variables: list[keras.Variable],
    carried: Callable[[keras.Variable, keras.Variable], np.ndarray] = fitted,
) -> None:
    """Makes an optimizer follow weights, some of which have been replaced.

    Their slots are those of a fresh optimizer of the same configuration, filled with
    the old values. Iteration counter, learning rate and the slots of other weights stay
    the same objects, since schedules, callbacks and compiled functions hold on to them.

    Args:
        optimizer: A built optimizer that wraps no other.
        variables: The weights, in the order in which it was built.
        carried: Returns the new value of a slot, from the old and the fresh slot.
    """
    old_variables = optimizer._trainable_variables
    replaced = [i for i, v in enumerate(variables) if v is not old_variables[i]]
    fresh = type(optimizer).from_config(optimizer.get_config())
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(fresh, name, getattr(optimizer, name))
    fresh.build([variables[index] for index in replaced])
    lists = dict(slot_lists(optimizer))
    order = list(optimizer._variables)
    for name, slots in lists.items():
        for index, new in zip(replaced, getattr(fresh, name), strict=True):
            old, slots[index] = slots[index], new
            if old is not None:
                new.assign(carried(old, new))
                order[[v is old for v in order].index(True)] = new
                optimizer._tracker.untrack(old)
                optimizer._track_variable(new)
    # Past `__setattr__`, which would track the variables again.
    vars(optimizer).update(lists)
    # In the old order, in which they are saved. TensorFlow can't export objects that
    # hold a list from which entries were removed.
    accepts, _ = optimizer._tracker.config["variables"]
    with DotNotTrackScope():
        optimizer._variables = order
    optimizer._tracker.config["variables"] = accepts, optimizer._variables
    follow(optimizer, variables)


def follow(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> None:
    """Tells an optimizer which weights it is for, slots aside."""
    vars(optimizer)["_trainable_variables"] = variables[:]
    vars(optimizer)["_trainable_variables_indices"] = {
        optimizer._var_key(variable): i for i, variable in enumerate(variables)
    }
