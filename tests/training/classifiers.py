"""Small classifiers with low-rank layers, and data to train them on."""

import keras
import numpy as np
from conftest import EAGER

import dlrt

FEATURES, WIDTH, CLASSES, RANK = 12, 16, 3, 4


def data(count=64):
    random = np.random.default_rng(0)
    x = random.standard_normal((count, FEATURES)).astype("float32")
    return x, (x @ random.standard_normal((FEATURES, CLASSES))).argmax(1)


def network(model_class=dlrt.Model, rank=RANK, depth=2, **layer_arguments):
    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((FEATURES,))
    for index in range(depth):
        x = dlrt.layers.LowRankDense(
            WIDTH, rank=rank, activation="relu", name=f"h{index}", **layer_arguments
        )(x)
    return model_class(inputs, keras.layers.Dense(CLASSES, name="out")(x))


def compiled(inner, model=None, eagerly=False, **arguments):
    model = network() if model is None else model
    if "tolerance" in arguments:
        # Ranks fall within few steps by the rule that truncates at each.
        arguments = {"truncation_interval": 1, "candidates": 0, **arguments}
    model.compile(
        dlrt.optimizers.LowRank(inner, **arguments),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        run_eagerly=eagerly and EAGER,
    )
    return model


def hidden(model):
    return [layer for layer in model.layers if layer.name in ("h0", "h1")]


def assert_orthonormal(model, tolerance=1e-5):
    for layer in hidden(model):
        u, _, v = layer.factors
        for basis in (u, v):
            gram = basis.T @ basis
            np.testing.assert_allclose(gram, np.eye(layer.rank), atol=tolerance)
