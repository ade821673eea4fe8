"""Training with calls that share traces equals training without."""

import keras
import numpy as np
import pytest
from conftest import slow

import dlrt
from dlrt.backend import tracing
from dlrt.training import _shared_calls

pytestmark = pytest.mark.tensorflow_only

ROWS, LENGTH, DIM = 16, 5, 8
# Blocks in a model, and layers alike from which on they share a trace.
MANY = 2


def dense(activation="tanh", **options):
    return dlrt.layers.LowRankDense(DIM, rank=3, activation=activation, **options)


def attention(**options):
    return dlrt.layers.LowRankMultiHeadAttention(
        2, DIM // 2, rank=3, dropout=0.2, **options
    )


def inputs_of_vectors():
    return (keras.Input((LENGTH, DIM)),) * 2


def inputs_of_tokens():
    inputs = keras.Input((LENGTH,), dtype="int32")
    return inputs, keras.layers.Embedding(9, DIM, mask_zero=True)(inputs)


def blocks(make=dense, inputs=inputs_of_vectors, count=MANY):
    """A model of blocks, each with a layer, dropout, a sum and a normalization."""
    keras.utils.set_random_seed(1)
    first, x = inputs()
    for _ in range(count):
        layer = make()
        attends = isinstance(layer, keras.layers.MultiHeadAttention)
        y = layer(x, x, use_causal_mask=True) if attends else layer(x)
        x = keras.layers.Add()([x, keras.layers.Dropout(0.2)(y)])
        x = keras.layers.LayerNormalization()(x)
    return dlrt.Model(first, x)


@pytest.fixture
def training(monkeypatch):
    """Trains a model, with a smallest number of layers that share a trace.

    Gives losses, weights, and the layers that have been run for all alike.
    """
    run = []
    call = _shared_calls._Alike.call

    def noted(alike, *arguments):
        run.append(_shared_calls._PRESENT.get())
        return call(alike, *arguments)

    monkeypatch.setattr(_shared_calls._Alike, "call", noted)

    def train(model, least, optimizer=None, epochs=2, forget=True, **settings):
        monkeypatch.setattr(_shared_calls, "_ALIKE", least)
        monkeypatch.setattr(_shared_calls, "_ALL", least)
        if forget:
            tracing._traced.cache_clear()
        run.clear()
        rng = np.random.default_rng(2)
        x = rng.normal(size=(ROWS, LENGTH, DIM)).astype("float32")
        if len(model.input.shape) == 2:
            x = rng.integers(0, 9, (ROWS, LENGTH))
        y = rng.normal(size=(ROWS, LENGTH, DIM)).astype("float32")
        if not model.compiled:
            # Without steps by the sign of what is nearly zero.
            inner = keras.optimizers.Adam(0.01, epsilon=1e-3)
            optimizer = dlrt.optimizers.LowRank(inner, **(optimizer or {}))
            model.compile(optimizer, "mse", **settings)
        losses = model.fit(x, y, 4, epochs, shuffle=False, verbose=0).history["loss"]
        return losses, model.get_weights(), list(run)

    yield train
    tracing._traced.cache_clear()


def assert_same(train, make_model, rtol=1e-3, atol=1e-4, **settings):
    """Trains with shared traces and eagerly; gives the layers that were run for all."""
    losses, weights, run = train(make_model(), MANY, **settings)
    settings = {"optimizer": settings.get("optimizer"), "run_eagerly": True}
    own_losses, own_weights, none = train(make_model(), 1000, **settings)
    np.testing.assert_allclose(losses, own_losses, rtol=rtol)
    for one, other in zip(weights, own_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)
    assert none == []
    return [type(layer) for layer in run]


@pytest.mark.parametrize(
    "make, tolerance",
    [(attention, None), *slow((dense, None), (dense, 0.1), (attention, 0.1))],
)
def test_of_layers_alike_one_is_run(training, make, tolerance):
    run = assert_same(
        training, lambda: blocks(make), optimizer={"tolerance": tolerance}
    )
    # Once at first, and once more at most where ranks have been given other room.
    assert run.count(type(make())) in (1, 2)
    assert run.count(keras.layers.LayerNormalization) == 1
    assert run.count(keras.layers.Dropout) == 1


def test_small_networks_share_nothing(training, monkeypatch):
    _, _, run = training(blocks(count=8), _shared_calls._ALIKE, epochs=1)
    assert run
    monkeypatch.undo()
    assert _shared_calls._alike(blocks(count=8)) == []
    assert _shared_calls._alike(blocks(count=11))


@pytest.mark.slow
def test_masks_and_types_of_numbers(training):
    def make_model():
        return blocks(lambda: attention(dtype="mixed_bfloat16"), inputs_of_tokens)

    run = assert_same(training, make_model, rtol=0.02, atol=0.02)
    assert dlrt.layers.LowRankMultiHeadAttention in run


@pytest.mark.parametrize(
    "integrator", ["kls", *slow("augmented_bug", "projector_splitting")]
)
def test_integrators_with_several_gradients(training, integrator):
    run = assert_same(training, blocks, optimizer={"integrator": integrator})
    # One that augments bases looks at every product.
    assert bool(run) != (integrator == "augmented_bug")


def test_losses_of_outputs_and_kernels(training):
    def make_model():
        return blocks(lambda: dense(activity_regularizer="l2", kernel_regularizer="l2"))

    assert dlrt.layers.LowRankDense in assert_same(training, make_model)


@pytest.mark.slow
def test_losses_of_projections_are_not_lost(training):
    def make_model():
        return blocks(lambda: attention(activity_regularizer=keras.regularizers.L2(1)))

    run = assert_same(training, make_model)
    assert dlrt.layers.LowRankMultiHeadAttention not in run


def test_frozen_layers_stay(training):
    model = blocks(dense)
    frozen = [layer for layer in model.layers if hasattr(layer, "kernel")][1]
    frozen.trainable = False
    before = frozen.get_weights()
    _, _, run = training(model, MANY)
    assert run
    for old, new in zip(before, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
def test_functions_of_one_name_are_told_apart(training):
    def of_factor(factor):
        def scaled(x):
            return factor * x

        return scaled

    def make_model():
        factors = iter([0.5, 1.0, 2.0])
        return blocks(lambda: dense(activation=of_factor(next(factors))))

    run = assert_same(training, make_model)
    assert dlrt.layers.LowRankDense not in run


def test_layers_of_users_are_run_each(training):
    class Counting(dlrt.layers.LowRankDense):
        calls = 0

        def call(self, inputs, training=None):
            if training:
                Counting.calls += 1
            return super().call(inputs)

    model = blocks(lambda: Counting(DIM, rank=3))
    Counting.calls = 0
    _, _, run = training(model, MANY)
    assert Counting not in map(type, run)
    assert Counting.calls >= MANY


def test_blocks_of_users_and_a_layer_used_twice(training):
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = dense()
            self.norm = keras.layers.LayerNormalization()

        def build(self, shape):
            self.inner.build(shape)
            self.norm.build(shape)

        def call(self, x):
            return self.norm(x + self.inner(self.inner(x)))

    def make_model():
        keras.utils.set_random_seed(1)
        inputs = x = keras.Input((LENGTH, DIM))
        for _ in range(MANY):
            x = Block()(x)
        return dlrt.Model(inputs, x)

    run = assert_same(training, make_model)
    assert run.count(dlrt.layers.LowRankDense) == 1


def test_a_second_model_takes_the_traces_of_the_first(training):
    first, second = blocks(), blocks()
    training(first, MANY, epochs=1)
    _, weights, run = training(second, MANY, epochs=1, forget=False)
    assert run == []
    for one, other in zip(first.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    layers = dlrt.accounting.low_rank_layers(second)
    assert all(layer.outermost_models() == [second] for layer in layers)


@pytest.mark.slow
def test_nothing_is_left_behind(training, tmp_path):
    model = blocks(attention)
    training(model, MANY, epochs=1)
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(3).normal(size=(2, LENGTH, DIM))
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model(x), atol=1e-5)
    model.export(tmp_path / "exported", verbose=False)


def test_an_error_leaves_layers_as_they_were(training):
    model = blocks()
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam()), lambda y, p: 1 / None
    )
    with pytest.raises(TypeError):
        training(model, MANY)
    assert not any("call" in vars(layer) for layer in model._flatten_layers())


@pytest.mark.parametrize(
    "settings", [{"steps_per_execution": 2}, *slow({"run_eagerly": True})]
)
def test_ways_to_run_a_step(training, settings):
    run = assert_same(training, blocks, **settings)
    assert bool(run) != settings.get("run_eagerly", False)
