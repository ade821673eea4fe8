import keras
import numpy as np
import pytest
from gradients import array
from helpers import inputs as images

import dlrt
from dlrt import accounting
from dlrt.layers import LowRankConv1D, LowRankConv2D


@pytest.mark.parametrize(
    "initializer", ["glorot_uniform", "he_normal", "lecun_uniform", "random_normal"]
)
def test_initial_outputs_have_the_variance_of_keras(initializer):
    arguments = dict(filters=200, kernel_size=3, kernel_initializer=initializer)
    x = images(4, 12, 12, 16)
    low_rank = LowRankConv2D(rank=60, **arguments)
    dense = keras.layers.Conv2D(**arguments)
    actual, expected = np.var(array(low_rank(x))), np.var(array(dense(x)))
    assert actual == pytest.approx(expected, rel=0.15)


def test_other_initializers_are_approximated():
    kernel = images(3, 3, 4, 12)
    layer = LowRankConv2D(12, 3, kernel_initializer=lambda *_, **__: kernel, rank=12)
    layer.build((None, 8, 8, 4))
    np.testing.assert_allclose(array(layer.kernel), kernel, atol=1e-5)


@pytest.mark.parametrize(
    "type_, shape", [(LowRankConv1D, (2, 9, 4)), (LowRankConv2D, (2, 9, 8, 4))]
)
def test_channels_first_is_channels_last_transposed(type_, shape):
    # An activation that depends on the axis.
    arguments = dict(filters=6, kernel_size=3, strides=2, activation="softmax", rank=3)
    last = type_(data_format="channels_last", **arguments)
    first = type_(data_format="channels_first", **arguments)
    x = images(*shape)
    last(x)
    moved = np.moveaxis(x, -1, 1)
    first.build(moved.shape)
    bias = images(6)
    for layer in (last, first):
        layer.set_weights([*last.get_weights()[:3], bias])
        layer.activation = None
    expected = np.moveaxis(array(last(x)), -1, 1)
    np.testing.assert_allclose(array(first(moved)), expected, atol=1e-5)
    assert first.compute_output_shape(moved.shape) == expected.shape
    # As in Keras, it gets the channels where they are.
    first.activation = keras.activations.softmax
    np.testing.assert_allclose(array(first(moved)).sum(axis=-1), 1, atol=1e-5)


def network(rank=6, regularizer=None, model_type=dlrt.Model):
    """Convolutions over images and sequences, one of them used twice."""
    x = keras.Input((8, 8, 2))
    arguments = dict(padding="same", rank=rank, kernel_regularizer=regularizer)
    twice = LowRankConv2D(8, 3, activation="tanh", name="twice", **arguments)
    y = LowRankConv2D(8, 3, activation="tanh", name="first", **arguments)(x)
    y = twice(y) + twice(keras.ops.flip(y, axis=1))
    y = LowRankConv2D(12, 3, strides=2, activation="relu", rank=rank)(y)
    y = keras.layers.Reshape((9, 12))(y)
    y = LowRankConv1D(8, 2, activation="relu", name="sequence", **arguments)(y)
    y = keras.layers.Flatten()(y)
    return model_type(x, keras.layers.Dense(3)(y))


def task():
    """Where a bright bar is: above, in the middle or below."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    x = 0.5 * rng.normal(size=(240, 8, 8, 2)).astype("float32")
    for image, label in zip(x, labels, strict=True):
        image[2 * label : 2 * label + 3, :, 0] += 1.0
    return x, labels


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "integrator, tolerance",
    [
        ("augmented_bug", 0.4),
        ("parallel_bug", 0.4),
        ("augmented_bug", None),
        # Dense layers have these on every backend.
        *(
            pytest.param(name, None, marks=pytest.mark.tensorflow_only)
            for name in ("parallel_bug", "kls", "projector_splitting", "factorized")
        ),
    ],
)
def test_every_integrator_trains_convolutions(integrator, tolerance):
    keras.utils.set_random_seed(0)
    model = network()
    rate = 0.05 if integrator == "projector_splitting" else 3e-3
    inner = keras.optimizers.SGD if rate == 0.05 else keras.optimizers.Adam
    model.compile(
        dlrt.optimizers.LowRank(
            inner(rate), integrator=integrator, tolerance=tolerance
        ),
        LOSS,
    )
    start = model.evaluate(*task(), verbose=0)
    model.fit(*task(), batch_size=20, epochs=3, verbose=0)
    assert model.evaluate(*task(), verbose=0) < 0.5 * start
    layers = accounting.low_rank_layers(model)
    for layer in layers:
        assert layer.capacity == layer.rank
        u, _, v = layer.factors
        for basis in (u, v) if integrator != "factorized" else ():
            gram = basis.T @ basis
            np.testing.assert_allclose(gram, np.eye(layer.rank), atol=1e-4)
    assert any(layer.rank != 6 for layer in layers) == (tolerance is not None)


@pytest.mark.slow
def test_a_plain_model_trains_convolutions_at_adaptive_rank():
    keras.utils.set_random_seed(0)
    model = network(model_type=keras.Model)
    inner = keras.optimizers.Adam(3e-3)
    model.compile(dlrt.optimizers.LowRank(inner, tolerance=0.4), LOSS)
    start = model.evaluate(*task(), verbose=0)
    model.fit(*task(), batch_size=20, epochs=3, verbose=0)
    assert model.evaluate(*task(), verbose=0) < 0.5 * start
    assert min(accounting.ranks(model).values()) < 6


@keras.saving.register_keras_serializable(package="tests")
def nothing(kernel):
    return 0.0 * keras.ops.sum(kernel)


@pytest.mark.slow
def test_recorded_products_give_the_gradients_of_a_second_pass():
    """A penalty of kernels can't be recorded, so the other model takes two passes."""
    trained = []
    for regularizer in (None, nothing):
        keras.utils.set_random_seed(2)
        model = network(3, regularizer)
        inner = keras.optimizers.SGD(0.1)
        model.compile(dlrt.optimizers.LowRank(inner, integrator="augmented_bug"), LOSS)
        model.fit(*task(), batch_size=60, epochs=1, shuffle=False, verbose=0)
        trained.append(accounting.low_rank_layers(model))
    for one, two in zip(*trained, strict=True):
        actual, expected = one.factors.to_dense(), two.factors.to_dense()
        np.testing.assert_allclose(actual, expected, atol=2e-4)


def test_images_of_any_size():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, LowRankConv2D(6, 3, strides=2, rank=2)(x))
    assert model.output_shape == (None, None, None, 6)
    layer = model.layers[1]
    for shape in ((2, 9, 7, 3), (3, 5, 8, 3)):
        data = images(*shape)
        found = model.predict(data, verbose=0)
        np.testing.assert_allclose(found, array(layer(data)), atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"groups": 2}, "`groups` must be 1.*groups=2"),
        ({"filters": 0}, "filters"),
        ({"kernel_size": (3, 0)}, "kernel_size"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size"),
        ({"strides": 2, "dilation_rate": 2}, "dilation_rate"),
        ({"padding": "causal"}, "padding"),
        ({"data_format": "first"}, "data_format"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        LowRankConv2D(**{"filters": 6, "kernel_size": 3, "rank": 2, **arguments})


def test_inputs_that_do_not_fit_are_refused():
    layer = LowRankConv2D(6, 3, rank=2)
    with pytest.raises(ValueError, match="channels of the input must be known"):
        layer.build((None, 8, 8, None))
    with pytest.raises(ValueError, match="output"):
        layer.build((None, 2, 8, 3))
    layer.build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="axis -1"):
        layer(images(1, 8, 8, 4))
