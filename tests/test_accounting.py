import keras
import pytest

import dlrt
from dlrt import accounting
from dlrt.layers import LowRankConv2D, LowRankDense, LowRankEmbedding


def flops(shape, *layers, dtype="float32"):
    inputs = x = keras.Input(shape, dtype=dtype)
    for layer in layers:
        x = layer(x)
    return accounting.flop_count(keras.Model(inputs, x))


@pytest.mark.parametrize(
    "shape, layer, expected",
    [
        ((6,), keras.layers.Dense(5), 2 * 6 * 5),
        ((3, 6), keras.layers.Dense(5), 2 * 3 * 6 * 5),
        ((None, 6), keras.layers.Dense(5), 2 * 6 * 5),
        ((3, 6), keras.layers.EinsumDense("abc,cde->abde", (3, 2, 4)), 2 * 3 * 6 * 8),
        ((4, 6), keras.layers.EinsumDense("...gi,gij->...gj", (4, 5)), 2 * 4 * 6 * 5),
        ((8, 7, 3), keras.layers.Conv2D(5, 3), 2 * 6 * 5 * 27 * 5),
        (
            (8, 8, 4),
            keras.layers.Conv2D(6, 3, strides=2, groups=2, padding="same"),
            2 * 4 * 4 * 9 * 2 * 6,
        ),
        ((9, 4), keras.layers.Conv1D(6, 3, padding="causal"), 2 * 9 * 12 * 6),
        (
            (8, 7, 3),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
            2 * 6 * 5 * 9 * 6,
        ),
        ((8, 7, 3), keras.layers.MaxPooling2D(), 0),
        ((6,), LowRankDense(5, rank=2), 2 * 2 * 11),
        # The dense kernel is less.
        ((6,), LowRankDense(5, rank=4), 2 * 30),
        ((8, 7, 3), LowRankConv2D(5, 3, rank=2), 2 * 6 * 5 * 2 * 32),
    ],
    ids=str,
)
def test_flops_of_layers(shape, layer, expected):
    assert flops(shape, layer) == expected


def test_rows_of_embeddings_are_looked_up():
    assert flops((7,), keras.layers.Embedding(50, 6), dtype="int32") == 0
    low_rank = LowRankEmbedding(50, 6, rank=2)
    assert flops((7,), low_rank, dtype="int32") == 2 * 7 * 2 * 6


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
