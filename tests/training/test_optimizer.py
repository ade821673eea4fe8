"""Training low-rank layers with any Keras optimizer, through the public API."""

import keras
import numpy as np
import pytest
from classifiers import (
    CLASSES,
    FEATURES,
    RANK,
    WIDTH,
    assert_orthonormal,
    compiled,
    data,
    hidden,
    network,
)
from conftest import SLOW, slow

import dlrt

INNER = {
    "sgd": lambda: keras.optimizers.SGD(0.3),
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(1e-2),
    "adamw": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.01),
    "schedule": lambda: keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-2, 200)
    ),
    "clipnorm": lambda: keras.optimizers.Adam(1e-2, clipnorm=0.5),
    "global_clipnorm": lambda: keras.optimizers.SGD(0.3, global_clipnorm=1.0),
    "rmsprop": lambda: keras.optimizers.RMSprop(3e-3),
    "nadam": lambda: keras.optimizers.Nadam(1e-2),
    "lamb": lambda: keras.optimizers.Lamb(1e-2),
}


@pytest.mark.parametrize(
    "inner, integrator",
    [
        ("adam", "parallel_bug"),
        ("momentum", "kls"),
        ("adamw", "augmented_bug"),
        ("schedule", "factorized"),
        *slow(("adamw", "parallel_bug"), ("schedule", "parallel_bug")),
        *slow(("clipnorm", "kls"), ("sgd", "parallel_bug")),
        # These differ in what Keras computes.
        *(
            pytest.param(
                name, "parallel_bug", marks=[SLOW, pytest.mark.tensorflow_only]
            )
            for name in ("momentum clipnorm global_clipnorm rmsprop nadam lamb").split()
        ),
    ],
)
def test_learns_and_stays_orthonormal(inner, integrator):
    x, y = data()
    model = compiled(INNER[inner](), integrator=integrator)
    losses = model.fit(x, y, epochs=10, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert [layer.rank for layer in hidden(model)] == [RANK, RANK]
    if integrator != "factorized":
        assert_orthonormal(model)


def test_one_step_of_sgd_is_a_step_of_the_integrator():
    x, y = data(16)
    model = compiled(keras.optimizers.SGD(0.1), None, True, integrator="parallel_bug")
    before = [layer.factors for layer in hidden(model)]
    gradients = kernel_gradients(dlrt.to_dense(model), x, y)
    model.fit(x, y, batch_size=16, epochs=1, verbose=0)
    for layer, factors, g in zip(hidden(model), before, gradients, strict=True):
        expected = dlrt.integrators.step(
            "parallel_bug",
            lambda t, w, g=g: -g,
            0.0,
            dlrt.Factors(*(keras.ops.convert_to_tensor(f) for f in factors)),
            0.1,
            substep=dlrt.integrators.euler,
        )
        np.testing.assert_allclose(
            np.asarray(layer.kernel), np.asarray(expected.to_dense()), atol=2e-6
        )


def kernel_gradients(model, x, y):
    """Gradients of the loss for dense kernels, by central differences."""
    weights = {layer.name: layer.get_weights() for layer in model.layers[1:]}

    def value():
        z = x.astype("float64")
        for name in ("h0", "h1"):
            kernel, bias = weights[name]
            z = np.maximum(z @ kernel + bias, 0)
        kernel, bias = weights["out"]
        z = z @ kernel + bias
        shifted = z - z.max(1, keepdims=True)
        return np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y])

    gradients = []
    for name in ("h0", "h1"):
        weights[name][0] = kernel = weights[name][0].astype("float64")
        gradient = np.empty_like(kernel)
        for index in np.ndindex(*kernel.shape):
            kept = kernel[index]
            kernel[index] = kept + 1e-6
            up = value()
            kernel[index] = kept - 1e-6
            gradient[index] = (up - value()) / 2e-6
            kernel[index] = kept
        gradients.append(gradient.astype("float32"))
    return gradients


def test_update_scaling_makes_the_first_adam_step_as_long_as_a_dense_one():
    x, y = data(64)
    lengths = {}
    for rule in ("dense", "none"):
        model = compiled(keras.optimizers.Adam(1e-3), None, True, update_scaling=rule)
        layer = hidden(model)[1]
        old = np.asarray(layer.kernel)
        model.fit(x, y, batch_size=64, epochs=1, verbose=0)
        lengths[rule] = np.linalg.norm(np.asarray(layer.kernel) - old)
    dense = 1e-3 * WIDTH
    assert 0.3 * dense < lengths["dense"] < 3 * dense
    # Both K and L steps are longer by sqrt(width / rank).
    assert lengths["dense"] > 1.5 * lengths["none"]


def test_sgd_steps_are_not_scaled_by_default():
    auto = dlrt.optimizers.LowRank(keras.optimizers.SGD(0.1))
    assert not auto._scaled
    assert dlrt.optimizers.LowRank(keras.optimizers.Adam())._scaled


def test_adam_converges_in_augmented_spaces():
    random = np.random.default_rng(0)
    x = random.standard_normal((512, 24)).astype("float32")
    planted = random.standard_normal((24, RANK)) @ random.standard_normal((RANK, 32))
    y = (x @ planted / 5 + random.standard_normal((512, 32))).astype("float32")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24,))
    outputs = dlrt.layers.LowRankDense(32, rank=RANK, use_bias=False)(inputs)
    model = dlrt.Model(inputs, outputs)
    optimizer = keras.optimizers.Adam(1e-2)
    model.compile(dlrt.optimizers.LowRank(optimizer, "augmented_bug"), "mse")
    loss = model.fit(x, y, epochs=40, batch_size=64, verbose=0).history["loss"][-1]

    # Least squares of reduced rank: project the fitted values on their leading part.
    fitted = x @ np.linalg.lstsq(x, y)[0]
    u, s, vt = np.linalg.svd(fitted, full_matrices=False)
    best = np.mean(np.square(y - u[:, :RANK] * s[:RANK] @ vt[:RANK]))
    assert loss < 1.02 * best


def test_one_optimizer_step_a_training_step():
    x, y = data(64)
    for integrator in ("parallel_bug", "projector_splitting"):
        model = compiled(keras.optimizers.Adam(1e-3), None, True, integrator=integrator)
        model.fit(x, y, batch_size=32, epochs=2, verbose=0)
        assert int(model.optimizer.iterations) == 4


@pytest.mark.parametrize("tolerance", [0.5, *slow(None)])
def test_gradient_accumulation_equals_the_large_batch(tolerance):
    x, y = data(64)
    kernels = []
    for steps, batch in ((None, 64), (4, 16)):
        inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
        model = compiled(inner, tolerance=tolerance)
        model.fit(x, y, batch_size=batch, epochs=3, shuffle=False, verbose=0)
        kernels.append([np.asarray(layer.kernel) for layer in hidden(model)])
    for whole, accumulated in zip(*kernels, strict=True):
        # Truncations make much of rounding, which differs from machine to machine.
        atol = 1e-5 if tolerance is None else 1e-3
        np.testing.assert_allclose(whole, accumulated, atol=atol)
    assert tolerance is None or hidden(model)[0].rank < RANK


@pytest.mark.parametrize(
    "policy, integrator",
    [
        ("mixed_float16", "kls"),
        ("float64", "parallel_bug"),
        *slow(("mixed_float16", "parallel_bug"), ("mixed_bfloat16", "augmented_bug")),
    ],
)
def test_dtype_policies(policy, integrator):
    x, y = data()
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled(keras.optimizers.Adam(1e-2), None, True, integrator=integrator)
        losses = model.fit(x, y, epochs=3, batch_size=32, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < losses[0]
    assert_orthonormal(model)
    expected = "float64" if policy == "float64" else "float32"
    assert hidden(model)[0].u.dtype == expected


@pytest.mark.parametrize("name", ["parallel_bug", *slow("kls", "augmented_bug")])
def test_a_step_in_single_precision_agrees_with_double(name):
    x, y = data()
    kernels = []
    for dtype in ("float32", "float64"):
        keras.config.set_dtype_policy(dtype)
        try:
            model = compiled(
                keras.optimizers.SGD(0.3), network(), True, integrator=name
            )
            for layer, values in zip(hidden(model), start_of_hidden(), strict=True):
                layer.set_factors(values)
            model.get_layer("out").set_weights([np.eye(WIDTH, CLASSES), np.zeros(3)])
            model.fit(x, y, batch_size=64, shuffle=False, verbose=0)
        finally:
            keras.config.set_dtype_policy("float32")
        kernels.append([np.asarray(layer.kernel) for layer in hidden(model)])
        assert kernels[-1][0].dtype == dtype
    for single, double in zip(*kernels, strict=True):
        error = np.linalg.norm(single - double) / np.linalg.norm(double)
        assert 0 < error <= 1e-4


def start_of_hidden():
    """Factors of the two hidden layers, exact in single precision."""
    random = np.random.default_rng(1)
    for features in (FEATURES, WIDTH):
        u, v = (
            np.linalg.qr(random.standard_normal((n, RANK)))[0].astype("float32")
            for n in (features, WIDTH)
        )
        yield dlrt.Factors(u, np.diag([2.0, 1.5, 1.0, 0.5]), v)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"integrator": "euler"}, "`integrator` must be one of .*'euler'"),
        ({"tolerance": 0.0}, r"`tolerance` must lie in \(0, 1\).*0.0"),
        ({"tolerance": 1.0}, r"`tolerance` must lie in \(0, 1\).*1.0"),
        ({"tolerance": 0.1, "integrator": "kls"}, "`tolerance` needs.*'kls'"),
        ({"min_rank": 0}, "`min_rank` must be at least 1.*0"),
        ({"max_rank": 1}, "`max_rank` must be at least `min_rank`.*1"),
        ({"update_scaling": "big"}, "`update_scaling` must be one of.*'big'"),
        ({"truncation_interval": 0}, "`truncation_interval` must be at least 1.*0"),
        ({"truncation_start": 5, "truncation_stop": 5}, "`truncation_stop` must be"),
        ({"clipnorm": 1.0}, "does not take `clipnorm`.*`inner_optimizer`"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dlrt.optimizers.LowRank(keras.optimizers.Adam(), **arguments)


def test_bad_inner_optimizers():
    with pytest.raises(ValueError, match="use_ema"):
        dlrt.optimizers.LowRank(keras.optimizers.Adam(use_ema=True))
    with pytest.raises(ValueError, match="wraps no other"):
        dlrt.optimizers.LowRank(dlrt.optimizers.LowRank(keras.optimizers.Adam()))
    accumulating = keras.optimizers.SGD(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="gradient_accumulation_steps.*'kls'"):
        dlrt.optimizers.LowRank(accumulating, integrator="kls")
    with pytest.raises(ValueError, match="Adafactor"):
        dlrt.optimizers.LowRank(keras.optimizers.Adafactor(), tolerance=0.1)


def test_a_plain_model_is_told_about_the_model_it_needs():
    x, y = data()
    model = compiled(
        keras.optimizers.Adam(), network(keras.Model), True, integrator="kls"
    )
    with pytest.raises(ValueError, match="'kls' evaluates 2 gradients.*dlrt.Model"):
        model.fit(x, y, verbose=0)


def test_layer_tolerance_needs_an_adaptive_integrator():
    x, y = data()
    model = compiled(keras.optimizers.Adam(), network(tolerance=0.1), integrator="kls")
    with pytest.raises(ValueError, match="'h0' has tolerance=0.1.*'kls'"):
        model.fit(x, y, verbose=0)


class Subclass(dlrt.Model):
    def __init__(self):
        super().__init__()
        self.hidden = dlrt.layers.LowRankDense(WIDTH, rank=RANK, activation="relu")
        self.out = keras.layers.Dense(CLASSES)

    def call(self, x):
        return self.out(self.hidden(x))


# JAX builds every model before its first step.
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("integrator", ["augmented_bug", *slow("kls")])
def test_a_model_that_fit_builds_trains_as_one_built_before(integrator):
    x, y = data()
    losses = []
    for built in (False, True):
        keras.utils.set_random_seed(0)
        model = Subclass()
        if built:
            model(x[:1])
        compiled(keras.optimizers.Adam(1e-2), model, integrator=integrator)
        history = model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-6)


@pytest.mark.tensorflow_only
def test_xla_is_left_alone():
    """Keras turns it on by itself where there is a GPU, unless a layer declines."""
    model = network()
    with pytest.warns(UserWarning, match="jit_compile"):
        model.compile(dlrt.optimizers.LowRank("adam"), "mse", jit_compile=True)
    assert model.jit_compile is False
    merged = dlrt.merge(model)
    merged.compile("adam", "mse", jit_compile=True)
    assert merged.jit_compile is True


def test_learning_rate_can_be_set():
    model = compiled(keras.optimizers.Adam(1e-2), eagerly=True)
    model.optimizer.learning_rate = 0.5
    assert float(model.optimizer.inner_optimizer.learning_rate) == 0.5
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)
    x, y = data(16)
    model.fit(x, y, verbose=0, callbacks=[callback])
    assert float(model.optimizer.learning_rate) == 0.25


def test_a_frozen_layer_does_not_move():
    x, y = data()
    model = network()
    hidden(model)[0].trainable = False
    compiled(keras.optimizers.Adam(1e-2), model, eagerly=True)
    before = [np.asarray(layer.kernel) for layer in hidden(model)]
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(np.asarray(hidden(model)[0].kernel), before[0])
    assert np.abs(np.asarray(hidden(model)[1].kernel) - before[1]).max() > 1e-4


@pytest.mark.slow
def test_orthonormal_after_ten_thousand_steps():
    x, y = data(32)
    model = network()
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-2)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=100,
    )
    repeated = np.tile(x, (500, 1)), np.tile(y, 500)
    model.fit(*repeated, batch_size=16, epochs=10, verbose=0)
    assert int(model.optimizer.iterations) >= 10_000
    assert_orthonormal(model, 1e-5)
