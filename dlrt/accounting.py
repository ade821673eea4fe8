"""Ranks, parameters and flops of models, for logs and reports."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from dlrt._within import build_shapes, is_container, is_graph, parts
from dlrt.layers import LowRankEmbedding, LowRankLayer, ProjectedRNN
from dlrt.layers.low_rank_einsum_dense import axes_of
from dlrt.layers.projected_rnn import RECURRENT

Shape = tuple[int | None, ...]

# Each entry of a kernel is multiplied once at every position of the output.
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def named_layers(model: keras.Model) -> dict[str, LowRankLayer]:
    """All built low-rank layers of a model, in order, by the names that reports use.

    That is the name of the layer, after those of the layers and models within the model
    that it is a part of: `"hidden_1"`, `"attention/query"`. Where siblings share a
    name, the later ones get a number, `"hidden#2"`.
    """
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
    """Number of parameters at the current ranks, whatever the buffers hold.

    Args:
        model: A built model.
        training: Count `U`, `S` and `V`, `r (n + m + r)` for a kernel, as kept for
            training; otherwise the two factors needed for prediction, `r (n + m)`,
            or the `n m` of the dense kernel where that is less.
    """
    total = _size(model.weights)
    for layer in low_rank_layers(model):
        n, m = layer.matrix_shape
        rank = layer.rank
        buffers = _size([layer.u, layer.s, layer.v])
        factors = rank * (n + m)
        total += (factors + rank**2 if training else min(factors, n * m)) - buffers
    return total


def dense_parameter_count(model: keras.Model) -> int:
    """Number of parameters of the model with every low-rank kernel made dense."""
    total = _size(model.weights)
    for layer in low_rank_layers(model):
        n, m = layer.matrix_shape
        total += n * m - _size([layer.u, layer.s, layer.v])
    return total


def compression(model: keras.Model) -> float:
    """The share of the dense model's parameters that prediction does without.

    `1 - parameters / dense parameters`, in `[0, 1)`: 0.9 is ten times smaller.
    """
    return 1.0 - parameter_count(model) / dense_parameter_count(model)


def flop_count(model: keras.Model) -> int:
    """Floating point operations of a prediction for one sample, two a multiply-add.

    Counted are the products with the kernels of dense, convolutional and recurrent
    layers, as often as they are applied, at every step of a sequence by the latter,
    low-rank ones included, with two factors, or the dense kernel where that is less.
    All else is not, nor are layers within those of Keras and dlrt, such as attention
    and `keras.layers.Bidirectional`. Layers within layers and models of a user's class
    count once, for the shape that they were built with. Axes of unknown length count as
    1.

    Args:
        model: A built model.

    Raises:
        ValueError: If the layers of the model are not known.
    """
    return sum(layer_flops(layer, shape) for layer, shape in applications(model))


def applications(model: keras.Model) -> Iterator[tuple[Any, Shape]]:
    """The layers of a model, nested ones included, each with the shape of its input.

    The layers of a `dlrt.layers.ProjectedRNN` are among them. Where they are called at
    every step of a sequence, the shape has the axis of time as all others have it.
    Layers within layers and models of a user's class come once, with the shape that
    they were built with.

    Args:
        model: A built model.

    Raises:
        ValueError: If the layers of the model are not known.
    """
    if is_container(model):
        yield from _within(model)
        return
    if not is_graph(model):
        raise ValueError(
            "Only Sequential and functional models, and others that layers are within, "
            f"have known layers. Received: model of type {type(model).__name__}"
        )
    graph = model._functional if isinstance(model, keras.Sequential) else model
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if is_graph(node.operation):
                yield from applications(node.operation)
            elif is_container(node.operation):
                yield from _within(node.operation)
            elif node.input_tensors:
                yield from _application(node.operation, node.input_tensors[0].shape)


def _within(container: keras.layers.Layer) -> Iterator[tuple[Any, Shape]]:
    for part in parts(container).values():
        if is_graph(part):
            yield from applications(part)
        elif part.built and not is_container(part):
            for shape in list(build_shapes(part).values())[:1]:
                yield from _application(part, shape)


def _application(
    layer: Any, shape: Iterable[int | None]
) -> Iterator[tuple[Any, Shape]]:
    """A layer with the shape of its input, or the layers within a recurrent one."""
    if isinstance(layer, ProjectedRNN):
        yield from _products(layer, tuple(shape))
    else:
        yield layer, tuple(shape)


def _products(layer: ProjectedRNN, shape: Shape) -> Iterator[tuple[Any, Shape]]:
    """The layers within a recurrent layer, for sequences of a shape."""
    (batch, time, _), units = shape, layer.units
    for product, own in zip(layer.projections, (shape, (batch, units)), strict=True):
        found = applications(product) if is_graph(product) else [(product, own)]
        for part, (_, *axes) in found:
            # A model of the whole sequence is for any length of it.
            rest = axes[1:] if product is layer.input_projection else axes
            yield part, (batch, time, *rest)


def layer_flops(layer: Any, input_shape: Shape) -> int:
    """What one application of a layer adds to `flop_count`."""
    kinds = (keras.layers.Dense, keras.layers.EinsumDense, *_CONVOLUTIONS, *_DEPTHWISE)
    if isinstance(layer, LowRankLayer):
        n, m = layer.matrix_shape
        if isinstance(layer, LowRankEmbedding):
            size = layer.rank * m
        else:
            size = min(layer.rank * (n + m), n * m)
    elif isinstance(layer, RECURRENT):
        size = _size([layer.cell.kernel, layer.cell.recurrent_kernel])
        return 2 * size * known_size(input_shape[1:2])
    elif isinstance(layer, kinds):
        size = math.prod(layer.kernel.shape)
    else:
        return 0
    return 2 * size * positions(layer, input_shape)


def positions(layer: keras.layers.Layer, input_shape: Shape) -> int:
    """How often a layer with one kernel multiplies with it, for one sample.

    Args:
        layer: A dense or convolutional layer or an embedding, of Keras or low rank.
        input_shape: Shape of its input; unknown axes count as 1.
    """
    return known_size(layer.compute_output_shape(input_shape)[1:]) // _columns(layer)


def known_size(shape: Iterable[int | None]) -> int:
    """The number of entries, where axes of unknown length count as 1."""
    return math.prod(length for length in shape if length is not None)


def _columns(layer: Any) -> int:
    """The number of outputs at one position."""
    if isinstance(layer, LowRankLayer):
        return layer.matrix_shape[1]
    if isinstance(layer, keras.layers.EinsumDense):
        _, axes, y = axes_of(layer.equation)
        lengths = zip(axes, layer.kernel.shape, strict=True)
        return math.prod(length for axis, length in lengths if axis in y)
    if isinstance(layer, keras.layers.Embedding):
        return layer.output_dim
    columns = math.prod(layer.kernel.shape[-2:])
    return columns if isinstance(layer, _DEPTHWISE) else layer.kernel.shape[-1]


def _size(variables: list) -> int:
    return int(sum(np.prod(variable.shape, dtype=np.int64) for variable in variables))
