"""Gradients by the automatic differentiation of the backend."""

from collections.abc import Callable
from typing import Any

import keras

Tensor = Any


def vector_jacobian(
    function: Callable[..., Tensor], arguments: tuple[Tensor, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of `⟨upstream, function(*arguments)⟩` for all arguments.

    A compiled step omits whatever the gradients don't need, such as the value of a
    linear function.

    Args:
        function: A function of tensors that returns one tensor.
        arguments: Tensors.
        upstream: Shaped like the value.

    Raises:
        ValueError: On backends other than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = function(*arguments)
        return tuple(tape.gradient(value, arguments, upstream))
    if backend == "jax":
        import jax

        return tuple(jax.vjp(function, *arguments)[1](upstream))
    raise ValueError(
        "The gradients of this layer need the TensorFlow or JAX backend. Received: "
        f"backend={backend!r}"
    )
