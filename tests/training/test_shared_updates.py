"""A compiled step, whose updates share traces, equals one with the updates of Keras."""

import keras
import numpy as np
import pytest
from conftest import EAGER, slow

import dlrt
from dlrt.training._shared_updates import _SHAREABLE

OTHERS = (keras.optimizers.Lamb, keras.optimizers.Ftrl, keras.optimizers.Muon)
QUICK = (keras.optimizers.Adam, keras.optimizers.Lamb)
REST = [cls for cls in (*_SHAREABLE, *OTHERS) if cls not in QUICK]
OPTIONS = {
    keras.optimizers.SGD: {"momentum": 0.9},
    keras.optimizers.RMSprop: {"centered": True},
}


def by_keras(monkeypatch):
    """Has eager steps make the updates as Keras does, also those of Adam."""
    monkeypatch.setattr("dlrt.training._shared_updates._fused_adam", lambda _: None)


def trained(optimizer, eagerly, **arguments):
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input((6,))
    for _ in range(2):
        x = dlrt.layers.LowRankDense(6, rank=2, activation="tanh")(x)
    model = dlrt.Model(inputs, keras.layers.Dense(3)(x))
    optimizer = dlrt.optimizers.LowRank(optimizer, **arguments)
    model.compile(optimizer, "mse", run_eagerly=eagerly)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(32, 6)).astype("float32"), rng.normal(size=(32, 3))
    model.fit(*data, batch_size=8, shuffle=False, verbose=0)
    return model


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("cls", [*QUICK, *slow(*REST)])
def test_updates_are_those_of_the_optimizer(cls, monkeypatch):
    models = []
    for eagerly in (False, True):
        if eagerly:
            by_keras(monkeypatch)
        optimizer = cls(learning_rate=0.01, **OPTIONS.get(cls, {}))
        models.append(trained(optimizer, eagerly))
    for compiled, eager in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-5)
    assert all(np.isfinite(weight).all() for weight in models[0].get_weights())


@pytest.mark.tensorflow_only
def test_eager_steps_of_adam_are_compiled_ones_where_ranks_adapt():
    """A truncation makes much of little: updates must not differ by rounding."""
    adaptation = dict(tolerance=0.7, min_rank=1, truncation_interval=1, candidates=0)
    compiled, eager = (
        trained(keras.optimizers.Adam(0.05), eagerly, **adaptation)
        for eagerly in (False, True)
    )
    assert compiled.layers[1].rank < 2
    for one, other in zip(compiled.weights, eager.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize(
    "options",
    [
        {},
        *slow({"amsgrad": True}, {"gradient_accumulation_steps": 2}),
        *slow({"clipnorm": 0.1, "weight_decay": 0.1}),
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_adam_with_gradients_of_rows(options, monkeypatch):
    tokens = np.random.default_rng(0).integers(0, 5, (32, 3))
    results = []
    for eagerly in (False, True):
        if eagerly:
            by_keras(monkeypatch)
        keras.utils.set_random_seed(1)
        inputs = keras.Input((3,), dtype="int32")
        x = keras.layers.Flatten()(keras.layers.Embedding(9, 4)(inputs))
        model = dlrt.Model(inputs, dlrt.layers.LowRankDense(2, rank=1)(x))
        adam = keras.optimizers.Adam(0.01, **options)
        model.compile(dlrt.optimizers.LowRank(adam), "mse", run_eagerly=eagerly)
        model.fit(tokens, tokens[:, :2], 8, epochs=2, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for compiled, eager in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("integrator", ["parallel_bug", *slow("kls", "augmented_bug")])
def test_many_equal_layers_are_stepped_as_each_by_itself(integrator, monkeypatch):
    results = []
    for least in (2, 1000):
        monkeypatch.setattr("dlrt.training._driver._STACKED", least)
        keras.utils.set_random_seed(1)
        inputs = x = keras.Input((6,))
        for units in (6, 6, 6, 4):
            x = dlrt.layers.LowRankDense(units, rank=2, activation="tanh")(x)
        model = dlrt.Model(inputs, x)
        optimizer = keras.optimizers.Adam(0.01)
        optimizer = dlrt.optimizers.LowRank(optimizer, integrator=integrator)
        model.compile(optimizer, "mse", run_eagerly=EAGER)
        rng = np.random.default_rng(0)
        data = rng.normal(size=(32, 6)), rng.normal(size=(32, 4))
        model.fit(*data, batch_size=32, epochs=2, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for stacked, separate in zip(*results, strict=True):
        np.testing.assert_allclose(stacked, separate, rtol=1e-3, atol=1e-5)
