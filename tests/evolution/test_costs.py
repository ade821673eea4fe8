import keras
import pytest
from keras import layers
from networks import NETWORKS, nested, samples_of

import dlrt
from dlrt.evolution import training_memory
from dlrt.evolution._allocation import count_entries
from dlrt.evolution._costs import list_memory_terms
from dlrt.evolution._widths import find_widths

every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda f: f.__name__)


def compiled(model, optimizer):
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def convolution(**kwargs):
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 3, padding="same", activation="relu", **kwargs),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


# By hand: kernels and biases, then the averages of the normalisation.
TRAINABLE = (9 * 2 + 2) + 2 * 2 + (32 * 3 + 3)
ALL = TRAINABLE + 2 * 2
# Inputs, two times the channels, and outputs: flattening makes nothing.
VALUES = 16 + 2 * 32 + 3


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        (keras.optimizers.SGD(), 0),
        (keras.optimizers.SGD(momentum=0.9), 1),
        (keras.optimizers.Adam(), 2),
        (keras.optimizers.Adam(gradient_accumulation_steps=2), 3),
        (dlrt.optimizers.LowRank(keras.optimizers.Adam()), 2),
        (None, 0),
    ],
)
def test_by_hand(optimizer, slots):
    model = convolution()
    if optimizer is not None:
        optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
        compiled(model, optimizer)
    memory = training_memory(model, 5)
    assert memory.weights == 4 * ALL
    assert memory.gradients == 4 * TRAINABLE
    assert memory.slots == 4 * slots * TRAINABLE
    assert memory.activations == 4 * 5 * VALUES
    assert memory.total == sum(memory)


def test_frozen_layers_and_half_precision():
    model = convolution(dtype="mixed_float16")
    model.layers[-1].trainable = False
    memory = training_memory(compiled(model, "adam"), 3)
    assert memory.gradients == 4 * (20 + 4) and memory.weights == 4 * ALL
    assert memory.slots == 2 * memory.gradients
    assert memory.activations == 3 * (4 * (VALUES - 32) + 2 * 32)


def test_models_within_models_count_once():
    # Inputs, "before", both layers within, "after" and "out".
    expected = 6 + 5 + (8 + 4) + 6 + 2
    assert training_memory(nested(), 1).activations == 4 * expected


def test_factored_slots():
    model = compiled(convolution(), keras.optimizers.Adafactor())
    # Sums over rows and columns of kernels, and a moment of each variable's shape.
    entries = (9 + 18) + (32 + 3) + TRAINABLE
    # Two numbers stand for what vectors don't have, of up to eight bytes.
    rest = training_memory(model, 1).slots - 4 * entries
    assert 0 <= rest <= 4 * 2 * 8


@every_network
def test_terms_foresee_other_widths(network):
    model = compiled(network(), "adam")
    found = find_widths(model)
    terms = list_memory_terms(model, found.free.values(), 7)
    now = NETWORKS[network]
    assert count_entries(terms, now) == training_memory(model, 7).total
    smaller = {name: size - 2 for name, size in now.items()}
    foreseen = count_entries(terms, smaller)
    dlrt.evolution.set_widths(model, smaller, samples_of(model))
    assert training_memory(model, 7).total == foreseen


def test_wrong_input():
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        training_memory(convolution(), 0)
    with pytest.raises(ValueError, match="must be a built Sequential"):
        training_memory(keras.Sequential([layers.Dense(3)]), 1)
    model = convolution()
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="`model.optimizer` must be built"):
        training_memory(model, 1)
