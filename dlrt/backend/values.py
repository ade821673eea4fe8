"""The values of variables."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops


def raw(value: Any) -> Any:
    """What the backend knows of a variable of Keras; anything else as it is."""
    return value.value if isinstance(value, keras.Variable) else value


def value_of(variable: Any) -> Any:
    """The present value of a variable, whatever is assigned to that afterwards."""
    if keras.backend.backend() == "tensorflow":
        # A read, which `ops.copy` would copy in a second operation.
        import tensorflow as tf

        return tf.convert_to_tensor(raw(variable))
    return ops.copy(ops.convert_to_tensor(variable))


def scope_of(variable: keras.Variable) -> Any:
    """Where variables must be made to have a copy on every device that this one has."""
    strategy = getattr(raw(variable), "_distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def count_nonzero_columns(variable: keras.Variable) -> int:
    """Number of columns of a variable that are not zero, counted on its device."""
    if keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "cpu":
            # NumPy has no copy to make here, and JAX would compile for every shape.
            value = np.asarray(raw(variable))
            return int(np.count_nonzero(np.any(value != 0, axis=0)))
    used = ops.any(ops.not_equal(value_of(variable), 0), axis=0)
    return int(ops.count_nonzero(used))
