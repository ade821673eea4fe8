"""Functions that Keras compiles, and variables that are replaced beneath them."""

from typing import Any

import keras

from dlrt.backend.values import raw


class OutdatedFunction:
    """Stands in for a compiled function until the next call, which rebuilds it.

    During `fit` Keras makes no functions itself, and several layers may get new
    variables before a function is needed.

    Args:
        model: The model that the function belongs to.
        name: `"train"`, `"test"` or `"predict"`.
    """

    def __init__(self, model: keras.Model, name: str) -> None:
        self._model = model
        self._name = name

    def __call__(self, *args: Any) -> Any:
        getattr(self._model, f"make_{self._name}_function")(force=True)
        return getattr(self._model, f"{self._name}_function")(*args)


def outdate(model: keras.Model) -> None:
    """Makes a model rebuild its compiled functions before it uses them."""
    for name in ("train", "test", "predict"):
        if getattr(model, f"{name}_function", None) is not None:
            setattr(model, f"{name}_function", OutdatedFunction(model, name))


def retire(variable: keras.Variable) -> None:
    """Makes functions that a user compiled fail if they read a replaced variable.

    On TensorFlow they would silently go on with the old value. On JAX nothing can be
    done: the value was an argument or became a constant.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        value = raw(variable)
        for copy in getattr(value, "values", [value]):
            empty = tf.zeros((0, 0), copy.dtype)
            tf.raw_ops.AssignVariableOp(resource=copy.handle, value=empty)
