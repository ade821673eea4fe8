"""Weights of any rank, for layers and models with factors among their weights."""

import functools
from typing import Any

import keras
import numpy as np

from dlrt.layers._factor_arrays import without_padding
from dlrt.layers.factor import layers_of

_SET_WEIGHTS = keras.layers.Layer.set_weights


def accept_any_rank(model: Any) -> None:
    """Makes `set_weights` of a Keras model accept factors of any rank.

    Keras compares shapes before layers see the weights, and `EarlyStopping` restores
    weights whose ranks may differ from the current ones.
    """
    if getattr(type(model), "set_weights", None) is _SET_WEIGHTS:
        vars(model)["set_weights"] = functools.partial(_set_weights, model)


def _set_weights(model: keras.Model, weights: list[Any]) -> None:
    _SET_WEIGHTS(model, make_room(model, weights))


def make_room(owner: keras.layers.Layer, weights: list[Any]) -> list[Any]:
    """Gives low-rank layers the ranks of weights whose shapes differ from theirs.

    The owner is one, or a model or layer with some. Returns the weights, those of
    layers that have changed without columns of zeros.
    """
    if not isinstance(weights, (list, tuple, np.ndarray)):
        raise TypeError(
            f"`weights` must be a list of arrays. Received: weights={weights!r}"
        )
    variables = owner.weights
    if len(weights) != len(variables):
        return weights
    weights = list(weights)
    position = {id(variable): index for index, variable in enumerate(variables)}
    for layer in layers_of(variables):
        factors = layer.u, layer.s, layer.v
        where = [position[id(factor)] for factor in factors]
        given = [np.asarray(weights[index]) for index in where]
        # Keras reports non-matrices.
        matrices = all(array.ndim == 2 for array in given)
        if matrices and any(
            a.shape != b.shape for a, b in zip(given, factors, strict=True)
        ):
            layer.set_factors(without_padding(*given))
            for index, value in zip(where, layer.factors, strict=True):
                weights[index] = value
    return weights
