"""Small networks of every kind that widths are found in."""

import keras
import numpy as np
from keras import layers

from dlrt.evolution._widths import find_widths

RELU = {"activation": "relu"}
SAME = {"padding": "same"}


def dense():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, name="a", **RELU),
            layers.Dropout(0.2),
            layers.Dense(7, name="b", activation="tanh"),
            layers.Dense(3, name="out"),
        ]
    )


def convolutions():
    return keras.Sequential(
        [
            keras.Input((9, 8, 2)),
            layers.Conv2D(6, 3, name="a", strides=2, **SAME, **RELU),
            layers.MaxPooling2D(2, padding="same"),
            layers.Conv2D(5, 2, name="b", dilation_rate=2, **SAME, use_bias=False),
            layers.LeakyReLU(),
            layers.ZeroPadding2D(1),
            layers.Conv2D(7, (1, 3), name="c"),
            layers.Flatten(),
            layers.Dense(3, name="out"),
        ]
    )


def normalized():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, 3, name="a", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(5, 3, name="b"),
            layers.Flatten(),
            layers.BatchNormalization(scale=False),
            layers.Activation("relu"),
            layers.Dense(4, name="c", **RELU),
            layers.Dense(2, name="out"),
        ]
    )


def sequences():
    return keras.Sequential(
        [
            keras.Input((12, 3)),
            layers.Conv1D(6, 3, name="a", padding="causal", **RELU),
            layers.SpatialDropout1D(0.1),
            layers.Dense(5, name="b", **RELU),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, name="out"),
        ]
    )


def residual():
    """Sums that tie three widths, with inner widths of their own."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, name="stem", **SAME, **RELU)(inputs)
    for block in (1, 2):
        y = layers.Conv2D(5, 3, name=f"inner_{block}", **SAME)(x)
        y = layers.BatchNormalization(name=f"norm_{block}")(y)
        y = layers.ReLU(name=f"relu_{block}")(y)
        y = layers.Conv2D(6, 3, name=f"outer_{block}", **SAME)(y)
        x = layers.Add(name=f"sum_{block}")([x, y]) if block == 1 else x + y
    x = layers.GlobalMaxPooling2D(keepdims=True)(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(3, name="out")(layers.Flatten()(x)))


def fixed_sum():
    """A sum with the inputs: only the inner width of the block can change."""
    inputs = keras.Input((6,))
    y = layers.Dense(9, name="inner", **RELU)(inputs)
    x = layers.Add()([inputs, layers.Dense(6, name="outer")(y)])
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def two_readers():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="a", **RELU)(inputs)
    first = layers.Dense(2, name="first")(x)
    second = layers.Dense(3, name="second", use_bias=False)(layers.ELU()(x))
    return keras.Model(inputs, {"first": first, "second": second})


def nested():
    part = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(8, name="a", **RELU),
            layers.Dense(4, name="b"),
        ],
        name="part",
    )
    inputs = keras.Input((6,))
    x = layers.Dense(5, name="before")(inputs)
    x = layers.Dense(6, name="after", **RELU)(part(x))
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


NETWORKS = {
    dense: {"a": 8, "b": 7},
    convolutions: {"a": 6, "b": 5, "c": 7},
    normalized: {"a": 6, "b": 5, "c": 4},
    sequences: {"a": 6, "b": 5},
    residual: {"stem": 6, "inner_1": 5, "inner_2": 5},
    fixed_sum: {"inner": 9},
    two_readers: {"a": 8},
    nested: {"part/a": 8, "after": 6},
}


def randomized(model, seed=0):
    """The model with every variable drawn anew; those of variances are positive."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = rng.normal(size=variable.shape) / 2
        positive = variable.name in ("moving_variance", "gamma")
        variable.assign(np.abs(values) + 0.5 if positive else values)
    return model


def duplicate(model, count=2):
    """Makes the last channels of each width copies of the first ones."""
    for width in find_widths(model).free.values():
        for part in width.parts:
            channels = part.layout.split(part.variable.numpy()).copy()
            channels[..., -count:] = channels[..., :count]
            part.variable.assign(part.layout.join(channels, len(part.variable.shape)))


def samples_of(model, count=64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *model.input_shape[1:])).astype("float32")


def outputs_of(model, x):
    return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]


def assert_same_outputs(model, x, expected, tolerance=2e-4):
    for y, wanted in zip(outputs_of(model, x), expected, strict=True):
        np.testing.assert_allclose(
            y, wanted, atol=tolerance * np.abs(wanted).max(), rtol=0
        )
