"""Ranks and parameters of models."""

import math

import keras

from dlrt.checks import check_layer
from dlrt.layers import LowRankLayer


def named_layers(model: keras.Model) -> dict[str, LowRankLayer]:
    """All built low-rank layers of a model, in order, by the names that reports use.

    That is the name of the layer, preceded by those of the layers and models that
    contain it: `"hidden_1"`, `"attention/query"`. Where siblings share a name, the
    later ones get a number, `"hidden#2"`.
    """
    check_layer("model", model)
    named: dict[str, LowRankLayer] = {}
    seen: set[int] = set()

    def walk(layer: keras.layers.Layer, prefix: str) -> None:
        for part in layer._flatten_layers(include_self=False, recursive=False):
            if id(part) in seen:
                continue
            seen.add(id(part))
            name = prefix + part.name
            if isinstance(part, LowRankLayer) and part.built:
                number = 1
                while (unique := name if number == 1 else f"{name}#{number}") in named:
                    number += 1
                named[unique] = part
            walk(part, name + "/")

    walk(model, "")
    return named


def low_rank_layers(model: keras.Model) -> list[LowRankLayer]:
    """All built low-rank layers of a model, nested ones included, in order."""
    return list(named_layers(model).values())


def ranks(model: keras.Model) -> dict[str, int]:
    """The current rank of each low-rank layer, see `named_layers` for the names."""
    return {name: layer.rank for name, layer in named_layers(model).items()}


def parameter_count(model: keras.Model, training: bool = False) -> int:
    """Number of parameters at the current ranks, whatever the capacity.

    Args:
        model: A built model.
        training: Count `U`, `S` and `V`, `r (n + m + r)` for a kernel, as kept for
            training; otherwise the two factors needed for prediction, `r (n + m)`,
            or the `n m` of the dense kernel where that is less.
    """
    total, layers = _split_parameters(model)
    for layer in layers:
        (n, m), rank = layer.matrix_shape, layer.rank
        factors = rank * (n + m)
        total += factors + rank**2 if training else min(factors, n * m)
    return total


def dense_parameter_count(model: keras.Model) -> int:
    """Number of parameters of the model with every low-rank kernel made dense."""
    total, layers = _split_parameters(model)
    return total + sum(math.prod(layer.matrix_shape) for layer in layers)


def compression(model: keras.Model, dense_parameters: int | None = None) -> float:
    """The share of the dense model's parameters that prediction saves.

    `1 - parameters / dense parameters`, 0.9 is ten times smaller.

    Args:
        model: A built model.
        dense_parameters: Number of parameters of the dense model. Defaults to
            `dense_parameter_count(model)`, which doesn't account for layers made
            smaller in other ways, as by `dlrt.compress`, whose report has the number:
            `parameters_before`.
    """
    if dense_parameters is None:
        dense_parameters = dense_parameter_count(model)
    return 1.0 - parameter_count(model) / dense_parameters


def _split_parameters(model: keras.Model) -> tuple[int, list[LowRankLayer]]:
    """Number of parameters that are in no factor, and the layers that have factors."""
    layers = low_rank_layers(model)
    factors = {id(w) for layer in layers for w in (layer.u, layer.s, layer.v)}
    others = [w for w in model.weights if id(w) not in factors]
    return sum(math.prod(w.shape) for w in others), layers
