"""The update of a variable, traced once for all variables alike."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from dlrt._values import raw
from dlrt.optimizers import _slots, _tracing

Tensor = Any

_SHAREABLE = (
    keras.optimizers.Adadelta,
    keras.optimizers.Adagrad,
    keras.optimizers.Adam,
    keras.optimizers.AdamW,
    keras.optimizers.Adamax,
    keras.optimizers.Lion,
    keras.optimizers.Nadam,
    keras.optimizers.RMSprop,
    keras.optimizers.SGD,
)


@contextlib.contextmanager
def shared_updates(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Within this context `optimizer.apply` runs one function for variables alike.

    Keras writes an update out for every variable, some forty operations for Adam. A
    low-rank layer has three variables in place of one, and these operations would be
    most of a training step's, to be traced and optimised before the first one and to
    be launched in each. (Measured: see `benchmarks/README.md`, "Transformers".)

    Only on TensorFlow, on one device, and for optimizers known to keep their slots in
    lists and to ask nothing else of a variable; elsewhere nothing changes.
    """
    if not _applicable(optimizer):
        yield
        return
    functions: dict[Any, Callable] = {}
    lists = list(_slots.slot_lists(optimizer))

    def update(gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        index = optimizer._get_variable_index(variable)
        slots = {
            name: raw(variables[index])
            for name, variables in lists
            if variables[index] is not None
        }
        key = (variable.shape, variable.dtype, tuple(slots))
        if key not in functions:
            functions[key] = _function(optimizer, list(slots))
        functions[key](gradient, raw(learning_rate), raw(variable), *slots.values())

    optimizer.__dict__["update_step"] = update
    try:
        yield
    finally:
        del optimizer.__dict__["update_step"]


def _applicable(optimizer: keras.optimizers.Optimizer) -> bool:
    if type(optimizer) not in _SHAREABLE or not _tracing.applicable():
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def _function(optimizer: keras.optimizers.Optimizer, names: list[str]) -> Callable:
    import tensorflow as tf

    def update(
        gradient: Tensor, learning_rate: Tensor, variable: Any, *slots: Any
    ) -> None:
        # One variable and its slots, as arguments, in the place of all.
        alone = object.__new__(type(optimizer))
        vars(alone).update(vars(optimizer))
        vars(alone).update(
            {name: [slot] for name, slot in zip(names, slots, strict=True)}
        )
        vars(alone)["_get_variable_index"] = lambda variable: 0
        type(optimizer).update_step(alone, gradient, variable, learning_rate)

    return tf.function(
        update, autograph=False, experimental_attributes={"_noinline": True}
    )
