"""What a call of a layer costs: its products with matrices."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import keras
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell  # not exported by Keras

from dlrt.accounting.calls import Call, Layer, Shape, known_size
from dlrt.layers import LowRankEmbedding, LowRankLayer, SingularValues
from dlrt.layers.low_rank_einsum_dense import all_axes_of

Rule = TypeVar("Rule", bound=Callable)

_PRODUCTS: dict[type, Callable[[Any, Call], int]] = {}
_POSITIONS: dict[type, Callable[[Any, Shape], int]] = {}


def register_flops(*types: type[Layer]) -> Callable[[Rule], Rule]:
    """Decorates a function that counts the products of layers of some types.

    The function takes a layer and its `Call`, and returns the multiply-adds of the call
    for one sample, two flops each. A rule for a class also holds for its subclasses;
    there is one for every `LowRankLayer`.
    """
    return lambda rule: _add_rule(_PRODUCTS, types, rule)


def register_positions(*types: type[Layer]) -> Callable[[Rule], Rule]:
    """Decorates a function that counts how often layers multiply by their matrix.

    The function takes a layer and the shape of its input, as `positions` does. Without
    one, a layer multiplies once for every row of its output.
    """
    return lambda rule: _add_rule(_POSITIONS, types, rule)


def _add_rule(rules: dict[type, Any], types: tuple[type, ...], rule: Rule) -> Rule:
    rules.update(dict.fromkeys(types, rule))
    return rule


def _find_rule(rules: dict[type, Rule], layer: Any) -> Rule | None:
    """The rule for the type of a layer, or for its nearest base class."""
    return next((rules[kind] for kind in type(layer).__mro__ if kind in rules), None)


def count_products(call: Call) -> int | None:
    """The multiply-adds of one call of a layer, `None` if they are not known."""
    rule = _find_rule(_PRODUCTS, call.layer)
    if rule is _multiply_nothing or (rule is None and not call.layer.weights):
        return 0
    return None if rule is None or not call.arguments else rule(call.layer, call)


def positions(layer: Layer, input_shape: Shape) -> int:
    """How often a layer with one kernel multiplies by it, for one sample.

    Args:
        layer: A dense or convolutional layer or an embedding, of Keras or low rank.
        input_shape: Shape of its input; unknown axes count as 1.
    """
    rule = _find_rule(_POSITIONS, layer)
    if rule is not None:
        return rule(layer, input_shape)
    return known_size(layer.compute_output_shape(input_shape)[1:]) // _columns(layer)


def _columns(layer: Any) -> int:
    """The number of outputs at one position."""
    if isinstance(layer, LowRankLayer):
        return layer.matrix_shape[1]
    if isinstance(layer, keras.layers.Embedding):
        return layer.output_dim
    columns = math.prod(layer.kernel.shape[-2:])
    return columns if isinstance(layer, _DEPTHWISE) else layer.kernel.shape[-1]


_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


@register_positions(keras.layers.EinsumDense)
def _count_kept(layer: Any, input_shape: Shape) -> int:
    # Keras knows the output's shape only for the input for which it was built.
    x, kernel, y = all_axes_of(layer.equation, len(input_shape))
    axes = list(zip(x, input_shape, strict=True))[1:]
    return known_size(n for axis, n in axes if axis in y and axis not in kernel)


@register_positions(*_TRANSPOSED)
def _count_inputs(layer: Any, input_shape: Shape) -> int:
    axis = 1 if layer.data_format == "channels_first" else -1
    return known_size(input_shape[1:]) // (input_shape[axis] or 1)


@register_flops(LowRankLayer)
def _multiply_factors(layer: Any, call: Call) -> int:
    n, m = layer.matrix_shape
    # Rows of an embedding's first factor are looked up.
    rows = 0 if isinstance(layer, LowRankEmbedding) else n
    return min(layer.rank * (rows + m), n * m) * positions(layer, call.shape)


@register_flops(
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    *_DEPTHWISE,
    *_TRANSPOSED,
)
def _multiply_kernel(layer: Any, call: Call) -> int:
    return _size(layer.kernel) * positions(layer, call.shape)


@register_flops(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
def _multiply_separable(layer: Any, call: Call) -> int:
    size = _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
    output = layer.compute_output_shape(call.shape)
    return size * (known_size(output[1:]) // layer.filters)


@register_flops(keras.layers.STFTSpectrogram)
def _multiply_spectrogram(layer: Any, call: Call) -> int:
    size = sum(map(_size, layer.weights))
    columns = layer.weights[0].shape[-1] * (2 if layer.mode == "stft" else 1)
    output = layer.compute_output_shape(call.shape)
    return size * (known_size(output[1:]) // columns)


@register_flops(keras.layers.ReversibleEmbedding)
def _multiply_reversed(layer: Any, call: Call) -> int:
    if not call.arguments.get("reverse"):
        return 0
    return known_size(call.shape[1:]) * layer.input_dim


@register_flops(keras.layers.SimpleRNNCell, keras.layers.LSTMCell, keras.layers.GRUCell)
def _multiply_cell(layer: Any, call: Call) -> int:
    return _size(layer.kernel) + _size(layer.recurrent_kernel)


@register_flops(ConvLSTMCell)
def _multiply_conv_lstm(layer: Any, call: Call) -> int:
    output, *_ = layer.compute_output_shape(call.shape)
    return _multiply_cell(layer, call) * (known_size(output[1:]) // layer.filters)


@register_flops(keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
def _multiply_heads(layer: Any, call: Call) -> int:
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
        count_products(Call(getattr(layer, f"_{name}_dense"), {"inputs": shape})) or 0
        for name, shape in shapes.items()
    )


@register_flops(keras.layers.Attention)
def _multiply_attention(layer: Any, call: Call) -> int:
    query, value, *_ = next(iter(call.arguments.values()))
    # Other scores are sums, without a factor for each term.
    scored = layer.scale is not None
    if not isinstance(layer, keras.layers.AdditiveAttention):
        scored = layer.score_mode == "dot"
    columns = scored * query[-1] + value[-1]
    return known_size(query[1:-1]) * known_size(value[1:-1]) * columns


@register_flops(
    keras.layers.BatchNormalization,
    keras.layers.Embedding,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.RMSNormalization,
    SingularValues,
)
def _multiply_nothing(layer: Any, call: Call) -> int:
    return 0


def _size(variable: Any) -> int:
    return math.prod(variable.shape)
