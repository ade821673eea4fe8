import inspect

import keras
import pytest

import dlrt
from dlrt import accounting
from dlrt.accounting import products
from dlrt.layers import (
    LowRankConv1D,
    LowRankConv2D,
    LowRankDense,
    LowRankEinsumDense,
    LowRankEmbedding,
    LowRankMultiHeadAttention,
    ProjectedRNN,
    SingularValues,
)


def flops(shape, *layers, dtype="float32"):
    inputs = x = keras.Input(shape, dtype=dtype)
    for layer in layers:
        x = layer(x)
    return accounting.flop_count(keras.Model(inputs, x))


class Cell(keras.layers.Layer):
    """A recurrent cell of a user's class."""

    state_size = output_size = 4

    def build(self, input_shape):
        self.x, self.y = keras.layers.Dense(4), keras.layers.Dense(4)
        self.x.build(input_shape)
        self.y.build((None, 4))

    def call(self, x, states):
        y = self.x(x) + self.y(states[0])
        return y, [y]


LAYERS = keras.layers
IMAGES = (8, 7, 3)
# Shape of an input, a layer, and its multiply-adds by hand.
TABLE = [
    ((6,), LAYERS.Dense(5), 6 * 5),
    ((3, 6), LAYERS.Dense(5), 3 * 6 * 5),
    ((None, 6), LAYERS.Dense(5), 6 * 5),
    ((3, 6), LAYERS.EinsumDense("abc,cde->abde", (3, 2, 4)), 3 * 6 * 8),
    ((4, 6), LAYERS.EinsumDense("...gi,gij->...gj", (4, 5)), 4 * 6 * 5),
    ((9, 4), LAYERS.Conv1D(6, 3, padding="causal"), 9 * 12 * 6),
    ((9, 4), LAYERS.Conv1D(6, 3, dilation_rate=2), 5 * 12 * 6),
    (IMAGES, LAYERS.Conv2D(5, 3), 6 * 5 * 27 * 5),
    (
        (8, 8, 4),
        LAYERS.Conv2D(6, 3, strides=2, groups=2, padding="same"),
        4 * 4 * 9 * 2 * 6,
    ),
    ((5, 6, 7, 2), LAYERS.Conv3D(3, (1, 2, 3)), 5 * 5 * 5 * 6 * 2 * 3),
    # At every position of the input.
    ((9, 4), LAYERS.Conv1DTranspose(6, 3, strides=2), 9 * 3 * 4 * 6),
    (IMAGES, LAYERS.Conv2DTranspose(5, 3), 8 * 7 * 9 * 3 * 5),
    (
        IMAGES,
        LAYERS.Conv2DTranspose(5, (2, 3), strides=2, padding="same"),
        8 * 7 * 6 * 3 * 5,
    ),
    ((5, 6, 7, 2), LAYERS.Conv3DTranspose(3, 2), 5 * 6 * 7 * 8 * 2 * 3),
    ((9, 4), LAYERS.DepthwiseConv1D(3, depth_multiplier=2), 7 * 3 * 4 * 2),
    (IMAGES, LAYERS.DepthwiseConv2D(3, depth_multiplier=2), 6 * 5 * 9 * 6),
    ((9, 4), LAYERS.SeparableConv1D(6, 3), 7 * (3 * 4 + 4 * 6)),
    (
        IMAGES,
        LAYERS.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2),
        4 * 4 * (9 * 6 + 6 * 5),
    ),
    ((5, 4), LAYERS.SimpleRNN(3), 5 * (4 + 3) * 3),
    ((5, 4), LAYERS.LSTM(3, return_sequences=True), 5 * (4 + 3) * 12),
    ((5, 4), LAYERS.GRU(3, reset_after=False), 5 * (4 + 3) * 9),
    ((5, 4), LAYERS.RNN(LAYERS.LSTMCell(3)), 5 * (4 + 3) * 12),
    (
        (5, 4),
        LAYERS.RNN([LAYERS.GRUCell(3), LAYERS.SimpleRNNCell(2)]),
        5 * ((4 + 3) * 9 + (3 + 2) * 2),
    ),
    ((5, 3), LAYERS.RNN(Cell()), 5 * (3 + 4) * 4),
    ((5, 4), LAYERS.Bidirectional(LAYERS.LSTM(3)), 2 * 5 * (4 + 3) * 12),
    ((6, 9, 2), LAYERS.ConvLSTM1D(3, 2), 6 * 8 * 2 * (2 + 3) * 12),
    (
        (6, 8, 7, 2),
        LAYERS.ConvLSTM2D(3, (2, 3), strides=2, padding="same"),
        6 * 4 * 4 * 6 * (2 + 3) * 12,
    ),
    ((6, 4, 5, 6, 2), LAYERS.ConvLSTM3D(3, 2), 6 * 3 * 4 * 5 * 8 * (2 + 3) * 12),
    ((5, 4), LAYERS.TimeDistributed(LAYERS.Dense(3)), 5 * 4 * 3),
    ((5, *IMAGES), LAYERS.TimeDistributed(LAYERS.Conv2D(2, 3)), 5 * 6 * 5 * 27 * 2),
    (
        (5, 4),
        LAYERS.TimeDistributed(keras.Sequential([LAYERS.Dense(3), LAYERS.Dense(2)])),
        5 * (4 * 3 + 3 * 2),
    ),
    ((6,), LAYERS.SpectralNormalization(LAYERS.Dense(5)), 6 * 5),
    ((64, 2), LAYERS.STFTSpectrogram(frame_length=16), 2 * 7 * 16 * 9 * 2),
    ((64, 1), LAYERS.STFTSpectrogram("stft", 16, frame_step=16), 4 * 16 * 9 * 2),
    ((64, 1), LAYERS.STFTSpectrogram("real", 16, expand_dims=True), 7 * 16 * 9),
    (IMAGES, LAYERS.MaxPooling2D(), 0),
    (IMAGES, LAYERS.BatchNormalization(), 0),
    (IMAGES, LAYERS.GroupNormalization(3), 0),
    (IMAGES, LAYERS.LayerNormalization(), 0),
    (IMAGES, LAYERS.RMSNormalization(), 0),
    (IMAGES, LAYERS.Normalization(), 0),
    (IMAGES, LAYERS.PReLU(), 0),
    ((6,), SingularValues(), 0),
    ((6,), LowRankDense(5, rank=2), 2 * 11),
    # The dense kernel is less.
    ((6,), LowRankDense(5, rank=4), 30),
    ((3, 6), LowRankEinsumDense("abc,cde->abde", (3, 2, 4), rank=2), 3 * 2 * 14),
    ((9, 4), LowRankConv1D(6, 3, rank=2, padding="causal"), 9 * 2 * 18),
    (IMAGES, LowRankConv2D(5, 3, rank=2), 6 * 5 * 2 * 32),
    (
        (5, 4),
        ProjectedRNN(
            LAYERS.LSTM(3),
            keras.Sequential([LAYERS.Dense(2), LAYERS.Dense(12)]),
            LowRankDense(12, rank=1),
        ),
        5 * (4 * 2 + 2 * 12 + 1 * (3 + 12)),
    ),
]


@pytest.mark.parametrize(
    "shape, layer, products", TABLE, ids=[type(row[1]).__name__ for row in TABLE]
)
def test_flops_of_layers(shape, layer, products):
    assert flops(shape, layer) == 2 * products


@pytest.mark.parametrize(
    "name, args, products",
    [
        ("Conv2D", (5, 3), 6 * 5 * 27 * 5),
        ("Conv2DTranspose", (5, 3), 8 * 7 * 27 * 5),
        ("SeparableConv2D", (5, 3), 6 * 5 * (27 + 15)),
        ("DepthwiseConv2D", (3,), 6 * 5 * 27),
    ],
)
def test_channels_may_come_first(name, args, products):
    layer = getattr(keras.layers, name)(*args, data_format="channels_first")
    layer.build((None, 3, 8, 7))
    assert accounting.layer_flops(layer, (None, 3, 8, 7)) == 2 * products


QUERY, VALUE = (5, 6), (7, 6)
# Two products of queries, keys and values for each of 5 · 7 pairs.
ATTENTION = [
    (
        LAYERS.MultiHeadAttention(2, 3, value_dim=4),
        5 * 6 * 6 + 7 * 6 * (6 + 8) + 5 * 8 * 6 + 35 * 2 * (3 + 4),
    ),
    (
        LAYERS.MultiHeadAttention(2, 3, use_gate=True),
        (2 * 5 + 2 * 7 + 5) * 6 * 6 + 35 * 2 * (3 + 3),
    ),
    (
        LowRankMultiHeadAttention(2, 3, rank=2),
        (2 * 5 + 2 * 7) * 2 * (6 + 6) + 35 * 2 * (3 + 3),
    ),
    (
        LAYERS.GroupQueryAttention(3, 4, 2),
        5 * 6 * 12 + 2 * 7 * 6 * 6 + 5 * 12 * 6 + 35 * 4 * (3 + 3),
    ),
]


@pytest.mark.parametrize(
    "layer, products", ATTENTION, ids=[type(row[0]).__name__ for row in ATTENTION]
)
def test_flops_of_attention_with_heads(layer, products):
    query, value = keras.Input(QUERY), keras.Input(VALUE)
    for arguments in ((query, value), (query, value, value)):
        model = keras.Model([query, value], layer(*arguments))
        assert accounting.flop_count(model) == 2 * products
    model = keras.Model([query, value], layer(value=value, query=query))
    assert accounting.flop_count(model) == 2 * products


@pytest.mark.parametrize("axes, pairs", [(None, 6 * 6), ((1,), 2 * 2 * 3)])
def test_flops_of_attention_along_axes(axes, pairs):
    layer = keras.layers.MultiHeadAttention(2, 3, attention_axes=axes)
    x = keras.Input((2, 3, 4))
    projections = 4 * 6 * 4 * 6
    expected = 2 * (projections + pairs * 2 * 6)
    assert accounting.flop_count(keras.Model(x, layer(x, x))) == expected


@pytest.mark.parametrize(
    "layer, columns",
    [
        (LAYERS.Attention(use_scale=True), 6 + 4),
        (LAYERS.Attention(score_mode="concat"), 4),
        (LAYERS.AdditiveAttention(), 6 + 4),
        (LAYERS.AdditiveAttention(use_scale=False), 4),
    ],
)
def test_flops_of_attention_without_heads(layer, columns):
    query, value, key = keras.Input((5, 6)), keras.Input((7, 4)), keras.Input((7, 6))
    model = keras.Model([query, value, key], layer([query, value, key]))
    assert accounting.flop_count(model) == 2 * 5 * 7 * columns


def test_embeddings_that_are_reversed_multiply():
    layer = keras.layers.ReversibleEmbedding(50, 6)
    tokens = keras.Input((7,), dtype="int32")
    model = keras.Model(tokens, layer(layer(tokens), reverse=True))
    assert accounting.flop_count(model) == 2 * 7 * 6 * 50


def test_nested_models_count_for_the_inputs_that_they_are_called_with():
    inner = keras.Sequential([keras.Input((None, None, 3)), LAYERS.Conv2D(2, 3)])
    outer = keras.Sequential([keras.Input((None, None, 3)), inner, LAYERS.ReLU()])
    small, large = keras.Input((5, 6, 3), name="a"), keras.Input((8, 7, 3), name="b")
    model = keras.Model([small, large], [outer(small), outer(large)])
    flops_of_both = 2 * 54 * (3 * 4 + 6 * 5)
    assert accounting.flop_count(model) == flops_of_both
    called = [(call.layer.name, call.shape) for call in accounting.find_calls(model)]
    convolution = inner.layers[0].name
    assert {(convolution, (None, 5, 6, 3)), (convolution, (None, 8, 7, 3))} < {*called}
    sizes = [keras.Input((None, None, 3), name=name) for name in "ba"]
    two = keras.Model(sizes, [outer(x) for x in sizes])
    inputs = {"a": small, "b": large}
    assert accounting.flop_count(keras.Model(inputs, two(inputs))) == flops_of_both


def test_nested_models_of_sequences_count_for_their_length():
    tokens = keras.Input((None,), dtype="int32")
    x = LAYERS.Embedding(50, 6, mask_zero=True)(tokens)
    y = LAYERS.MultiHeadAttention(2, 3)(x, x)
    inner = keras.Model(tokens, LAYERS.Bidirectional(LAYERS.LSTM(3))(x + y))
    words = keras.Input((7,), dtype="int32")
    attention = 4 * 7 * 6 * 6 + 7 * 7 * 2 * (3 + 3)
    expected = 2 * (attention + 2 * 7 * (6 + 3) * 12)
    assert accounting.flop_count(keras.Model(words, inner(words))) == expected
    assert accounting.flop_count(inner) < expected


def test_budgets_in_flops_are_of_the_whole_model():
    model = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            LAYERS.Conv2D(12, 3),
            LAYERS.Conv2DTranspose(4, 3),
        ]
    )
    whole = 2 * 49 * 36 * 12 + 2 * 49 * 9 * 12 * 4
    assert accounting.flop_count(model) == whole
    smaller, report = dlrt.compress(model, "svd", {"flops": whole * 3 // 4})
    assert report.flops_before == whole
    assert whole // 2 < report.flops == accounting.flop_count(smaller) <= whole * 3 // 4


class Scale(keras.layers.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(shape=input_shape[-1:], name="scale")

    def call(self, x):
        return x * self.scale


class Scaled(Scale):
    """Has weights of its own, and those of a layer within it."""

    def build(self, input_shape):
        super().build(input_shape)
        self.dense = keras.layers.Dense(5)
        self.dense.build(input_shape)

    def call(self, x):
        return self.dense(super().call(x))


def test_layers_that_are_not_counted_are_named():
    layers = [Scale(name="one"), keras.layers.Dense(6), Scaled(name="two")]
    with pytest.warns(UserWarning, match=r"'one' \(Scale\), 'two' \(Scaled\)$"):
        assert flops((6,), *layers) == 2 * 66
    model = keras.Sequential([keras.Input((6,)), *layers])
    _, report = dlrt.compress(model, "svd", {"ratio": 1.2})
    assert report.not_in_flops == {"one": "Scale", "two": "Scaled"}
    assert str(report).endswith("without those of 'one' (Scale), 'two' (Scaled)")


# What their products are is for their users to say.
FOREIGN = {"FlaxLayer", "JaxLayer", "Layer", "TFSMLayer", "TorchModuleWrapper"}


def test_every_layer_of_keras_with_weights_is_in_the_table():
    def makes_weights(kind):
        return "add_weight" in inspect.getsource(inspect.getmodule(kind))

    named = [getattr(LAYERS, name) for name in dir(LAYERS)]
    kinds = {kind for kind in named if isinstance(kind, type)}
    known = tuple(products._PRODUCTS)
    called = (LAYERS.RNN, LAYERS.StackedRNNCells)
    unknown = {
        kind.__name__
        for kind in kinds
        if issubclass(kind, keras.layers.Layer)
        and makes_weights(kind)
        and not issubclass(kind, (*known, *called, LAYERS.SpectralNormalization))
    }
    assert unknown <= FOREIGN


def test_rows_of_embeddings_are_looked_up():
    assert flops((7,), keras.layers.Embedding(50, 6), dtype="int32") == 0
    low_rank = LowRankEmbedding(50, 6, rank=2)
    assert flops((7,), low_rank, dtype="int32") == 2 * 7 * 2 * 6


def test_layers_count_for_the_input_that_they_are_called_with():
    layer = keras.layers.EinsumDense("abc,cd->abd", (None, 5))
    layer.build((None, None, 6))
    assert flops((3, 6), layer) == 2 * 3 * 6 * 5


def test_layers_count_as_often_as_they_are_applied():
    layer = keras.layers.Dense(6)
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)])
    assert flops((6,), layer, layer, inner, layer, inner) == 5 * 2 * 36


def test_flops_of_merged_models_are_those_of_low_rank_ones():
    model = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            keras.layers.Conv2D(12, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(20),
            keras.layers.Dense(3),
        ]
    )
    low_rank = dlrt.convert(model, rank=3)
    merged = dlrt.merge(low_rank)
    counts = [accounting.flop_count(m) for m in (model, low_rank, merged)]
    assert counts[0] > counts[1] == counts[2]


def test_models_of_unknown_order_are_refused():
    class Subclass(keras.Model):
        pass

    with pytest.raises(ValueError, match="Only Sequential and functional.*Subclass"):
        accounting.flop_count(Subclass())


def test_sequential_models_of_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="begins with an Input.*Received: 'plain'"):
        accounting.flop_count(keras.Sequential([LAYERS.Dense(3)], name="plain"))


class Repeated(keras.layers.Dense):
    """Multiplies three times at every position."""


@accounting.register_positions(Repeated)
def repeat(layer, input_shape):
    return 3 * accounting.known_size(input_shape[1:-1])


def test_a_rule_for_a_class_goes_before_those_of_its_bases():
    assert flops((4, 6), Repeated(5)) == 2 * 3 * 4 * 6 * 5

    class Twice(Repeated):
        pass

    accounting.register_flops(Twice)(lambda layer, call: 7 * call.shape[-1])
    assert flops((4, 6), Twice(5)) == 2 * 7 * 6
