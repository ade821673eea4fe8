"""Training low-rank layers with any Keras optimizer, through the public API."""

import gc

import keras
import numpy as np
import pytest
from conftest import SLOW, slow

import dlrt
from dlrt.layers.recording import Recording
from dlrt.training import capacity

FEATURES, WIDTH, CLASSES, RANK = 12, 16, 3, 4


def data(count=64):
    random = np.random.default_rng(0)
    x = random.standard_normal((count, FEATURES)).astype("float32")
    return x, (x @ random.standard_normal((FEATURES, CLASSES))).argmax(1)


def network(model_class=dlrt.Model, rank=RANK, depth=2, **layer_arguments):
    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((FEATURES,))
    for index in range(depth):
        x = dlrt.layers.LowRankDense(
            WIDTH, rank=rank, activation="relu", name=f"h{index}", **layer_arguments
        )(x)
    return model_class(inputs, keras.layers.Dense(CLASSES, name="out")(x))


def compiled(inner, model=None, **arguments):
    model = network() if model is None else model
    model.compile(
        dlrt.optimizers.LowRank(inner, **arguments),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def hidden(model):
    return [layer for layer in model.layers if layer.name in ("h0", "h1")]


def assert_orthonormal(model, tolerance=1e-5):
    for layer in hidden(model):
        u, _, v = layer.factors
        for basis in (u, v):
            gram = basis.T @ basis
            np.testing.assert_allclose(gram, np.eye(layer.rank), atol=tolerance)


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
    model = compiled(keras.optimizers.SGD(0.1), integrator="parallel_bug")
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
        model = compiled(keras.optimizers.Adam(1e-3), update_scaling=rule)
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
    for integrator in ("parallel_bug", "kls", "projector_splitting"):
        model = compiled(keras.optimizers.Adam(1e-3), integrator=integrator)
        model.fit(x, y, batch_size=16, epochs=2, verbose=0)
        assert int(model.optimizer.iterations) == 8


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
        model = compiled(keras.optimizers.Adam(1e-2), integrator=integrator)
        losses = model.fit(x, y, epochs=8, batch_size=16, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < losses[0]
    assert_orthonormal(model)
    expected = "float64" if policy == "float64" else "float32"
    assert hidden(model)[0].u.dtype == expected


def test_adaptive_ranks_follow_the_tolerance():
    x, y = data()
    ranks = []
    for tolerance in (0.3, 0.6):
        model = compiled(
            keras.optimizers.Adam(1e-2), network(rank=10, depth=1), tolerance=tolerance
        )
        model.fit(x, y, epochs=6, batch_size=16, verbose=0)
        ranks.append([layer.rank for layer in hidden(model)])
        assert_orthonormal(model)
        for layer in hidden(model):
            # Compact after `fit`: shapes say the rank.
            assert layer.u.shape == (layer.matrix_shape[0], layer.rank)
            assert layer.s.shape == (layer.rank, layer.rank)
    assert all(small < large < 10 for large, small in zip(*ranks, strict=True))


@pytest.mark.parametrize("model_class", [dlrt.Model, *slow(keras.Model)])
def test_training_goes_on_after_a_change_of_rank(model_class):
    """No compiled function may go on with variables that have been replaced."""
    x, y = data()
    model = compiled(
        keras.optimizers.Adam(1e-2), network(model_class, 10, depth=1), tolerance=0.5
    )
    for _ in range(2):
        model.fit(x, y, epochs=4, batch_size=16, verbose=0)
        old = [np.asarray(layer.kernel) for layer in hidden(model)]
        loss = model.evaluate(x, y, verbose=0)[0]
        logits = model.predict(x, verbose=0)
        by_hand = np.asarray(model(x))
        np.testing.assert_allclose(logits, by_hand, atol=1e-5)
    model.fit(x, y, epochs=6, batch_size=16, verbose=0)
    assert model.evaluate(x, y, verbose=0)[0] < loss
    for layer, kernel in zip(hidden(model), old, strict=True):
        assert np.linalg.norm(np.asarray(layer.kernel) - kernel) > 1e-3


class Capacities(keras.callbacks.Callback):
    """The first layer's capacity after every epoch."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(hidden(self.model)[0].capacity)


@pytest.mark.parametrize(
    "integrator",
    ["parallel_bug", "augmented_bug", *slow("kls", "projector_splitting")],
)
@pytest.mark.parametrize("room", [RANK + 1, *slow(FEATURES + 2)])
def test_a_fixed_rank_does_not_fill_the_room_beside_it(integrator, room):
    x, y = data(8)
    # Large steps, whose truncation is an SVD.
    inner = keras.optimizers.SGD(3.0)
    model = compiled(inner, network(depth=1), integrator=integrator)
    (layer,) = hidden(model)
    layer.set_factors(layer.factors, capacity=room)
    model.run_eagerly = True
    model.fit(x, y, epochs=2, verbose=0)
    assert layer.rank == RANK
    assert_orthonormal(model)


@pytest.mark.parametrize("worth", [0, *slow(10**6)])
def test_variables_shrink_in_mid_run_where_it_pays(worth, monkeypatch):
    monkeypatch.setattr(capacity, "_WORTH_A_MOVE", worth)
    x, y = data()
    model = compiled(keras.optimizers.Adam(1e-2), network(rank=10), tolerance=0.6)
    capacities = Capacities()
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[capacities])
    # Columns not in use cost whole products unless shapes are dynamic.
    stays = worth > 0 and keras.backend.backend() == "tensorflow"
    assert (capacities.seen[-1] == 10) is stays
    for layer in hidden(model):
        assert layer.capacity == layer.rank < 6


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_layers_of_all_shapes_share_a_trace(monkeypatch):
    monkeypatch.setattr(capacity, "_WORTH_A_MOVE", 0)
    traces = []

    class Counting(type(dlrt.integrators.get("parallel_bug"))):
        def update(self, phase, factors, increments, truncation=None):
            traces.append(factors)
            return super().update(phase, factors, increments, truncation)

    x, y = data()
    model = compiled(
        keras.optimizers.Adam(1e-2),
        network(rank=10, depth=3),
        integrator=Counting(),
        tolerance=0.6,
    )
    capacities = Capacities()
    model.fit(x, y, batch_size=16, epochs=4, verbose=0, callbacks=[capacities])
    widths = list(dict.fromkeys([10, *capacities.seen]))
    assert len(widths) > 1
    # And do so again in the room of another rank.
    assert len(traces) == len(widths)


def test_layers_override_the_tolerance():
    x, y = data()
    model = network(rank=8)
    hidden(model)[1].tolerance = 0.7
    compiled(keras.optimizers.Adam(1e-2), model)
    model.fit(x, y, epochs=4, batch_size=16, verbose=0)
    assert hidden(model)[0].rank == 8
    assert hidden(model)[1].rank < 8


def test_min_and_max_rank():
    x, y = data()
    model = compiled(
        keras.optimizers.Adam(1e-2),
        network(rank=8, depth=1),
        tolerance=0.95,
        min_rank=3,
    )
    model.fit(x, y, epochs=3, batch_size=16, verbose=0)
    assert [layer.rank for layer in hidden(model)] == [3]


def test_rank_grows_where_the_data_ask_for_it():
    x, _ = data(256)
    random = np.random.default_rng(1)
    y = x @ random.standard_normal((FEATURES, 8)).astype("float32")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((FEATURES,))
    layer = dlrt.layers.LowRankDense(8, rank=2)
    model = dlrt.Model(inputs, layer(inputs))
    model.compile(
        dlrt.optimizers.LowRank(
            keras.optimizers.SGD(0.3), tolerance=1e-3, integrator="parallel_bug"
        ),
        "mse",
    )
    loss = model.fit(x, y, epochs=60, batch_size=64, verbose=0).history["loss"][-1]
    assert layer.rank == 8
    assert loss < 1e-2


@pytest.mark.slow
def test_a_model_that_is_gone_does_not_stand_in_the_way_of_its_like():
    """They share a trace, which was made with the variables of the first."""
    x, y = data()
    for _ in range(2):
        model = compiled(
            keras.optimizers.Adam(1e-2),
            network(keras.Model, 7, depth=1),
            tolerance=0.5,
        )
        model.fit(x, y, batch_size=16, verbose=0)
        del model
        gc.collect()


def test_truncation_schedule():
    x, y = data()
    model = compiled(
        keras.optimizers.Adam(1e-2),
        network(rank=10, depth=1),
        tolerance=0.5,
        truncation_start=8,
        truncation_stop=12,
    )
    seen = []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            (layer,) = hidden(self.model)
            seen.append((layer.rank, layer.capacity, self.model.optimizer.settled))

    model.fit(x, y, epochs=5, batch_size=16, verbose=0, callbacks=[Record()])
    # Neither truncated nor given room to grow before the start.
    assert seen[:2] == [(10, 10, False)] * 2
    rank = seen[2][0]
    assert rank < 10
    # From the stop on, a step of fixed rank.
    assert seen[2:] == [(rank, rank, True)] * 3
    assert_orthonormal(model)


def test_augmented_ranks_stay_before_the_first_truncation():
    x, y = data()
    model = compiled(
        keras.optimizers.SGD(0.1),
        network(rank=6, depth=1),
        integrator="augmented_bug",
        tolerance=0.5,
        truncation_start=8,
    )
    model.fit(x, y, batch_size=16, verbose=0)
    assert hidden(model)[0].rank == 6


@pytest.mark.parametrize("integrator", ["augmented_bug", *slow("parallel_bug")])
def test_steps_that_are_not_finite_leave_the_ranks(integrator):
    x, y = data()
    model = network(rank=10, depth=1)
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-2), integrator, tolerance=0.3),
        "mse",
    )
    targets = np.eye(CLASSES)[y]
    model.fit(x, targets, batch_size=16, epochs=2, verbose=0)
    (layer,) = hidden(model)
    before = layer.factors
    assert layer.rank < 10
    targets[:] = np.nan
    stop = keras.callbacks.TerminateOnNaN()
    for callbacks in ([stop], []):
        history = model.fit(x, targets, batch_size=16, verbose=0, callbacks=callbacks)
        assert np.isnan(history.history["loss"]).all()
        assert layer.capacity == layer.rank == before.u.shape[1]
    u, s, v = layer.factors
    np.testing.assert_array_equal(u, before.u)
    np.testing.assert_array_equal(v, before.v)
    assert np.isnan(s).all()


@pytest.mark.parametrize("name", ["parallel_bug", *slow("kls", "augmented_bug")])
def test_a_step_in_single_precision_agrees_with_double(name):
    x, y = data()
    kernels = []
    for dtype in ("float32", "float64"):
        keras.config.set_dtype_policy(dtype)
        try:
            model = compiled(keras.optimizers.SGD(0.3), network(), integrator=name)
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
    model = compiled(keras.optimizers.Adam(), network(keras.Model), integrator="kls")
    with pytest.raises(ValueError, match="'kls' evaluates 2 gradients.*dlrt.Model"):
        model.fit(x, y, verbose=0)


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


def trained_on_sequences(kind):
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 5, FEATURES)).astype("float32")
    y = (x.sum(1) @ random.standard_normal((FEATURES, CLASSES))).argmax(1)
    model = compiled(
        keras.optimizers.SGD(0.3),
        sequences_through(kind),
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
    kernels, passes = trained_on_sequences("products")
    assert passes == 4
    never = property(lambda _: False, lambda *_: None)
    monkeypatch.setattr(Recording, "complete", never, raising=False)
    expected, passes = trained_on_sequences("products")
    assert passes == 8
    for kernel, value in zip(kernels, expected, strict=True):
        np.testing.assert_allclose(kernel, value, atol=1e-5)


@pytest.mark.slow
def test_a_second_pass_where_products_do_not_tell_all():
    kernels, passes = trained_on_sequences("loop")
    assert passes == 8
    expected, passes = trained_on_sequences("steps")
    assert passes == 4
    for kernel, value in zip(kernels, expected, strict=True):
        np.testing.assert_allclose(kernel, value, atol=1e-5)
    assert trained_on_sequences("kernel")[1] == 8


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
    model = compiled(keras.optimizers.Adam(1e-2))
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
    compiled(keras.optimizers.Adam(1e-2), model)
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
