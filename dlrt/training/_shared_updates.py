"""The update of a variable, traced once for all similar variables."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from dlrt.backend import tracing
from dlrt.backend.values import raw
from dlrt.training import optimizer_slots

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
    """Within this context `optimizer.apply` runs one function for similar variables.

    Keras writes an update out for every variable, some forty operations for Adam. A
    low-rank layer has three variables in place of one, so these operations would be
    most of a training step: traced and optimised before the first step, launched in
    every step. (Measured: see `benchmarks/README.md`, "Transformers".)

    Only on TensorFlow, on one device, and for optimizers known to keep their slots in
    lists and to use no other property of a variable; elsewhere nothing changes. Outside
    of traced functions only Adam's update becomes one operation, so that eager and
    traced steps agree: truncation amplifies rounding differences.
    """
    if not (type(optimizer) in _SHAREABLE and tracing.applicable()):
        yield
        return
    import tensorflow as tf

    functions: dict[Any, Callable] = {}
    fused = _fused_adam(optimizer)
    lists = list(optimizer_slots.slot_lists(optimizer))

    def update(gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        index = optimizer._get_variable_index(variable)
        slots = {
            name: raw(variables[index])
            for name, variables in lists
            if variables[index] is not None
        }
        rate = raw(learning_rate)
        # For rows that occur more than once, Keras squares each gradient separately.
        if fused is not None and not isinstance(gradient, tf.IndexedSlices):
            m, v = slots["_momentums"], slots["_velocities"]
            fused(gradient, rate, raw(variable), m, v)
            return
        if not tracing.tracing():
            type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
            return
        key = (variable.shape, variable.dtype, tuple(slots))
        if key not in functions:
            functions[key] = _function(optimizer, list(slots))
        functions[key](gradient, rate, raw(variable), *slots.values())

    optimizer.__dict__["update_step"] = update
    try:
        yield
    finally:
        del optimizer.__dict__["update_step"]


def _fused_adam(optimizer: keras.optimizers.Optimizer) -> Callable | None:
    """Adam's update as the one operation that TensorFlow has for it.

    It computes what Keras does, in the same order, but takes `1 - beta_2` of the
    rounded `beta_2`, which changes `v` by 1.3e-5 of it in single precision. `None` for
    other optimizers.
    """
    adam = type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
    if not adam or optimizer.amsgrad:
        return None
    import tensorflow as tf

    @functools.cache
    def settings(graph: Any, dtype: Any) -> dict[str, Tensor]:
        step = tf.cast(raw(optimizer.iterations) + 1, dtype)
        beta_1, beta_2, epsilon = (
            tf.constant(value, dtype)
            for value in (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon)
        )
        return {
            "beta1": beta_1,
            "beta2": beta_2,
            "epsilon": epsilon,
            "beta1_power": beta_1**step,
            "beta2_power": beta_2**step,
        }

    def update(
        gradient: Tensor, learning_rate: Tensor, variable: Any, m: Any, v: Any
    ) -> None:
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            **settings(tf.compat.v1.get_default_graph(), variable.dtype),
        )

    return update


def _function(optimizer: keras.optimizers.Optimizer, names: list[str]) -> Callable:
    def update(
        gradient: Tensor, learning_rate: Tensor, variable: Any, *slots: Any
    ) -> None:
        # One variable and its slots, as arguments, stand in for all.
        alone = object.__new__(type(optimizer))
        vars(alone).update(vars(optimizer))
        vars(alone).update(
            {name: [slot] for name, slot in zip(names, slots, strict=True)}
        )
        vars(alone)["_get_variable_index"] = lambda variable: 0
        type(optimizer).update_step(alone, gradient, variable, learning_rate)

    return tracing.called(update)
