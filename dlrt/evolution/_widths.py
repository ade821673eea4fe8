"""The widths of a model that can change, found in its graph.

A width is the number of channels, units or filters, that a layer makes and that others
read. Between them may lie whatever treats channels alike and apart: activations,
pooling, batch normalisation, flattening. Sums tie the widths of their terms together.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
from keras.src.models.functional import Functional  # not exported by Keras
from keras.src.ops.numpy import Add  # not exported by Keras

from dlrt.accounting import known_size
from dlrt.evolution._allocation import Term

Layer: TypeAlias = Any

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)
_SUMS = (keras.layers.Add, Add)
# They treat each entry by itself.
_POINTWISE = (
    keras.layers.Activation,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
)
# They treat each channel by itself.
_SPATIAL = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
)
_GLOBAL = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
)
_ELEMENTWISE = frozenset(
    keras.activations.get(name)
    for name in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh "
        "leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink "
        "softplus softsign sparse_plus sparse_sigmoid squareplus tanh tanh_shrink "
        "threshold"
    ).split()
)


class Layout(NamedTuple):
    """Where channels lie along an axis of length `before * channels * after`."""

    axis: int
    before: int = 1
    after: int = 1

    def indices(self, channels: np.ndarray, size: int) -> np.ndarray:
        """Positions of channels along the axis; -1, for a new one, stays.

        Args:
            channels: `(k,)`, numbers below `size`, or -1.
            size: How many channels there are.
        """
        shape = self.before, size, self.after
        positions = np.arange(math.prod(shape)).reshape(shape)
        taken = np.where(channels[:, None] < 0, -1, positions[:, channels])
        return taken.reshape(-1)

    def split(self, array: np.ndarray) -> np.ndarray:
        """An array as `(..., channels)`, all else moved to the front."""
        axis = self.axis % array.ndim
        shape = array.shape
        parts = (self.before, -1, self.after)
        return np.moveaxis(
            array.reshape(*shape[:axis], *parts, *shape[axis + 1 :]), axis + 1, -1
        )

    def join(self, array: np.ndarray, ndim: int) -> np.ndarray:
        """The inverse of `split`, to an array of `ndim` axes."""
        axis = self.axis % ndim
        array = np.moveaxis(array, -1, axis + 1)
        shape = array.shape
        return array.reshape(*shape[:axis], -1, *shape[axis + 3 :])


class Part(NamedTuple):
    """A variable with one slice for each channel.

    Attributes:
        layer: The layer that holds it.
        attribute: The name of the layer's attribute.
        layout: Where the channels lie in it.
    """

    layer: Layer
    attribute: str
    layout: Layout

    @property
    def variable(self) -> keras.Variable:
        return getattr(self.layer, self.attribute)


class Reader(NamedTuple):
    """A layer that multiplies channels with its kernel.

    Attributes:
        layer: The layer.
        graph: The model whose graph it is in.
        tensor: Its input, of Keras's symbolic kind.
        layout: Where the channels lie in the input.
        kernel: Where they lie in the kernel.
    """

    layer: Layer
    graph: Functional
    tensor: Any
    layout: Layout
    kernel: Part

    @property
    def affine(self) -> bool:
        """Whether its bias can make up for a constant input."""
        padded = getattr(self.layer, "padding", "valid") != "valid"
        points = known_size(getattr(self.layer, "kernel_size", ())) == 1
        return self.layer.use_bias and (points or not padded)


@dataclass(eq=False)
class Width:
    """Channels that change together.

    Args:
        name: That of the first layer that makes them, after those of the models that it
            is within.
        size: How many there are.
        makers: The layers that make them; several where sums tie them.
        parts: Variables with one slice for each channel.
        readers: The layers that multiply them with their kernels.
        tensors: The symbolic tensors that hold them.
    """

    name: str
    size: int
    makers: list[Layer] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    tensors: list[tuple[Any, Layout]] = field(default_factory=list)


class Found(NamedTuple):
    """The widths of a model.

    Attributes:
        graph: The model's graph.
        free: Those that can change, by name.
        pinned: Why others can't, by the name of the layer that makes them.
    """

    graph: Functional
    free: dict[str, Width]
    pinned: dict[str, str]


def find(model: keras.Model) -> Found:
    """The widths of a model.

    Args:
        model: A built Sequential or functional model. Models within it are looked
            through; what goes into them and comes out keeps its width.

    Raises:
        ValueError: If the model is of another kind, or not built.
    """
    graph = _graph(model)
    if graph is None:
        raise ValueError(
            "`model` must be a built Sequential or functional model, whose graph tells "
            f"which layer reads which. Received: model={model.name!r} of type "
            f"{type(model).__name__}, built={model.built}"
        )
    search = _Search(_uses(graph))
    search.visit(graph, "")
    return search.found(graph)


def terms(model: keras.Model, widths: Iterable[Width]) -> list[Term]:
    """What the variables of a model have of entries, by its widths."""
    axes: dict[int, list[tuple[Layout, Width]]] = {}
    for width in widths:
        for part in (*width.parts, *(reader.kernel for reader in width.readers)):
            axes.setdefault(id(part.variable), []).append((part.layout, width))
    found = []
    for variable in model.weights:
        factor = math.prod(variable.shape)
        several = axes.get(id(variable), [])
        for _, width in several:
            factor //= width.size
        found.append(Term(factor, tuple(width.name for _, width in several)))
    return found


def nested(node: Any) -> Functional | None:
    """The graph of the model that a node of a graph calls, if it calls one."""
    return _graph(node.operation)


def nodes_of(graph: Functional) -> list[Any]:
    """The nodes of a graph in the order of computation."""
    depths = sorted(graph._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in graph._nodes_by_depth[depth]]


def all_nodes(model: keras.Model) -> Iterator[tuple[Functional, Any]]:
    """The nodes of a model's graph and those of the models within it, each with it."""
    graph = _graph(model)
    if graph is not None:
        for node in nodes_of(graph):
            yield graph, node
            yield from all_nodes(node.operation)


def _graph(operation: Any) -> Functional | None:
    if isinstance(operation, keras.Sequential):
        operation = operation._functional
    return operation if isinstance(operation, Functional) else None


def _uses(graph: Functional) -> Counter[int]:
    """How often each operation is called, by its id."""
    return Counter(id(node.operation) for _, node in all_nodes(graph))


class _Search:
    """Follows channels through a graph.

    Args:
        uses: How often each operation is called.
    """

    def __init__(self, uses: Counter[int]) -> None:
        self._uses = uses
        # Channels of a tensor, by its id; tensors that are not here are fixed.
        self._channels: dict[int, tuple[Width, Layout]] = {}
        self._merged: dict[int, Width] = {}
        self._widths: list[Width] = []
        self._pins: list[tuple[Width, str]] = []
        self._obstacles: dict[str, str] = {}

    def found(self, graph: Functional) -> Found:
        reasons: dict[int, str] = {}
        for width, reason in self._pins:
            reasons.setdefault(id(self._root(width)), reason)
        pinned = dict(self._obstacles)
        free = {}
        for width in self._widths:
            if self._root(width) is not width:
                continue
            if not width.readers:
                reasons.setdefault(id(width), "no layer reads it")
            if id(width) in reasons:
                pinned[width.name] = reasons[id(width)]
            else:
                free[width.name] = width
        return Found(graph, free, pinned)

    def visit(self, graph: Functional, prefix: str) -> None:
        for node in nodes_of(graph):
            if node.is_input:
                continue
            inner = nested(node)
            if inner is not None:
                name = node.operation.name
                self._pin(node.input_tensors, f"it goes into the model {name!r}")
                if self._uses[id(node.operation)] == 1:
                    self.visit(inner, f"{prefix}{name}/")
                continue
            self._pass(graph, node, prefix)
        self._pin(graph.outputs, "it is an output")

    def _pass(self, graph: Functional, node: Any, prefix: str) -> None:
        operation, inputs = node.operation, node.input_tensors
        if isinstance(operation, _SUMS):
            self._add(operation, inputs, node.outputs[0])
            return
        kernel = isinstance(operation, (keras.layers.Dense, *_CONVOLUTIONS))
        obstacle = self._obstacle(operation)
        if len(inputs) != 1 or obstacle is not None:
            reason = f"{operation.name!r} reads it"
            self._pin(inputs, reason if obstacle is None else f"{reason}, {obstacle}")
            if kernel:
                self._obstacles[prefix + operation.name] = f"it is {obstacle}"
            return
        if kernel:
            self._read(graph, operation, inputs[0])
            self._make(operation, node.outputs[0], prefix)
            return
        state = self._state(inputs[0])
        if state is None:
            return
        width, layout = state
        after = _layout_after(operation, layout, inputs[0].shape)
        if after is None:
            kind = type(operation).__name__
            self._pin(inputs, f"{operation.name!r} reads it, of type {kind}")
            return
        if isinstance(operation, keras.layers.BatchNormalization):
            across = Layout(0, layout.before, layout.after)
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            width.parts += [
                Part(operation, name, across)
                for name in names
                if getattr(operation, name) is not None
            ]
        self._set(node.outputs[0], width, after)

    def _obstacle(self, operation: Any) -> str | None:
        """Why an operation pins what it reads and makes, if it does."""
        if self._uses[id(operation)] > 1:
            return "shared by several places"
        if type(operation) in (keras.layers.Dense, *_CONVOLUTIONS):
            if not operation.trainable:
                return "not trainable"
            if operation.lora_enabled:
                return "adapted by LoRA"
            if getattr(operation, "groups", 1) != 1:
                return "a grouped convolution"
            if getattr(operation, "quantization_mode", None) is not None:
                return "quantized"
        elif isinstance(operation, (keras.layers.Dense, *_CONVOLUTIONS)):
            return f"of type {type(operation).__name__}"
        return None

    def _read(self, graph: Functional, layer: Layer, tensor: Any) -> None:
        state = self._state(tensor)
        if state is None:
            return
        width, layout = state
        if layout.axis != _channel_axis(layer, len(tensor.shape)):
            self._pin([tensor], f"{layer.name!r} reads it along another axis")
            return
        across = Layout(
            0 if isinstance(layer, keras.layers.Dense) else -2,
            layout.before,
            layout.after,
        )
        width.readers.append(
            Reader(layer, graph, tensor, layout, Part(layer, "_kernel", across))
        )

    def _make(self, layer: Layer, tensor: Any, prefix: str) -> None:
        parts = [Part(layer, "_kernel", Layout(-1))]
        if layer.use_bias:
            parts.append(Part(layer, "bias", Layout(-1)))
        size = int(layer._kernel.shape[-1])
        width = Width(prefix + layer.name, size, [layer], parts)
        self._widths.append(width)
        self._set(tensor, width, Layout(_channel_axis(layer, len(tensor.shape))))
        if layer.activation not in _ELEMENTWISE:
            self._pin([tensor], f"the activation of {layer.name!r} mixes it")

    def _add(self, operation: Any, inputs: list, output: Any) -> None:
        states = [self._state(tensor) for tensor in inputs]
        known = [state for state in states if state is not None]
        if not known:
            return
        width, layout = known[0]
        alike = all(
            state is not None and state[1] == layout and t.shape == inputs[0].shape
            for state, t in zip(states, inputs, strict=True)
        )
        if len(inputs) < 2 or not alike:
            self._pin(inputs, f"{operation.name!r} adds what has a fixed width to it")
            return
        for other, _ in known[1:]:
            self._merge(width, other)
            width = self._root(width)
        self._set(output, width, layout)

    def _merge(self, first: Width, second: Width) -> None:
        first, second = self._root(first), self._root(second)
        if first is second:
            return
        # The one that is made first gives the name.
        if self._widths.index(second) < self._widths.index(first):
            first, second = second, first
        self._merged[id(second)] = first
        for name in ("makers", "parts", "readers", "tensors"):
            getattr(first, name).extend(getattr(second, name))

    def _root(self, width: Width) -> Width:
        while id(width) in self._merged:
            width = self._merged[id(width)]
        return width

    def _state(self, tensor: Any) -> tuple[Width, Layout] | None:
        state = self._channels.get(id(tensor))
        return None if state is None else (self._root(state[0]), state[1])

    def _set(self, tensor: Any, width: Width, layout: Layout) -> None:
        self._channels[id(tensor)] = width, layout
        width.tensors.append((tensor, layout))

    def _pin(self, tensors: list, reason: str) -> None:
        for tensor in tensors:
            state = self._state(tensor)
            if state is not None:
                self._pins.append((state[0], reason))


def _channel_axis(layer: Layer, ndim: int) -> int:
    """The axis of channels in the input and the output of a layer."""
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return 1 if first else ndim - 1


def _layout_after(
    layer: Any, layout: Layout, shape: tuple[int | None, ...]
) -> Layout | None:
    """Where channels lie behind a layer; `None` if it mixes them.

    Args:
        layer: It has one input.
        layout: Where they lie in its input.
        shape: That of the input.
    """
    kind, ndim = type(layer), len(shape)
    if kind in _POINTWISE:
        mixes = kind is keras.layers.Activation and layer.activation not in _ELEMENTWISE
        return None if mixes else layout
    if kind is keras.layers.Flatten:
        return _flattened(layer, layout, shape)
    if kind is keras.layers.BatchNormalization:
        return layout if layer.axis % ndim == layout.axis else None
    if kind in _SPATIAL + _GLOBAL and layout.axis == _channel_axis(layer, ndim):
        pooled = kind in _GLOBAL and not layer.keepdims
        return Layout(1) if pooled else layout
    return None


def _flattened(
    layer: Any, layout: Layout, shape: tuple[int | None, ...]
) -> Layout | None:
    if any(size is None for size in shape[1:]):
        return None
    axes = list(range(1, len(shape)))
    if layer.data_format == "channels_first":
        axes = [*axes[1:], axes[0]]
    place = axes.index(layout.axis)
    before = known_size(shape[axis] for axis in axes[:place]) * layout.before
    after = known_size(shape[axis] for axis in axes[place + 1 :]) * layout.after
    return Layout(1, before, after)
