"""Gradients at augmented bases: by one pass where products tell all, else by two."""

import keras
import numpy as np
import pytest
from classifiers import CLASSES, FEATURES, RANK, WIDTH, compiled

import dlrt
from dlrt.layers.recording import Recording


class PassCounter(keras.layers.Layer):
    """Passes its input on, and counts how often."""

    def build(self, input_shape):
        self.passes = self.add_weight(initializer="zeros", trainable=False)

    def call(self, x):
        self.passes.assign_add(1.0)
        return x


class Square(keras.layers.Layer):
    """`x W W` with the kernel of a low-rank layer, beside its product."""

    def __init__(self, kernel_of):
        super().__init__()
        self.kernel_of = kernel_of

    def call(self, x):
        return self.kernel_of(x) @ self.kernel_of.kernel


def sequences_through(kind):
    """A model of sequences, in which low-rank layers are used in some way."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, FEATURES))
    x = PassCounter(name="counter")(inputs)
    first = dlrt.layers.LowRankDense(WIDTH, rank=6, kernel_regularizer="l2")
    second = dlrt.layers.LowRankDense(WIDTH, rank=RANK, activation="tanh")
    if kind == "products":
        x = second(second(keras.layers.TimeDistributed(first)(x)))
    elif kind == "kernel":
        x = Square(second)(first(x))
    else:
        recurrent = {"loop": keras.layers.RNN, "steps": Unrolled}[kind]
        x = recurrent(LowRankCell())(x)[:, None]
    return dlrt.Model(
        inputs,
        keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling1D()(x)),
    )


class LowRankCell(keras.layers.Layer):
    """A recurrent cell with a low-rank layer."""

    state_size = WIDTH

    def __init__(self):
        super().__init__()
        self.inward = keras.layers.Dense(WIDTH)
        self.onward = dlrt.layers.LowRankDense(WIDTH, rank=6)

    def build(self, input_shape):
        self.inward.build(input_shape)
        self.onward.build((None, WIDTH))

    def call(self, x, states):
        state = keras.ops.tanh(self.inward(x) + self.onward(states[0]))
        return state, [state]


class Unrolled(keras.layers.Layer):
    """`keras.layers.RNN` without a loop in the graph."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def call(self, x):
        states = [keras.ops.zeros((x.shape[0] or 1, WIDTH))]
        for step in range(x.shape[1]):
            output, states = self.cell(x[:, step], states)
        return output


def trained_on_sequences(kind, eagerly=False):
    random = np.random.default_rng(0)
    x = random.standard_normal((32, 5, FEATURES)).astype("float32")
    y = (x.sum(1) @ random.standard_normal((FEATURES, CLASSES))).argmax(1)
    model = compiled(
        keras.optimizers.SGD(0.3),
        sequences_through(kind),
        eagerly,
        integrator="augmented_bug",
        tolerance=0.2,
        truncation_interval=2,
    )
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    low_rank = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, dlrt.layers.LowRankDense)
    ]
    passes = int(model.get_layer("counter").passes)
    return [np.asarray(layer.kernel) for layer in low_rank], passes


def test_one_pass_gives_both_gradients_at_augmented_bases(monkeypatch):
    kernels, passes = trained_on_sequences("products", eagerly=True)
    assert passes == 2
    never = property(lambda _: False, lambda *_: None)
    monkeypatch.setattr(Recording, "complete", never, raising=False)
    expected, passes = trained_on_sequences("products", eagerly=True)
    assert passes == 4
    for kernel, value in zip(kernels, expected, strict=True):
        np.testing.assert_allclose(kernel, value, atol=1e-5)


@pytest.mark.slow
def test_a_second_pass_where_products_do_not_tell_all():
    kernels, passes = trained_on_sequences("loop")
    assert passes == 4
    expected, passes = trained_on_sequences("steps")
    assert passes == 2
    for kernel, value in zip(kernels, expected, strict=True):
        np.testing.assert_allclose(kernel, value, atol=1e-5)
    assert trained_on_sequences("kernel")[1] == 4
