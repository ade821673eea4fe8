"""Floating point operations of models: which layers are called, and their products."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import keras
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell  # not exported by Keras

from dlrt.backend.structure import (
    build_shapes,
    is_container,
    is_graph,
    own_variables,
    parts,
)
from dlrt.layers import (
    LowRankEmbedding,
    LowRankLayer,
    ProjectedRNN,
    SingularValues,
)
from dlrt.layers.low_rank_einsum_dense import axes_of

Layer: TypeAlias = keras.layers.Layer
Shape = tuple[int | None, ...]

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


class Call(NamedTuple):
    """A layer that is called.

    Attributes:
        layer: The layer.
        arguments: What it is called with by name, shapes in place of tensors. Empty if
            that is not known.
        times: How often, for one sample.
        own_shape: Shape of its input in the model that it is a layer of, which may be
            for inputs of any size and be called with some of a certain one.
    """

    layer: Any
    arguments: dict[str, Any]
    times: int = 1
    own_shape: Shape | None = None

    @property
    def shape(self) -> Shape:
        """The shape of its input, or of the first of several."""
        for value in self.arguments.values():
            for shape in _shapes(value):
                return shape
        return ()


class Flops(NamedTuple):
    """Floating point operations of a model.

    Attributes:
        total: What is known of them.
        left_out: Names of layers with weights whose products are not, and their types.
    """

    total: int
    left_out: Mapping[str, str]


def flop_count(model: keras.Model) -> int:
    """Floating point operations of a prediction for one sample, two a multiply-add.

    Counted are products of matrices, as often as they are computed: those with the
    kernels of dense, convolutional (transposed, depthwise and separable ones too),
    recurrent and attention layers of Keras, at every step of a sequence where they are
    called at every step; those of queries with keys and of weights with values in
    attention; and those of low-rank layers, with two factors, or the dense kernel where
    that is less. A transposed convolution multiplies with its kernel at every position
    of its input.

    All else is not: biases, activations, normalisations, the scales of `Attention`,
    `PReLU` and `SingularValues`, rows that an embedding looks up, and `keras.ops`
    between layers. Layers within layers and models of a user's class count once, for
    the shape that they were built with. Axes of unknown length count as 1.

    Args:
        model: A built model.

    Raises:
        ValueError: If the layers of the model are not known.

    Warns:
        UserWarning: If layers have weights and are of a type that is not known here.
            It names them; they count nothing.
    """
    flops = flops_of(model)
    if flops.left_out:
        warnings.warn(
            "`flop_count` leaves out layers with weights, as it does not know what "
            f"they compute: {written(flops.left_out)}",
            stacklevel=2,
        )
    return flops.total


def flops_of(model: keras.Model) -> Flops:
    """`flop_count`, and what it leaves out."""
    count = 0
    left_out: dict[str, str] = {}
    for call in calls(model):
        products = _products(call)
        if products is None:
            left_out[call.layer.name] = type(call.layer).__name__
        else:
            count += 2 * call.times * products
    return Flops(count, left_out)


def written(left_out: Mapping[str, str]) -> str:
    """Names of layers and their types, as messages have them."""
    return ", ".join(f"{name!r} ({kind})" for name, kind in left_out.items())


def layer_flops(layer: Any, input_shape: Shape) -> int:
    """What one call of a layer of Keras or dlrt adds to `flop_count`."""
    inner = _expanded(Call(layer, {"inputs": tuple(input_shape)}))
    return sum(2 * call.times * (_products(call) or 0) for call in inner)


def calls(model: keras.Model) -> Iterator[Call]:
    """The calls of the layers of a model, nested ones included.

    In place of layers that call others, at every step of a sequence for instance, there
    are those. The products of a `dlrt.layers.ProjectedRNN` are called once, with a
    shape that has the axis of time. Layers within layers and models of a user's class
    come once, with the shape that they were built with.

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
    yield from _within(model) if is_container(model) else _of_graph(model)


def _of_graph(model: keras.Model, inputs: Any = None) -> Iterator[Call]:
    """The calls of a Sequential or functional model.

    Args:
        model: The model.
        inputs: Shapes that it is called with; defaults to those of its inputs.
    """
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if graph is None:
        raise ValueError(
            "A Sequential model has known shapes only where it begins with an Input, "
            "and its layers can tell the shapes of their outputs. Received: "
            f"{model.name!r}"
        )
    actual = {}
    if inputs is not None and _shapes(inputs) != [x.shape for x in graph.inputs]:
        actual = _tensors(graph, inputs)
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.arguments.convert(lambda x: actual.get(id(x), x))
            if isinstance(node.operation, keras.layers.Layer):
                arguments = _shapes_of(node.operation, args, kwargs)
                own = tuple(node.input_tensors[0].shape)
                yield from _expanded(Call(node.operation, arguments, own_shape=own))
            if actual:
                outputs = node.operation.compute_output_spec(*args, **kwargs)
                pairs = zip(node.outputs, keras.tree.flatten(outputs), strict=True)
                actual.update((id(x), new) for x, new in pairs)


def _tensors(graph: Any, shapes: Any) -> dict[int, Any]:
    """What a functional model has in place of its inputs, by the `id` of these."""
    given = keras.tree.map_shape_structure(keras.KerasTensor, shapes)
    pairs = zip(graph.inputs, graph._standardize_inputs(given), strict=True)
    return {id(x): new for x, new in pairs if new is not None}


def _shapes_of(layer: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    return keras.tree.map_structure(
        lambda x: tuple(x.shape) if isinstance(x, keras.KerasTensor) else x, dict(bound)
    )


def _shapes(structure: Any) -> list[Shape]:
    """The shapes in what a layer is called with."""
    if isinstance(structure, dict):
        structure = tuple(structure.values())
    if not isinstance(structure, (tuple, list)):
        return []
    if structure and all(n is None or isinstance(n, int) for n in structure):
        return [tuple(structure)]
    return [shape for part in structure for shape in _shapes(part)]


def _within(container: Layer) -> Iterator[Call]:
    """The calls of layers within one of a user's class; itself if it has weights."""
    for part in (container, *parts(container).values()):
        if is_container(part):
            if own_variables(part):
                yield Call(part, {})
        elif part.built:
            shapes = build_shapes(part)
            arguments = {k.removesuffix("_shape"): shapes[k] for k in shapes}
            yield from _expanded(Call(part, arguments))


def _expanded(call: Call) -> Iterator[Call]:
    """The calls that a call consists of."""
    inner = _inner(call)
    if inner is None:
        yield call
        return
    for part in inner:
        for one in _expanded(part):
            yield one._replace(times=call.times * one.times)


def _inner(call: Call) -> Iterable[Call] | None:
    """The calls that a layer makes, `None` for one with products of its own."""
    layer = call.layer
    if is_graph(layer):
        return _of_graph(layer, *list(call.arguments.values())[:1])
    if not call.arguments:
        return None
    if is_container(layer):
        return _within(layer)
    if isinstance(layer, ProjectedRNN):
        return _of_projections(layer, call.shape)
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


def _of_projections(layer: ProjectedRNN, shape: Shape) -> Iterator[Call]:
    """The calls within a recurrent layer, for sequences of a shape."""
    (batch, time, _), units = shape, layer.units
    for product, own in zip(layer.projections, (shape, (batch, units)), strict=True):
        call = Call(product, {"inputs": own})
        for part in _of_graph(product) if is_graph(product) else [call]:
            _, *axes = part.shape
            # A model of the whole sequence is for any length of it.
            rest = axes[1:] if product is layer.input_projection else axes
            yield Call(part.layer, {"inputs": (batch, time, *rest)})


def _products(call: Call) -> int | None:
    """The multiply-adds of one call of a layer, `None` if they are not known."""
    for kinds, rule in _RULES.items():
        if isinstance(call.layer, kinds):
            return rule(call.layer, call) if call.arguments else None
    known = isinstance(call.layer, _NO_PRODUCTS) or not call.layer.weights
    return 0 if known else None


def _of_low_rank(layer: Any, call: Call) -> int:
    n, m = layer.matrix_shape
    # Rows of an embedding's first factor are looked up.
    rows = 0 if isinstance(layer, LowRankEmbedding) else n
    return min(layer.rank * (rows + m), n * m) * positions(layer, call.shape)


def _of_kernel(layer: Any, call: Call) -> int:
    return _size(layer.kernel) * positions(layer, call.shape)


def _of_transpose(layer: Any, call: Call) -> int:
    return _size(layer.kernel) * known_size(call.shape[1:]) // _channels(layer, call)


def _of_separable(layer: Any, call: Call) -> int:
    size = _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
    output = layer.compute_output_shape(call.shape)
    return size * (known_size(output[1:]) // layer.filters)


def _of_stft(layer: Any, call: Call) -> int:
    size = sum(map(_size, layer.weights))
    columns = layer.weights[0].shape[-1] * (2 if layer.mode == "stft" else 1)
    output = layer.compute_output_shape(call.shape)
    return size * (known_size(output[1:]) // columns)


def _of_reversible(layer: Any, call: Call) -> int:
    if not call.arguments.get("reverse"):
        return 0
    return known_size(call.shape[1:]) * layer.input_dim


def _of_cell(layer: Any, call: Call) -> int:
    return _size(layer.kernel) + _size(layer.recurrent_kernel)


def _of_conv_lstm_cell(layer: Any, call: Call) -> int:
    output, *_ = layer.compute_output_shape(call.shape)
    return _of_cell(layer, call) * (known_size(output[1:]) // layer.filters)


def _of_heads(layer: Any, call: Call) -> int:
    query = call.arguments.get("query", call.shape)
    value = call.arguments.get("value") or query
    key = call.arguments.get("key") or value
    if isinstance(layer, keras.layers.MultiHeadAttention):
        axes, heads = layer._attention_axes, layer.num_heads
        key_dim, value_dim = layer.key_dim, layer.value_dim
    else:
        axes, heads = (1,), layer.num_query_heads
        key_dim = value_dim = layer.head_dim
    attended = (*query[:-1], heads, value_dim)
    pairs = known_size(query[1:-1]) * known_size(value[axis] for axis in axes)
    shapes = {"query": query, "key": key, "value": value, "output": attended}
    if hasattr(layer, "_gate_dense"):
        shapes["gate"] = query
    return heads * pairs * (key_dim + value_dim) + sum(
        _products(Call(getattr(layer, f"_{name}_dense"), {"inputs": shape})) or 0
        for name, shape in shapes.items()
    )


def _of_attention(layer: Any, call: Call) -> int:
    query, value, *_ = next(iter(call.arguments.values()))
    # Other scores are sums, without a factor for each term.
    scored = layer.scale is not None
    if not isinstance(layer, keras.layers.AdditiveAttention):
        scored = layer.score_mode == "dot"
    columns = scored * query[-1] + value[-1]
    return known_size(query[1:-1]) * known_size(value[1:-1]) * columns


# By type of layer; the first that fits counts.
_RULES: dict[Any, Callable[[Any, Call], int]] = {
    LowRankLayer: _of_low_rank,
    (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
        *_DEPTHWISE,
    ): _of_kernel,
    (
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
    ): _of_transpose,
    (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D): _of_separable,
    (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention): _of_heads,
    keras.layers.Attention: _of_attention,
    (
        keras.layers.SimpleRNNCell,
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
    ): _of_cell,
    ConvLSTMCell: _of_conv_lstm_cell,
    keras.layers.ReversibleEmbedding: _of_reversible,
    keras.layers.STFTSpectrogram: _of_stft,
}
# Others with weights that are known to multiply with no matrix.
_NO_PRODUCTS = (
    keras.layers.BatchNormalization,
    keras.layers.Embedding,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.RMSNormalization,
    SingularValues,
)


def positions(layer: keras.layers.Layer, input_shape: Shape) -> int:
    """How often a layer with one kernel multiplies with it, for one sample.

    Args:
        layer: A dense or convolutional layer or an embedding, of Keras or low rank.
        input_shape: Shape of its input; unknown axes count as 1.
    """
    if isinstance(layer, keras.layers.EinsumDense):
        # Keras has its output's shape only for the input that it was built with.
        return known_size(_kept_lengths(layer.equation, input_shape))
    return known_size(layer.compute_output_shape(input_shape)[1:]) // _columns(layer)


def known_size(shape: Iterable[int | None]) -> int:
    """The number of entries, where axes of unknown length count as 1."""
    return math.prod(length for length in shape if length is not None)


def _kept_lengths(equation: str, input_shape: Shape) -> Iterator[int | None]:
    """The lengths of axes of an input that a kernel has not, and an output has."""
    x, kernel, y = axes_of(equation)
    elided = [""] * (len(input_shape) - len(x))
    axes = [*elided, *x] if equation.startswith("...") else [*x, *elided]
    for axis, length in list(zip(axes, input_shape, strict=True))[1:]:
        if not axis or (axis in y and axis not in kernel):
            yield length


def _columns(layer: Any) -> int:
    """The number of outputs at one position."""
    if isinstance(layer, LowRankLayer):
        return layer.matrix_shape[1]
    if isinstance(layer, keras.layers.Embedding):
        return layer.output_dim
    columns = math.prod(layer.kernel.shape[-2:])
    return columns if isinstance(layer, _DEPTHWISE) else layer.kernel.shape[-1]


def _channels(layer: Any, call: Call) -> int:
    """The number of channels of a convolution's input."""
    first = layer.data_format == "channels_first"
    channels = call.shape[1 if first else -1]
    return 1 if channels is None else channels


def _size(variable: Any) -> int:
    return math.prod(variable.shape)
