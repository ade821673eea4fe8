"""Bases that a batch of inputs chooses."""

import keras
import numpy as np
import pytest
from helpers import array

import dlrt


def dense(rank=4, units=30, **arguments):
    keras.utils.set_random_seed(0)
    layer = dlrt.layers.LowRankDense(units, rank=rank, use_bias=False, **arguments)
    return layer, dlrt.Model(*keras_ends(layer, (20,)))


def keras_ends(layer, shape):
    inputs = keras.Input(shape)
    return inputs, layer(inputs)


def test_bases_are_leading_directions_of_the_inputs():
    layer, model = dense()
    random = np.random.default_rng(1)
    x = random.normal(size=(500, 20)) * np.geomspace(10, 1e-3, 20)
    dlrt.align_bases(model, x)
    *_, expected = np.linalg.svd(x, full_matrices=False)
    overlap = expected[:4] @ array(layer.u)
    np.testing.assert_allclose(overlap @ overlap.T, np.eye(4), atol=1e-3)
    np.testing.assert_allclose(array(layer.u).T @ array(layer.u), np.eye(4), atol=1e-5)


@pytest.mark.parametrize("rank", [2, 20])
def test_outputs_have_the_size_that_a_dense_layer_gives_them(rank):
    # Of as many directions as there is nothing to be had from elsewhere.
    x = np.random.default_rng(1).normal(size=(300, 2)) @ np.eye(2, 20) * 3
    _, model = dense(rank)
    dlrt.align_bases(model, x)
    reference = keras.layers.Dense(30, use_bias=False)
    sizes = [np.linalg.norm(array(part(x))) for part in (model, reference)]
    np.testing.assert_allclose(*sizes, rtol=0.25)


def test_layers_see_what_aligned_layers_make():
    keras.utils.set_random_seed(0)
    layers = [
        dlrt.layers.LowRankConv2D(6, 3, rank=3, activation="relu"),
        keras.layers.Flatten(),
        dlrt.layers.LowRankDense(10, rank=4, activation="tanh"),
        dlrt.layers.LowRankDense(5, rank=2),
    ]
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 2)).astype("float32")
    dlrt.align_bases(model, x)
    for layer in (layers[2], layers[3]):
        rows = array(keras.Model(model.inputs, layer.input)(x))
        singular = np.linalg.svd(rows, compute_uv=False)
        best = np.linalg.norm(singular[: layer.rank])
        assert np.linalg.norm(rows @ array(layer.u)) > 0.99 * best


def test_lookups_and_recurrent_layers():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,), dtype="int32")
    x = dlrt.layers.LowRankEmbedding(11, 6, rank=3)(inputs)
    x = keras.layers.LSTM(8)(x)
    model = dlrt.convert(keras.Model(inputs, keras.layers.Dense(4)(x)), rank=2)
    before = model.count_params()
    # The token 7 makes most of the rows.
    tokens = np.where(np.arange(200).reshape(40, 5) % 3, 7, 1)
    dlrt.align_bases(model, tokens)
    embedding = next(
        layer
        for layer in model.layers
        if isinstance(layer, dlrt.layers.LowRankEmbedding)
    )
    np.testing.assert_allclose(np.linalg.norm(array(embedding.u)[7]), 1, atol=1e-3)
    assert model.count_params() == before
    assert np.isfinite(array(model(tokens))).all()


def test_inputs_of_zeros_say_nothing():
    layer, model = dense()
    before = array(layer.u)
    dlrt.align_bases(model, np.zeros((3, 20)))
    np.testing.assert_array_equal(array(layer.u), before)


def test_what_is_refused():
    layer, model = dense(name="first")
    before = array(layer.u)
    with pytest.raises(ValueError, match="must be finite.* layer 'first'"):
        dlrt.align_bases(model, np.full((3, 20), np.nan))
    np.testing.assert_array_equal(array(layer.u), before)
    with pytest.raises(ValueError, match="max_rows"):
        dlrt.align_bases(model, np.ones((3, 20)), max_rows=0)
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="must have low-rank layers"):
        dlrt.align_bases(plain, np.ones((1, 3)))
