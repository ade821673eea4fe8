"""Which layers a model calls, with which shapes, and how often."""

import inspect
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import keras

from dlrt.backend.structure import (
    build_shapes,
    is_container,
    is_graph,
    own_variables,
    parts,
)
from dlrt.layers import ProjectedRNN

Layer: TypeAlias = keras.layers.Layer
Shape = tuple[int | None, ...]


class Call(NamedTuple):
    """A layer that is called.

    Attributes:
        layer: The layer.
        arguments: Its arguments by name, shapes in place of tensors. Empty if unknown.
        times: How often, for one sample.
        own_shape: Shape of its input in the model that contains it. That model may be
            for inputs of any size, and be called with inputs of a certain size.
    """

    layer: Any
    arguments: dict[str, Any]
    times: int = 1
    own_shape: Shape | None = None

    @property
    def shape(self) -> Shape:
        """The shape of its input, or of the first of several."""
        for value in self.arguments.values():
            for shape in _find_shapes(value):
                return shape
        return ()


def find_calls(model: keras.Model) -> Iterator[Call]:
    """The calls of the layers of a model, nested ones included.

    Layers that call others, at every step of a sequence for instance, are replaced by
    the calls of those. The products of a `dlrt.layers.ProjectedRNN` are called once,
    with a shape that includes the time axis. Layers inside layers and models of a
    user's class count once, with the shape for which they were built.

    Args:
        model: A built model.

    Raises:
        ValueError: If the layers of the model are not known.
    """
    if not is_graph(model) and not is_container(model):
        raise ValueError(
            "Only Sequential and functional models, and others that layers are within, "
            f"have known layers. Received: model of type {type(model).__name__}"
        )
    yield from _call_parts(model) if is_container(model) else _call_graph(model)


def expand_call(call: Call) -> Iterator[Call]:
    """The calls of which a call consists."""
    inner = _find_inner_calls(call)
    if inner is None:
        yield call
        return
    for part in inner:
        for one in expand_call(part):
            yield one._replace(times=call.times * one.times)


def _call_graph(model: keras.Model, inputs: Any = None) -> Iterator[Call]:
    """The calls of a Sequential or functional model, perhaps for other input shapes."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if graph is None:
        raise ValueError(
            "A Sequential model has known shapes only where it begins with an Input, "
            "and its layers can tell the shapes of their outputs. Received: "
            f"{model.name!r}"
        )
    actual = {}
    if inputs is not None and _find_shapes(inputs) != [x.shape for x in graph.inputs]:
        given = keras.tree.map_shape_structure(keras.KerasTensor, inputs)
        found = zip(graph.inputs, graph._standardize_inputs(given), strict=True)
        actual = {id(x): new for x, new in found if new is not None}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.arguments.convert(lambda x: actual.get(id(x), x))
            if isinstance(node.operation, keras.layers.Layer):
                arguments = _bind_shapes(node.operation, args, kwargs)
                own = tuple(node.input_tensors[0].shape)
                yield from expand_call(Call(node.operation, arguments, own_shape=own))
            if actual:
                outputs = node.operation.compute_output_spec(*args, **kwargs)
                pairs = zip(node.outputs, keras.tree.flatten(outputs), strict=True)
                actual.update((id(x), new) for x, new in pairs)


def _bind_shapes(layer: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    return keras.tree.map_structure(
        lambda x: tuple(x.shape) if isinstance(x, keras.KerasTensor) else x, dict(bound)
    )


def _find_shapes(structure: Any) -> list[Shape]:
    """The shapes in the arguments of a call."""
    if isinstance(structure, dict):
        structure = tuple(structure.values())
    if not isinstance(structure, (tuple, list)):
        return []
    if structure and all(n is None or isinstance(n, int) for n in structure):
        return [tuple(structure)]
    return [shape for part in structure for shape in _find_shapes(part)]


def _call_parts(container: Layer) -> Iterator[Call]:
    """The calls of layers inside a user's layer, and its own if it has weights."""
    for part in (container, *parts(container).values()):
        if is_container(part):
            if own_variables(part):
                yield Call(part, {})
        elif part.built:
            shapes = build_shapes(part)
            arguments = {k.removesuffix("_shape"): shapes[k] for k in shapes}
            yield from expand_call(Call(part, arguments))


def _find_inner_calls(call: Call) -> Iterable[Call] | None:
    """The calls that a layer makes, `None` if it has products of its own."""
    layer = call.layer
    if is_graph(layer):
        return _call_graph(layer, *list(call.arguments.values())[:1])
    if not call.arguments:
        return None
    if is_container(layer):
        return _call_parts(layer)
    if isinstance(layer, ProjectedRNN):
        return _call_projections(layer, call.shape)
    if isinstance(layer, keras.layers.Bidirectional):
        both = (layer.forward_layer, layer.backward_layer)
        return [Call(one, {"sequences": call.shape}) for one in both]
    if isinstance(layer, (keras.layers.RNN, keras.layers.TimeDistributed)):
        one = layer.cell if isinstance(layer, keras.layers.RNN) else layer.layer
        batch, time, *rest = call.shape
        return [Call(one, {"inputs": (batch, *rest)}, known_size([time]))]
    if isinstance(layer, keras.layers.StackedRNNCells):
        return [Call(cell, {"inputs": call.shape}) for cell in layer.cells]
    if isinstance(layer, keras.layers.SpectralNormalization):
        return [Call(layer.layer, call.arguments)]
    return None


def _call_projections(layer: ProjectedRNN, shape: Shape) -> Iterator[Call]:
    """The calls inside a recurrent layer, for sequences of a shape."""
    (batch, time, _), units = shape, layer.units
    for product, own in zip(layer.projections, (shape, (batch, units)), strict=True):
        call = Call(product, {"inputs": own})
        for part in _call_graph(product) if is_graph(product) else [call]:
            _, *axes = part.shape
            # A model of the whole sequence accepts any length.
            rest = axes[1:] if product is layer.input_projection else axes
            yield Call(part.layer, {"inputs": (batch, time, *rest)})


def known_size(shape: Iterable[int | None]) -> int:
    """The number of entries, where axes of unknown length count as 1."""
    return math.prod(length for length in shape if length is not None)
