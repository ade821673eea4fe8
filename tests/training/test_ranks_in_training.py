"""Ranks, and the shapes of the factors, while a model is trained."""

import gc

import keras
import numpy as np
import pytest
from classifiers import (
    CLASSES,
    FEATURES,
    RANK,
    assert_orthonormal,
    compiled,
    data,
    hidden,
    network,
)
from conftest import EAGER, slow

import dlrt
from dlrt.training import capacity


def test_adaptive_ranks_follow_the_tolerance():
    x, y = data()
    ranks = []
    for tolerance in (0.3, 0.6):
        model = compiled(
            keras.optimizers.Adam(1e-2),
            network(rank=10, depth=1),
            eagerly=True,
            tolerance=tolerance,
        )
        model.fit(x, y, epochs=3, batch_size=32, verbose=0)
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
    model.predict(x, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    assert hidden(model)[0].rank < 10
    old = [np.asarray(layer.kernel) for layer in hidden(model)]
    loss = model.evaluate(x, y, verbose=0)[0]
    logits = model.predict(x, verbose=0)
    np.testing.assert_allclose(logits, np.asarray(model(x)), atol=1e-5)
    model.fit(x, y, epochs=3, batch_size=16, verbose=0)
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
    model.run_eagerly = EAGER
    model.fit(x, y, epochs=2, verbose=0)
    assert layer.rank == RANK
    assert_orthonormal(model)


@pytest.mark.parametrize("worth", [0, *slow(10**6)])
def test_variables_shrink_in_mid_run_where_it_pays(worth, monkeypatch):
    monkeypatch.setattr(capacity, "_WORTH_A_MOVE", worth)
    x, y = data()
    inner = keras.optimizers.Adam(1e-2)
    model = compiled(inner, network(rank=10, depth=1), True, tolerance=0.6)
    capacities = Capacities()
    model.fit(x, y, batch_size=32, epochs=2, verbose=0, callbacks=[capacities])
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
    compiled(keras.optimizers.Adam(1e-2), model, eagerly=True)
    model.fit(x, y, epochs=2, batch_size=32, verbose=0)
    assert hidden(model)[0].rank == 8
    assert hidden(model)[1].rank < 8


def test_min_and_max_rank():
    x, y = data()
    model = compiled(
        keras.optimizers.Adam(1e-2),
        network(rank=8, depth=1),
        eagerly=True,
        tolerance=0.95,
        min_rank=3,
    )
    model.fit(x, y, batch_size=16, verbose=0)
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


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("integrator", ["parallel_bug", *slow("augmented_bug")])
@pytest.mark.parametrize("start", [2, *slow(16)])
def test_ranks_find_the_rank_of_a_teacher(integrator, start):
    random = np.random.default_rng(0)
    teacher = random.normal(size=(32, 5)) @ random.normal(size=(5, 24)) / 8
    x = random.normal(size=(1024, 32)).astype("float32")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32,))
    layer = dlrt.layers.LowRankDense(24, rank=start, use_bias=False)
    model = dlrt.Model(inputs, layer(inputs))
    optimizer = dlrt.optimizers.LowRank(
        keras.optimizers.SGD(0.3, momentum=0.9),
        integrator,
        tolerance=0.01,
        truncation_stop=300,
    )
    model.compile(optimizer, "mse")
    y = x @ teacher.astype("float32")
    model.fit(x, y, batch_size=32, epochs=11, verbose=0)
    assert layer.rank == 5
    error = np.linalg.norm(np.asarray(layer.kernel) - teacher) / np.linalg.norm(teacher)
    assert error < 1e-3
    config = optimizer.get_config()
    assert config["candidates"] == 2
    # What was saved before there were candidates trains on without them.
    del config["candidates"]
    assert dlrt.optimizers.LowRank.from_config(config).candidates == 0


def test_growth_that_meets_its_limit_is_a_warning():
    x, _ = data()
    y = x @ np.eye(FEATURES, dtype="float32")
    inputs = keras.Input((FEATURES,))
    layer = dlrt.layers.LowRankDense(FEATURES, rank=2, name="limited")
    model = dlrt.Model(inputs, layer(inputs))
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.SGD(0.3), tolerance=0.01, max_rank=3),
        "mse",
    )
    with pytest.warns(UserWarning, match="'limited' stays at max_rank=3: tolerance"):
        model.fit(x, y, epochs=3, batch_size=16, verbose=0)
    assert layer.rank == 3


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
        eagerly=True,
        tolerance=0.5,
        truncation_start=4,
        truncation_stop=6,
    )
    seen = []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            (layer,) = hidden(self.model)
            seen.append((layer.rank, layer.capacity, self.model.optimizer.settled))

    model.fit(x, y, epochs=5, batch_size=32, verbose=0, callbacks=[Record()])
    # Not truncated before the start.
    assert [(rank, settled) for rank, _, settled in seen[:2]] == [(10, False)] * 2
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
        eagerly=True,
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
    compiled(
        keras.optimizers.Adam(1e-2), model, True, integrator=integrator, tolerance=0.3
    )
    model.compile(model.optimizer, "mse", run_eagerly=EAGER)
    targets = np.eye(CLASSES)[y]
    model.fit(x, targets, batch_size=32, epochs=2, verbose=0)
    (layer,) = hidden(model)
    before = layer.factors
    assert layer.rank < 10
    targets[:] = np.nan
    stop = keras.callbacks.TerminateOnNaN()
    for callbacks in ([stop], []):
        history = model.fit(x, targets, batch_size=32, verbose=0, callbacks=callbacks)
        assert np.isnan(history.history["loss"]).all()
        assert layer.capacity == layer.rank == before.u.shape[1]
    u, s, v = layer.factors
    np.testing.assert_array_equal(u, before.u)
    np.testing.assert_array_equal(v, before.v)
    assert np.isnan(s).all()
