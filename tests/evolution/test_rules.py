"""Layers of others that say how their widths change."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from networks import assert_same_outputs, duplicate, outputs_of, randomized, samples_of

import dlrt
from dlrt.evolution import Channelwise, Linear, _rules, register


@pytest.fixture(autouse=True)
def own_rules(monkeypatch):
    monkeypatch.setattr(_rules, "_RULES", dict(_rules._RULES))


class Product(layers.Layer):
    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], self.count))

    def call(self, x):
        return ops.matmul(x, self.matrix)


class Swap(layers.Layer):
    """Takes `(batch, channels, positions)` to `(batch, positions, channels)`."""

    def call(self, x):
        return ops.transpose(x, (0, 2, 1))


def network():
    return keras.Sequential(
        [
            keras.Input((6,)),
            Product(5, name="a"),
            layers.PReLU(),
            layers.Dense(7, name="b"),
            layers.PReLU(),
            Product(2, name="out"),
        ]
    )


def test_widths_of_registered_layers_change():
    assert dlrt.evolution.widths(network()) == {}
    register(Product, Linear("count", kernel="matrix"))
    register(layers.PReLU, Channelwise(("alpha",)))
    model = randomized(network())
    assert dlrt.evolution.widths(model) == {"a": 5, "b": 7}
    duplicate(model)
    x = samples_of(model)
    expected = outputs_of(model, x)
    dlrt.evolution.set_widths(model, {"a": 3, "b": 5}, x)
    assert_same_outputs(model, x, expected)
    dlrt.evolution.set_widths(model, {"a": 4})
    assert_same_outputs(model, x, expected)
    assert model.get_layer("a").count == 4
    assert model.layers[1].alpha.shape == (4,)


def test_channels_that_move_to_another_axis():
    def follow(layer, layout, shape):
        return layout._replace(axis=2) if layout.axis == 1 else None

    register(Swap, Channelwise(follow=follow))
    model = keras.Sequential(
        [
            keras.Input((2, 8)),
            layers.Conv1D(5, 3, name="a", data_format="channels_first"),
            Swap(),
            layers.Dense(4, name="b"),
            Swap(),
            layers.Dense(2),
        ]
    )
    duplicate(randomized(model))
    assert dlrt.evolution.widths(model) == {"a": 5}
    x = samples_of(model)
    expected = outputs_of(model, x)
    dlrt.evolution.set_widths(model, {"a": 3}, x)
    assert_same_outputs(model, x, expected)


def test_wrong_rules():
    with pytest.raises(TypeError, match="`kind` must be a class of layers"):
        register(np.ndarray, Linear("units"))
    with pytest.raises(TypeError, match="`rule` must be"):
        register(Product, "units")
