import keras
import numpy as np
import pytest
from keras import layers
from networks import NETWORKS, dense, fixed_sum, residual

import dlrt
from dlrt.evolution._allocation import count_entries
from dlrt.evolution._costs import list_parameter_terms
from dlrt.evolution._widths import find_widths


@pytest.mark.parametrize("network", NETWORKS, ids=lambda f: f.__name__)
def test_found(network):
    model = network()
    assert dlrt.evolution.widths(model) == NETWORKS[network]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda f: f.__name__)
def test_terms_count_the_parameters(network):
    model = network()
    sizes = NETWORKS[network]
    counted = list_parameter_terms(model, find_widths(model).free.values())
    assert count_entries(counted, sizes) == model.count_params()
    smaller = {name: 1 for name in sizes}
    data = np.ones((4, *model.input_shape[1:]), "float32")
    dlrt.evolution.set_widths(model, smaller, data)
    assert count_entries(counted, smaller) == model.count_params()


def test_pinned_widths_say_why():
    assert "output" in dlrt.evolution.pinned(dense())["out"]
    reasons = dlrt.evolution.pinned(fixed_sum())
    assert "adds what has a fixed width" in reasons["outer"]
    assert set(dlrt.evolution.pinned(residual())) == {"out"}


def between(*parts, name="a"):
    """Whether a width can change if some layers read it before a dense one does."""
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.Dense(4, name=name),
            *parts,
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    return dlrt.evolution.pinned(model).get(name)


@pytest.mark.parametrize(
    "layer, expected",
    [
        (lambda: layers.Softmax(), "of type Softmax"),
        (lambda: layers.Activation("softmax"), "of type Activation"),
        (lambda: layers.LayerNormalization(), "of type LayerNormalization"),
        (lambda: layers.Reshape((4, 6)), "of type Reshape"),
        (lambda: layers.LSTM(3, return_sequences=True), "of type LSTM"),
        (lambda: layers.BatchNormalization(axis=1), "of type BatchNormalization"),
        (lambda: layers.MaxPooling1D(data_format="channels_first"), "MaxPooling1D"),
        (lambda: dlrt.layers.LowRankDense(4, rank=2), "of type LowRankDense"),
        (lambda: layers.Conv1D(4, 1, groups=2), "a grouped convolution"),
        (lambda: layers.Dense(3, trainable=False), "not trainable"),
        (lambda: layers.Dense(3, lora_rank=1), "LoRA"),
        (lambda: layers.Activation("relu"), None),
        (lambda: layers.BatchNormalization(), None),
    ],
)
def test_readers_that_pin(layer, expected):
    reason = between(layer())
    assert reason == expected or expected in reason


def test_subclasses_of_layers_pin():
    class Odd(layers.Dense):
        pass

    assert "of type Odd" in between(Odd(3))


def test_activation_that_mixes_channels():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, activation="softmax", name="a"),
            layers.Dense(2),
        ]
    )
    assert "mixes" in dlrt.evolution.pinned(model)["a"]


def test_shared_layers_pin():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    x = shared(layers.Dense(4, name="a")(inputs))
    x = layers.Dense(3, name="b")(shared(x))
    model = keras.Model(inputs, layers.Dense(1, name="out")(x))
    assert dlrt.evolution.widths(model) == {"b": 3}
    reasons = dlrt.evolution.pinned(model)
    assert "shared" in reasons["shared"] and "shared" in reasons["a"]


def test_models_in_several_places_keep_their_widths():
    part = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, name="a"), layers.Dense(4, name="b")]
    )
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1)(part(part(inputs))))
    assert dlrt.evolution.widths(model) == {}


def test_concatenation_pins():
    inputs = keras.Input((4,))
    branches = [layers.Dense(3, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(branches)))
    assert dlrt.evolution.widths(model) == {}


def test_sums_of_different_shapes_pin():
    inputs = keras.Input((5, 4))
    first = layers.Dense(3, name="a")(inputs)
    second = layers.GlobalAveragePooling1D(keepdims=True)(
        layers.Dense(3, name="b")(inputs)
    )
    x = layers.Flatten()(first + second)
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert dlrt.evolution.widths(model) == {}


def test_unbuilt_and_subclassed_models_are_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    for model in (keras.Sequential([layers.Dense(3)]), Own()):
        with pytest.raises(ValueError, match="built Sequential or functional"):
            dlrt.evolution.widths(model)
