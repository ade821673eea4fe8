"""The variables that a Keras optimizer keeps for each weight.

Any optimizer can be wrapped, so nothing is assumed of its slots but what Keras says:
lists as long as the list of weights, made by `build`.
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
    """The shape of a slot if the factor it is for had no more columns than its rank.

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
    """The leading part of an array, filled up with zeros."""
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
    """Makes an optimizer follow weights of which some have been replaced.

    The slots are those of a fresh optimizer of the same configuration, filled with the
    old values. Iteration counter and learning rate stay the same objects, since
    schedules and callbacks hold on to them.

    Args:
        optimizer: A built optimizer that wraps no other.
        variables: The weights, in the order in which it was built.
        carried: What becomes of an old slot, from it and the fresh one in its place.
    """
    fresh = type(optimizer).from_config(optimizer.get_config())
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(fresh, name, getattr(optimizer, name))
    fresh.build(variables)
    kept = [optimizer._iterations]
    if isinstance(optimizer._learning_rate, keras.Variable):
        kept.append(optimizer._learning_rate)
    old_slots = optimizer.variables[len(kept) :]
    new_slots = fresh.variables[len(kept) :]
    for old, new in zip(old_slots, new_slots, strict=True):
        new.assign(carried(old, new))
        optimizer._tracker.untrack(old)
    # Past `__setattr__`, which would track the variables in the order of the lists.
    vars(optimizer).update(
        {
            name: value
            for name, value in vars(fresh).items()
            if _holds_slots(name, value)
        }
    )
    # In the order of a fresh optimizer, which is the order in which they are saved.
    for new in new_slots:
        optimizer._track_variable(new)
    # TensorFlow exports nothing that holds a list which entries have left.
    accepts, tracked = optimizer._tracker.config["variables"]
    with DotNotTrackScope():
        optimizer._variables = list(tracked)
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


def _holds_slots(name: str, value: Any) -> bool:
    if name in ("_iterations", "_learning_rate", "_variables", "_trainable_variables"):
        return False
    values = value if isinstance(value, (list, tuple)) else [value]
    return (
        len(values) > 0
        and all(v is None or isinstance(v, keras.Variable) for v in values)
        and any(v is not None for v in values)
    )
