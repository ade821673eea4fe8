"""Gradients by the backend's automatic differentiation and by finite differences."""

import keras
import numpy as np
from helpers import double as array


def of_function(function, *arguments):
    """Gradients of a scalar function of tensors for all of its arguments."""
    if keras.backend.backend() == "jax":
        import jax

        indices = tuple(range(len(arguments)))
        return [array(g) for g in jax.grad(function, indices)(*arguments)]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
    return [array(g) for g in tape.gradient(value, arguments)]


def of_layer(layer, x, loss):
    """Gradients of `loss(layer(x))` and the layer's own losses, by variable name."""
    variables = layer.trainable_variables
    if keras.backend.backend() == "jax":
        import jax

        def value(values):
            y, _, losses = layer.stateless_call(
                values,
                [v.value for v in layer.non_trainable_variables],
                x,
                return_losses=True,
            )
            return loss(y) + sum(losses)

        grads = jax.grad(value)([v.value for v in variables])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(layer(x)) + sum(layer.losses)
        grads = tape.gradient(value, [v.value for v in variables])
    return {v.name: array(g) for v, g in zip(variables, grads, strict=True)}


def numerical(function, point, step=1e-6):
    """Central differences of a scalar NumPy function."""
    result = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += step
        down[index] -= step
        result[index] = (function(up) - function(down)) / (2 * step)
    return result


def galerkin(function, u, s, v, step=1e-6):
    """The gradients of `function(W)` for `K = U S`, `S` and `L = V Sᵀ`, by name.

    By definition: of `K ↦ f(K Vᵀ)`, of `S ↦ f(U S Vᵀ)` and of `L ↦ f(U Lᵀ)`. They
    equal `G V`, `Uᵀ G V` and `Gᵀ U` with `G` the gradient for `W`.
    """
    return {
        "u": numerical(lambda k: function(k @ v.T), u @ s, step),
        "s": numerical(lambda c: function(u @ c @ v.T), s, step),
        "v": numerical(lambda l: function(u @ l.T), v @ s.T, step),  # noqa: E741
    }
