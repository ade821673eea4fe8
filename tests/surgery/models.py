"""Models to convert, and what tests of converted models ask of them."""

import keras
import numpy as np
import pytest
from conftest import slow
from helpers import array, inputs

from dlrt.layers import LowRankLayer, LowRankMultiHeadAttention

# Every layer that has a low-rank form.
KEEP = {"layers": "(?!grouped).*"}


def fill(model):
    """Random weights, biases included."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name == "moving_variance":
            weight.assign(rng.uniform(0.5, 1.5, size=weight.shape))
        elif weight.dtype.startswith("float"):
            weight.assign(rng.normal(size=weight.shape) / 3)
    return model


def sequential():
    return fill(
        keras.Sequential(
            [
                keras.Input((20,)),
                keras.layers.Dense(16, activation="relu", name="first"),
                keras.layers.Dense(12, use_bias=False, name="second"),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(4, activation="softmax", name="last"),
            ]
        )
    )


def branched():
    x = keras.Input((20,), name="x")
    left = keras.layers.Dense(20, activation="tanh", name="left")(x)
    right = keras.layers.Dense(20, activation="relu", name="right")(x)
    joined = keras.layers.Add()([left, right])
    joined = keras.layers.Concatenate()([joined, x])
    out = keras.layers.Dense(3, name="out")(joined)
    aside = keras.layers.Dense(20, name="aside")(left)
    return fill(keras.Model(x, {"out": out, "aside": aside}))


def nested():
    inner = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(20, activation="relu", name="inside"),
        ],
        name="inner",
    )
    x = keras.Input((20,))
    functional = keras.Model(x, keras.layers.Dense(20, name="deep")(x), name="block")
    return fill(
        keras.Sequential(
            [
                keras.Input((20,)),
                functional,
                inner,
                keras.layers.Dense(2, name="last"),
            ]
        )
    )


def shared():
    layer = keras.layers.Dense(20, activation="tanh", name="shared")
    a, b = keras.Input((20,)), keras.Input((20,))
    joined = keras.layers.Subtract()([layer(layer(a)), layer(b)])
    return fill(keras.Model([a, b], keras.layers.Dense(2, name="last")(joined)))


def with_shared_model():
    block = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(20, name="inside")], name="block"
    )
    a, b = keras.Input((20,)), keras.Input((20,))
    joined = keras.layers.Subtract()([block(a), block(b)])
    return fill(keras.Model([a, b], keras.layers.Dense(2, name="last")(joined)))


def shared_across_models():
    """One layer in a model, and in a model within it."""
    layer = keras.layers.Dense(20, activation="tanh", name="shared")
    x = keras.Input((20,))
    inner = keras.Model(x, layer(x), name="inner")
    y = keras.Input((20,))
    out = keras.layers.Dense(2, name="last")(inner(layer(y)))
    return fill(keras.Model(y, out))


def with_heads():
    """EinsumDense and attention, in a functional model."""
    x = keras.Input((6, 20), name="x")
    y = keras.layers.EinsumDense(
        "abc,cde->abde", (6, 4, 5), activation="tanh", bias_axes="de", name="to_heads"
    )(x)
    y = keras.layers.EinsumDense("abde,dec->abc", (6, 20), name="from_heads")(y)
    y = keras.layers.Add()([x, y])
    y = keras.layers.MultiHeadAttention(4, 5, use_gate=True, name="self")(
        y, y, use_causal_mask=True
    )
    y = keras.layers.EinsumDense(
        "...x,xy->...y", 20, bias_axes="y", activation="relu", name="ellipsis"
    )(y)
    y = keras.layers.GlobalAveragePooling1D()(y)
    return fill(keras.Model(x, keras.layers.Dense(3, name="last")(y)))


def with_embedding():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(30, 20, mask_zero=True, name="embedding")(tokens)
    x = keras.layers.Dense(20, activation="tanh", name="hidden")(x)
    x = keras.layers.LSTM(4, name="lstm")(x)
    return fill(keras.Model(tokens, keras.layers.Dense(2, name="last")(x)))


def convolutional():
    """Convolutions over images, then over sequences."""
    x = keras.Input((10, 9, 6))
    y = keras.layers.Conv2D(20, 3, activation="relu", name="plane")(x)
    y = keras.layers.Conv2D(20, 3, strides=2, padding="same", name="strides")(y)
    y = keras.layers.Conv2D(
        20, (3, 2), dilation_rate=2, padding="same", use_bias=False, name="dilated"
    )(y)
    y = keras.layers.Conv2D(20, 3, groups=2, padding="same", name="grouped")(y)
    y = keras.layers.Reshape((16, 20))(y)
    y = keras.layers.Conv1D(
        20, 3, padding="causal", dilation_rate=2, activation="tanh", name="causal"
    )(y)
    y = keras.layers.GlobalAveragePooling1D()(y)
    return fill(keras.Model(x, keras.layers.Dense(3, name="last")(y)))


MODELS = pytest.mark.parametrize(
    "make",
    [
        with_heads,
        with_embedding,
        convolutional,
        *slow(sequential, branched, nested, shared),
    ],
)


def data_for(model):
    if model.inputs[0].dtype == "int32":
        tokens = np.random.default_rng(0).integers(1, 30, (5, 7), dtype="int32")
        tokens[:2, 4:] = 0
        return tokens
    shapes = [(5, *x.shape[1:]) for x in model.inputs]
    data = [inputs(*shape, seed=i) for i, shape in enumerate(shapes)]
    return data if len(data) > 1 else data[0]


def outputs(model, data):
    result = model(data, training=False)
    if isinstance(result, dict):
        return np.concatenate([array(result[k]) for k in sorted(result)], axis=-1)
    return array(result)


def reload(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def all_layers(model):
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.Model)
    ]


LOW_RANK = (LowRankLayer, LowRankMultiHeadAttention)


def low_rank_layers(model):
    """By name; an attention layer is one."""
    found = {x.name: x for x in all_layers(model) if isinstance(x, LOW_RANK)}
    within = {
        id(part)
        for layer in found.values()
        for part in layer._flatten_layers(include_self=False)
    }
    return {name: layer for name, layer in found.items() if id(layer) not in within}


def assert_close(actual, expected, relative=1e-5):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= relative * np.abs(expected).max()
