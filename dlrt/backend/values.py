"""The values of variables."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops


def raw(value: Any) -> Any:
    """A Keras variable's backend variable; anything else unchanged."""
    return value.value if isinstance(value, keras.Variable) else value


def value_of(variable: Any) -> Any:
    """The current value of a variable, unaffected by later assignments."""
    if keras.backend.backend() == "tensorflow":
        # A read suffices; `ops.copy` would add a second operation.
        import tensorflow as tf

        return tf.convert_to_tensor(raw(variable))
    return ops.copy(ops.convert_to_tensor(variable))


def scope_of(variable: keras.Variable) -> Any:
    """The scope in which variables get a copy on every device of this one."""
    strategy = getattr(raw(variable), "_distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def count_nonzero_columns(variable: keras.Variable) -> int:
    """Number of columns of a variable that are not zero, counted on its device."""
    if keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "cpu":
            # NumPy makes no copy here, and JAX would compile for every shape.
            value = np.asarray(raw(variable))
            return int(np.count_nonzero(np.any(value != 0, axis=0)))
    used = ops.any(ops.not_equal(value_of(variable), 0), axis=0)
    return int(ops.count_nonzero(used))
