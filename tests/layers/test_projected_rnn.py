import keras
import numpy as np
import pytest
from conftest import EAGER, slow
from keras import layers, ops

import dlrt
from dlrt.layers import ProjectedRNN
from dlrt.surgery.recurrent import project_recurrent, restore_recurrent

KINDS = (layers.SimpleRNN, layers.LSTM, layers.GRU)
LENGTH, FEATURES, UNITS = 5, 4, 3


def array(values):
    return np.asarray(ops.convert_to_numpy(values), "float32")


def model_of(kind, batch=None, **options):
    # The default initializer has no half precision on every backend.
    common = {"recurrent_initializer": "zeros", "name": "rnn", "seed": 5}
    layer = kind(UNITS, **common, **options)
    model = keras.Sequential([keras.Input((LENGTH, FEATURES), batch), layer])
    rng = np.random.default_rng(2)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def both(kind, batch=None, **options):
    """A layer of Keras, and the same with layers for its products."""
    plain = model_of(kind, batch, **options)
    made, _ = project_recurrent(plain, None)
    (layer,) = made.layers
    assert isinstance(layer, ProjectedRNN)
    return plain.layers[0], layer


def sequences(batch=2):
    x = np.random.default_rng(0).normal(size=(batch, LENGTH, FEATURES))
    return ops.convert_to_tensor(x.astype("float32"))


def mask():
    """Steps that are left out at the end, in the middle and all of them."""
    return ops.convert_to_tensor(
        [[1, 1, 1, 0, 0], [1, 0, 1, 1, 1], [0, 0, 0, 0, 0]], "bool"
    )


def assert_same(actual, expected, tolerance=1e-6):
    actual, expected = keras.tree.flatten(actual), keras.tree.flatten(expected)
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(array(one), array(other), atol=tolerance)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.mark.parametrize(
    "options",
    [
        {"return_sequences": True, "return_state": True, "go_backwards": True},
        {"unroll": True, "activation": "relu", "use_bias": False},
        *slow({}, {"return_sequences": True, "zero_output_for_mask": True}),
    ],
    ids=str,
)
def test_it_computes_what_the_layer_of_keras_does(kind, options):
    plain, layer = both(kind, **options)
    x = sequences(3)
    assert_same(layer(x), plain(x))
    assert_same(layer(x, mask=mask()), plain(x, mask=mask()))
    states = [ops.ones((3, UNITS)) * 0.3] * len(layer.state_size)
    assert_same(
        layer(x, initial_state=states, mask=mask()),
        plain(x, initial_state=states, mask=mask()),
    )
    assert layer.compute_output_shape(x.shape) == plain.compute_output_shape(x.shape)


def test_states_are_kept_from_batch_to_batch(kind):
    plain, layer = both(kind, batch=2, stateful=True)
    x = sequences()
    assert_same(layer(x), plain(x))
    second = array(layer(x))
    assert_same(second, array(plain(x)))
    layer.reset_state()
    plain.reset_state()
    first = array(layer(x))
    assert_same(first, array(plain(x)))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("dtype", ["mixed_float16", *slow("float16", "mixed_bfloat16")])
def test_other_precisions(kind, dtype):
    plain, layer = both(kind, dtype=dtype, return_sequences=True)
    # A reference in single precision, with numbers rounded alike.
    reference = model_of(kind, return_sequences=True).layers[0]
    x, *weights = (
        array(ops.cast(values, plain.compute_dtype))
        for values in (sequences(), *reference.get_weights())
    )
    reference.set_weights(weights)
    tolerance = 0.05 if dtype == "mixed_bfloat16" else 5e-3
    y = layer(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(y.dtype) == plain.compute_dtype
    np.testing.assert_allclose(array(y), array(reference(x)), atol=tolerance)
    assert [w.dtype for w in layer.weights] == [plain.variable_dtype] * len(
        layer.weights
    )


@pytest.mark.parametrize(
    "rates",
    [(0.3, 0.4), *slow(((0.4, 0.0),), ((0.0, 0.4),))],
    ids=str,
)
def test_dropout_has_the_masks_of_keras(kind, rates):
    dropout, recurrent = rates
    plain, layer = both(kind, dropout=dropout, recurrent_dropout=recurrent)
    x = sequences()
    dropped = array(layer(x, training=True))
    assert_same(dropped, array(plain(x, training=True)))
    assert_same(layer(x), plain(x))
    assert not np.allclose(dropped, array(layer(x)))


@pytest.mark.slow
def test_it_trains_as_the_layer_of_keras_does(kind):
    plain = model_of(kind, kernel_regularizer="l2", bias_regularizer="l1")
    made, _ = project_recurrent(plain, None)
    x = array(sequences(8))
    y = x.sum(1)[:, :UNITS]
    for model in (plain, made):
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    back = restore_recurrent(made)
    assert type(back.layers[0]) is kind
    assert_same(back.get_weights(), plain.get_weights(), 1e-5)


def projected(kind=layers.LSTM, **options):
    gates = {layers.SimpleRNN: 1, layers.LSTM: 4, layers.GRU: 3}[kind]
    row = [layers.Dense(2), layers.Dense(gates * UNITS)]
    return ProjectedRNN(
        kind(UNITS, name="rnn", **options),
        keras.Sequential([keras.Input((None, FEATURES)), *row], name="inward"),
        layers.Dense(gates * UNITS, use_bias=False, name="onward"),
    )


def test_files(kind, tmp_path):
    options = {"return_sequences": True, "recurrent_dropout": 0.5, "activation": "relu"}
    layer = projected(kind, trainable=False, go_backwards=True, **options)
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = sequences()
    assert_same(loaded(x), model(x))
    assert not loaded.layers[0].trainable
    plain = loaded.layers[0].layer
    assert (plain.units, plain.recurrent_dropout) == (UNITS, 0.5)
    assert plain.go_backwards and plain.return_sequences


def test_weights_are_those_of_the_products():
    layer = projected()
    layer.build((None, LENGTH, FEATURES))
    products = [w for product in layer.projections for w in product.weights]
    assert {id(w) for w in layer.weights} == {id(w) for w in products}
    assert len(layer.weights) == len(products) == 5


def test_sequences_of_any_length():
    layer = projected(return_sequences=True)
    for length in (3, 7):
        assert layer(np.ones((2, length, FEATURES))).shape == (2, length, UNITS)


def test_masks_reach_it_through_a_model():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, FEATURES, mask_zero=True)(tokens)
    plain = keras.Model(tokens, layers.LSTM(UNITS, dropout=0.1)(x))
    made, _ = project_recurrent(plain, None)
    some = np.array([[3, 0, 5, 0], [1, 2, 0, 0]])
    assert_same(made(some), plain(some))
    shorter = np.array([[1, 2]])
    np.testing.assert_allclose(made(some)[1], made(shorter)[0], atol=1e-6)


@pytest.mark.parametrize(
    "layer, message",
    [
        (layers.GRU(3, reset_after=False), "`layer` must be.*`reset_after=False`"),
        (layers.GRU(3, bias_constraint="non_neg"), "`layer` must be.*bias_constraint"),
        (layers.Dense(3), "`layer` must be.*is of type Dense"),
        (layers.RNN(layers.LSTMCell(3)), "`layer` must be.*is of type RNN"),
    ],
)
def test_layers_that_it_can_not_stand_for(layer, message):
    with pytest.raises(ValueError, match=message):
        ProjectedRNN(layer, layers.Dense(9), layers.Dense(9))


@pytest.mark.parametrize("sizes, name", [((8, 12), "input"), ((12, 8), "recurrent")])
def test_products_of_another_size(sizes, name):
    layer = ProjectedRNN(layers.LSTM(3), *map(layers.Dense, sizes))
    with pytest.raises(ValueError, match=rf"`{name}_projection` must make .*12\)"):
        layer.build((None, LENGTH, FEATURES))


def test_low_rank_layers_for_products_train_on_the_manifold():
    layer = ProjectedRNN(
        layers.GRU(6),
        dlrt.layers.LowRankDense(18, rank=2),
        dlrt.layers.LowRankDense(18, rank=3, use_bias=False),
    )
    model = keras.Sequential([keras.Input((LENGTH, FEATURES)), layer, layers.Dense(2)])
    optimizer = dlrt.optimizers.LowRank(keras.optimizers.Adam(0.02))
    model.compile(optimizer, "mse", run_eagerly=EAGER)
    before = [product.factors.to_dense() for product in layer.projections]
    x = array(sequences(32))
    y = x.mean(1)[:, :2]
    losses = model.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    for product, old, rank in zip(layer.projections, before, (2, 3), strict=True):
        u, s, v = product.factors
        np.testing.assert_allclose(u.T @ u, np.eye(rank), atol=1e-5)
        np.testing.assert_allclose(v.T @ v, np.eye(rank), atol=1e-5)
        assert np.abs(u @ s @ v.T - old).max() > 1e-3
