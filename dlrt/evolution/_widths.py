"""The widths of a model that can change, found in its graph.

A width is the number of channels, units or filters, that a layer makes and that others
read. Layers in between may treat each channel by itself: activations, pooling, batch
normalization, flattening. Sums tie the widths of their terms together.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
from keras.src.ops.numpy import Add  # not exported by Keras

from dlrt.accounting import known_size
from dlrt.evolution._graph import Graph, get_graph, list_nodes, walk_nodes
from dlrt.evolution._layout import Layer, Layout, Part
from dlrt.evolution._rules import (
    Channelwise,
    Linear,
    get_channel_axis,
    get_rule,
    is_elementwise,
)

_SUMS = (keras.layers.Add, Add)


class Maker(NamedTuple):
    """A layer whose kernel makes channels."""

    layer: Layer
    rule: Linear

    @property
    def kernel(self) -> Part:
        """Where the channels lie in the kernel."""
        return Part(self.layer, self.rule.kernel, Layout(-1))


class Reader(NamedTuple):
    """A layer that multiplies channels, which lie in `tensor`, by its kernel."""

    layer: Layer
    rule: Linear
    graph: Graph
    tensor: Any
    layout: Layout

    @property
    def kernel(self) -> Part:
        """Where the channels lie in the kernel."""
        across = Layout(-2, self.layout.before, self.layout.after)
        return Part(self.layer, self.rule.kernel, across)

    @property
    def bias(self) -> Part:
        """The bias, whose entries are the channels made."""
        return Part(self.layer, self.rule.bias, Layout(-1))

    @property
    def is_affine(self) -> bool:
        """Whether the bias can make up for a constant input."""
        padded = getattr(self.layer, "padding", "valid") != "valid"
        points = known_size(getattr(self.layer, "kernel_size", ())) == 1
        return self.bias.variable is not None and (points or not padded)


@dataclass(eq=False)
class Width:
    """Channels that change together.

    The name is that of the first layer that makes them, with those of the models that
    it is within before it: `"block/conv"`. Sums may tie several makers. `parts` are the
    variables with one slice per channel, `tensors` the symbolic tensors of channels.
    """

    name: str
    size: int
    makers: list[Maker] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    tensors: list[tuple[Any, Layout]] = field(default_factory=list)

    def add_parts(self, layer: Layer, names: Iterable[str], layout: Layout) -> None:
        """Adds the variables that a layer has of some names."""
        parts = [Part(layer, name, layout) for name in names]
        self.parts += [part for part in parts if part.variable is not None]


class ModelWidths(NamedTuple):
    """The widths of a model.

    Attributes:
        graph: The model's graph.
        free: Those that can change, by name.
        pinned: Why others can't, by the name of the layer that makes them.
    """

    graph: Graph
    free: dict[str, Width]
    pinned: dict[str, str]


def find_widths(model: keras.Model) -> ModelWidths:
    """The widths of a model, see `dlrt.evolution.widths`."""
    graph = get_graph(model)
    if graph is None:
        raise ValueError(
            "`model` must be a built Sequential or functional model, whose graph tells "
            f"which layer reads which. Received: model={model.name!r} of type "
            f"{type(model).__name__}, built={model.built}"
        )
    search = _Search(Counter(id(node.operation) for _, node in walk_nodes(model)))
    search.visit(graph, "")
    return search.collect(graph)


class _Search:
    """Follows channels from the layers that make them to their readers."""

    def __init__(self, calls: Counter[int]) -> None:
        # How often each operation is called, by its id.
        self._calls = calls
        # Channels of a tensor, by its id; tensors that are not here are fixed.
        self._channels: dict[int, tuple[Width, Layout]] = {}
        self._widths: list[Width] = []
        self._pins: list[tuple[Width, str]] = []
        self._obstacles: dict[str, str] = {}

    def collect(self, graph: Graph) -> ModelWidths:
        reasons: dict[Width, str] = {}
        for width, reason in self._pins:
            reasons.setdefault(width, reason)
        free, pinned = {}, dict(self._obstacles)
        for width in self._widths:
            if not width.readers:
                reasons.setdefault(width, "no layer reads it")
            if width in reasons:
                pinned[width.name] = reasons[width]
            else:
                free[width.name] = width
        return ModelWidths(graph, free, pinned)

    def visit(self, graph: Graph, prefix: str) -> None:
        for node in list_nodes(graph):
            if node.is_input:
                continue
            operation, inputs = node.operation, node.input_tensors
            inner = get_graph(operation)
            if inner is not None:
                self._pin(inputs, f"it goes into the model {operation.name!r}")
                if self._calls[id(operation)] == 1:
                    self.visit(inner, f"{prefix}{operation.name}/")
            elif isinstance(operation, _SUMS):
                self._tie(operation, inputs, node.outputs[0])
            else:
                self._visit_layer(graph, node, prefix)
        self._pin(graph.outputs, "it is an output")

    def _visit_layer(self, graph: Graph, node: Any, prefix: str) -> None:
        layer, inputs, output = node.operation, node.input_tensors, node.outputs[0]
        rule = get_rule(type(layer))
        obstacle = self._find_obstacle(layer, rule)
        if rule is None or obstacle or len(inputs) != 1:
            reason = f"{layer.name!r} reads it"
            self._pin(inputs, f"{reason}, {obstacle}" if obstacle else reason)
            kinds = type(layer).__mro__
            if obstacle and any(isinstance(get_rule(kind), Linear) for kind in kinds):
                self._obstacles[prefix + layer.name] = f"it is {obstacle}"
            return
        if id(inputs[0]) in self._channels:
            width, layout = self._channels[id(inputs[0])]
            if isinstance(rule, Channelwise):
                self._pass_on(layer, rule, inputs[0], output)
            elif layout.axis == get_channel_axis(layer, len(inputs[0].shape)):
                width.readers.append(Reader(layer, rule, graph, inputs[0], layout))
            else:
                self._pin(inputs, f"{layer.name!r} reads it along another axis")
        if isinstance(rule, Linear):
            self._make(Maker(layer, rule), output, prefix)

    def _find_obstacle(
        self, layer: Layer, rule: Channelwise | Linear | None
    ) -> str | None:
        """Why a layer pins the widths that it reads and makes, if it does."""
        if self._calls[id(layer)] > 1:
            return "shared by several places"
        if rule is None:
            return f"of type {type(layer).__name__}"
        if isinstance(rule, Linear):
            if not layer.trainable:
                return "not trainable"
            if getattr(layer, "lora_enabled", False):
                return "adapted by LoRA"
            if getattr(layer, "groups", 1) != 1:
                return "a grouped convolution"
            if getattr(layer, "quantization_mode", None) is not None:
                return "quantized"
        return None

    def _make(self, maker: Maker, tensor: Any, prefix: str) -> None:
        layer = maker.layer
        size = int(maker.kernel.variable.shape[-1])
        width = Width(prefix + layer.name, size, [maker])
        width.add_parts(layer, [maker.rule.kernel, maker.rule.bias], Layout(-1))
        self._widths.append(width)
        axis = get_channel_axis(layer, len(tensor.shape))
        self._place(tensor, width, Layout(axis))
        if not is_elementwise(layer):
            self._pin([tensor], f"the activation of {layer.name!r} mixes it")

    def _pass_on(
        self, layer: Layer, rule: Channelwise, tensor: Any, output: Any
    ) -> None:
        width, layout = self._channels[id(tensor)]
        after = rule.follow(layer, layout, tensor.shape)
        if after is None:
            kind = type(layer).__name__
            self._pin([tensor], f"{layer.name!r} reads it, of type {kind}")
        else:
            width.add_parts(layer, rule.variables, layout._replace(axis=-1))
            self._place(output, width, after)

    def _tie(self, operation: Any, inputs: list, output: Any) -> None:
        """Makes one width of those of the terms of a sum, named after the oldest."""
        known = [self._channels.get(id(tensor)) for tensor in inputs]
        alike = len(inputs) > 1 and all(
            one is not None and tensor.shape == inputs[0].shape
            for one, tensor in zip(known, inputs, strict=True)
        )
        layouts = {one[1] for one in known if one is not None}
        if not alike or len(layouts) != 1:
            self._pin(inputs, f"{operation.name!r} adds what has a fixed width to it")
            return
        tied = {self._channels[id(tensor)][0] for tensor in inputs}
        first, *others = sorted(tied, key=self._widths.index)
        for second in others:
            self._widths.remove(second)
            for name in ("makers", "parts", "readers", "tensors"):
                getattr(first, name).extend(getattr(second, name))
            for tensor, layout in second.tensors:
                self._channels[id(tensor)] = first, layout
            self._pins = [(first if w is second else w, why) for w, why in self._pins]
        self._place(output, first, *layouts)

    def _place(self, tensor: Any, width: Width, layout: Layout) -> None:
        self._channels[id(tensor)] = width, layout
        width.tensors.append((tensor, layout))

    def _pin(self, tensors: list, reason: str) -> None:
        self._pins += [
            (self._channels[id(tensor)][0], reason)
            for tensor in tensors
            if id(tensor) in self._channels
        ]
