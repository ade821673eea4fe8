import json

import keras
import numpy as np
import pytest
from conftest import EAGER, SLOW, slow
from keras import layers
from networks import (
    NETWORKS,
    assert_same_outputs,
    convolutions,
    dense,
    duplicate,
    nested,
    normalized,
    outputs_of,
    randomized,
    residual,
    samples_of,
)

import dlrt
from dlrt.evolution._widths import find_widths

# Those with the most kinds of layers and of places where channels lie.
QUICK = (convolutions, normalized, residual, nested)
every_network = pytest.mark.parametrize(
    "network",
    [*QUICK, *slow(*(network for network in NETWORKS if network not in QUICK))],
    ids=lambda f: f.__name__,
)


def smaller(network, by=2):
    return {name: size - by for name, size in NETWORKS[network].items()}


@every_network
def test_dependent_channels_go_without_a_trace(network):
    model = randomized(network())
    duplicate(model)
    x = samples_of(model)
    expected = outputs_of(model, x)
    assert dlrt.evolution.set_widths(model, smaller(network), x) == smaller(network)
    assert_same_outputs(model, x, expected)
    # Not only on the sample.
    other = samples_of(model, seed=1)
    twin = randomized(network())
    duplicate(twin)
    assert_same_outputs(model, other, outputs_of(twin, other))


@every_network
def test_growth_preserves_outputs(network):
    model = randomized(network())
    x = samples_of(model)
    expected = outputs_of(model, x)
    before = NETWORKS[network]
    after = dlrt.evolution.set_widths(model, {n: s + 1 for n, s in before.items()})
    assert_same_outputs(model, x, expected, 1e-5)
    for width in find_widths(model).free.values():
        rooms = [np.prod(maker.layer.kernel.shape[:-1]) for maker in width.makers]
        grown = before[width.name] + 1
        assert after[width.name] == (grown if min(rooms) >= grown else grown - 1)


@every_network
def test_saved_and_loaded(network, tmp_path):
    model = randomized(network())
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    x = samples_of(model)
    sizes = smaller(network)
    dlrt.evolution.set_widths(model, sizes, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert dlrt.evolution.widths(loaded) == sizes
    assert loaded.count_params() == model.count_params()
    configs = [json.dumps(m.get_config(), sort_keys=True) for m in (loaded, model)]
    assert configs[0] == configs[1]
    for old, new in zip(
        model.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(old.numpy(), new.numpy())
    for y, expected in zip(outputs_of(loaded, x), outputs_of(model, x), strict=True):
        np.testing.assert_array_equal(y, expected)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    assert_same_outputs(twin, x, outputs_of(model, x), 1e-6)


@every_network
def test_symbolic_shapes_follow(network):
    model = randomized(network())
    paths = [v.path for v in model.weights]
    sizes = smaller(network)
    dlrt.evolution.set_widths(model, sizes, samples_of(model))
    rebuilt = type(model).from_config(model.get_config())
    shapes = [[tuple(v.shape) for v in m.weights] for m in (model, rebuilt)]
    assert shapes[0] == shapes[1]
    assert [v.path for v in model.weights] == paths
    assert dlrt.accounting.flop_count(model) == dlrt.accounting.flop_count(rebuilt)


def test_affine_dependence_goes_into_the_bias():
    """A channel that is constant, and one that another is but for a constant."""
    model = randomized(
        keras.Sequential(
            [keras.Input((5,)), layers.Dense(4, name="a"), layers.Dense(3)]
        )
    )
    kernel, bias = (np.array(w) for w in model.layers[0].get_weights())
    kernel[:, 2], kernel[:, 3] = kernel[:, 0], 0.0
    model.layers[0].set_weights([kernel, bias])
    x = samples_of(model)
    expected = outputs_of(model, x)
    dlrt.evolution.set_widths(model, {"a": 2}, x)
    assert_same_outputs(model, x, expected)


def test_least_squares_beats_leaving_out():
    model, plain = (randomized(dense()) for _ in range(2))
    x = samples_of(model, 500)
    (expected,) = outputs_of(model, x)
    dlrt.evolution.set_widths(model, {"a": 5}, x)
    kept = [
        int(np.argmin(np.abs(plain.layers[0].kernel - column[:, None]).sum(axis=0)))
        for column in model.layers[0].kernel.numpy().T
    ]
    kernel = plain.layers[2].kernel.numpy()
    kernel[np.setdiff1d(range(8), kept)] = 0.0
    plain.layers[2].kernel.assign(kernel)
    errors = [np.linalg.norm(outputs_of(m, x)[0] - expected) for m in (model, plain)]
    assert errors[0] < 0.7 * errors[1]


def test_to_one_channel():
    model = randomized(convolutions())
    x = samples_of(model)
    dlrt.evolution.set_widths(model, dict.fromkeys("abc", 1), x)
    assert all(np.isfinite(y).all() for y in outputs_of(model, x))
    dlrt.evolution.set_widths(model, dict.fromkeys("abc", 4))
    assert dlrt.evolution.widths(model) == dict.fromkeys("abc", 4)


def test_channels_first():
    # Feature maps (5) are neither as wide as before (6) nor after (4): where they are,
    # Keras's TensorFlow `add` takes the last axis for the channels of the bias.
    first = {"data_format": "channels_first"}
    for flatten in (layers.Flatten(), layers.Flatten(**first)):
        model = keras.Sequential(
            [
                keras.Input((2, 7, 7)),
                layers.Conv2D(6, 3, name="a", **first, activation="relu"),
                layers.BatchNormalization(axis=1),
                layers.MaxPooling2D(**first),
                flatten,
                layers.Dense(3),
            ]
        )
        randomized(model)
        duplicate(model)
        x = samples_of(model)
        expected = outputs_of(model, x)
        dlrt.evolution.set_widths(model, {"a": 4}, x)
        assert_same_outputs(model, x, expected)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.Adam,
        *slow(
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
            lambda: keras.optimizers.SGD(0.1, momentum=0.9),
            lambda: keras.optimizers.SGD(0.1),
            lambda: keras.optimizers.Adafactor(0.1),
            lambda: keras.optimizers.Adagrad(initial_accumulator_value=0.5),
        ),
        # On JAX, Keras fits no model a second time: the first fit ends with weights and
        # averages in the same buffers.
        pytest.param(
            lambda: keras.optimizers.AdamW(use_ema=True),
            marks=[SLOW, pytest.mark.tensorflow_only],
        ),
    ],
)
def test_optimizer_goes_on(optimizer):
    model = randomized(normalized())
    model.compile(optimizer(), "mse", run_eagerly=EAGER)
    x = samples_of(model)
    y = np.ones((len(x), 2), "float32")
    model.fit(x, y, verbose=0)
    steps = int(model.optimizer.iterations.numpy())
    dlrt.evolution.set_widths(model, {"a": 4, "b": 7}, x)
    model.fit(x, y, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 2 * steps
    assert np.isfinite(model.evaluate(x, y, verbose=0))


def test_moments_of_channels_that_stay():
    model = randomized(dense())
    model.compile(keras.optimizers.Adam(1e-2), "mse", run_eagerly=EAGER)
    x = samples_of(model)
    model.fit(x, np.ones((len(x), 3), "float32"), verbose=0)

    def moments():
        slots = model.optimizer.variables[2:]
        return {(s.name, tuple(s.shape)): s.numpy() for s in slots}

    def tagged(kernel):
        return {tuple(column[:3]) for column in np.round(kernel.T, 6)}

    columns = tagged(model.layers[0].kernel.numpy())
    before = model.optimizer._momentums[0].numpy()
    kernel = model.layers[0].kernel.numpy()
    rows = model.optimizer._momentums[2].numpy()
    dlrt.evolution.set_widths(model, {"a": 5, "b": 6}, x)
    assert len(moments()) == len(model.optimizer.variables[2:])
    kept = [
        int(np.argmin(np.abs(kernel - column[:, None]).sum(axis=0)))
        for column in model.layers[0].kernel.numpy().T
    ]
    assert tagged(model.layers[0].kernel.numpy()) < columns
    np.testing.assert_array_equal(
        model.optimizer._momentums[0].numpy(), before[:, kept]
    )
    taken = model.optimizer._momentums[2].numpy()
    assert taken.shape == (5, 6)
    assert all(
        any(np.array_equal(column, other) for other in rows[kept].T)
        for column in taken.T
    )
    # New channels begin with moments of zero.
    dlrt.evolution.set_widths(model, {"a": 6})
    grown = model.optimizer._momentums[2].numpy()
    np.testing.assert_array_equal(grown[:5], taken)
    np.testing.assert_array_equal(grown[5], 0.0)


def test_frozen_normalization_keeps_its_order():
    model = randomized(normalized())
    norm = model.layers[1]
    norm.trainable = False
    names = [v.path for v in norm.weights]
    dlrt.evolution.set_widths(model, {"a": 4}, samples_of(model))
    assert [v.path for v in norm.weights] == names
    assert norm.trainable_variables == []
    norm.trainable = True
    assert [v.name for v in norm.trainable_variables] == ["gamma", "beta"]


def test_regularizers_and_constraints_stay():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(
                4, name="a", kernel_regularizer="l2", kernel_constraint="max_norm"
            ),
            layers.Dense(3),
        ]
    )
    dlrt.evolution.set_widths(model, {"a": 3}, samples_of(model))
    kernel = model.layers[0].kernel
    assert isinstance(kernel.constraint, keras.constraints.MaxNorm)
    np.testing.assert_allclose(model.losses[0], 0.01 * np.sum(kernel.numpy() ** 2))


def test_mixed_precision():
    policy = "mixed_bfloat16"
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(6, name="a", activation="relu", dtype=policy),
            layers.Dense(3, dtype=policy),
        ]
    )
    duplicate(randomized(model))
    x = samples_of(model)
    expected = [y.astype("float32") for y in outputs_of(model, x)]
    dlrt.evolution.set_widths(model, {"a": 4}, x)
    assert model.layers[0].kernel.dtype == "float32"
    got = outputs_of(model, x)[0].astype("float32")
    np.testing.assert_allclose(got, expected[0], atol=0.05 * np.abs(expected[0]).max())


def test_predictions_after_a_change():
    """Compiled functions, those of models within the model too, are made anew."""
    model = randomized(nested())
    part = model.get_layer("part")
    x = samples_of(model)
    model.predict(x, verbose=0)
    part.predict(np.ones((2, 5)), verbose=0)
    dlrt.evolution.set_widths(model, {"part/a": 3, "after": 3}, x)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), outputs_of(model, x)[0], atol=1e-5
    )
    inner = np.ones((2, 5), "float32")
    np.testing.assert_allclose(
        part.predict(inner, verbose=0), outputs_of(part, inner)[0], atol=1e-5
    )


def test_low_rank_layers_beside():
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="relu", name="a")(inputs)
    x = layers.Dense(5, name="b")(x)
    x = dlrt.layers.LowRankDense(6, rank=2, name="low")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    model.compile(dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-2)), "mse")
    data = samples_of(model)
    y = np.ones((len(data), 2), "float32")
    model.fit(data, y, verbose=0)
    assert dlrt.evolution.set_widths(model, {"a": 4}, data) == {"a": 4}
    model.fit(data, y, verbose=0)
    assert model.get_layer("low").rank == 2
    assert model.get_layer("b").kernel.shape == (4, 5)


def test_several_inputs():
    inputs = {name: keras.Input((3,), name=name) for name in ("left", "right")}
    x = layers.Add()(
        [layers.Dense(5, name=f"{n}_in")(value) for n, value in inputs.items()]
    )
    model = keras.Model(inputs, layers.Dense(2)(layers.ReLU()(x)))
    duplicate(randomized(model))
    rng = np.random.default_rng(0)
    data = {n: rng.normal(size=(50, 3)).astype("float32") for n in inputs}
    expected = outputs_of(model, data)
    dlrt.evolution.set_widths(model, {"left_in": 3}, data)
    assert_same_outputs(model, data, expected)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_exported(tmp_path):
    import tensorflow as tf

    model = randomized(residual())
    x = samples_of(model)
    dlrt.evolution.set_widths(model, smaller(residual), x)
    model.export(tmp_path / "model", verbose=False)
    served = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(served.serve(x), outputs_of(model, x)[0], atol=1e-5)


def test_singular_values():
    model = randomized(dense())
    duplicate(model)
    values = dlrt.evolution.singular_values(model, samples_of(model))
    assert {name: len(v) for name, v in values.items()} == NETWORKS[dense]
    for several in values.values():
        assert np.all(np.diff(several) <= 0)
        assert np.sum(several**2) == pytest.approx(1.0)
        np.testing.assert_allclose(several[-2:], 0.0, atol=1e-5)


class TestBadInput:
    @pytest.mark.parametrize(
        "sizes, data, message",
        [
            ({"c": 2}, None, "there is no such width"),
            ({"out": 2}, None, "it is an output"),
            ({"a": 0}, None, "positive integers. Received: 'a': 0"),
            ({"a": 1.5}, None, "positive integers"),
            ({"a": 4}, None, "`data` must be given"),
            ({"a": 4}, np.ones((0, 6)), "above 0"),
            ({"a": 4}, [np.ones((2, 6)), np.ones((3, 6))], "same length"),
            ({"a": 4}, np.full((3, 6), np.nan), "must be finite"),
        ],
    )
    def test_refused(self, sizes, data, message):
        model = dense()
        with pytest.raises(ValueError, match=message):
            dlrt.evolution.set_widths(model, sizes, data)
        assert dlrt.evolution.widths(model) == NETWORKS[dense]

    def test_weights_that_are_no_numbers(self):
        model = dense()
        model.layers[0].bias.assign([np.nan] * 8)
        with pytest.raises(ValueError, match="must be finite"):
            dlrt.evolution.set_widths(model, {"b": 3}, samples_of(model))
