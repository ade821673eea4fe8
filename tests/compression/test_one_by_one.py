import keras
import numpy as np
import pytest
from conftest import EAGER, slow
from helpers import array

import dlrt
from dlrt import accounting
from dlrt.compression import structure_names

QUICK = ("grouped", "tucker")
STRUCTURES = [*QUICK, *slow(*(x for x in structure_names() if x not in QUICK))]


def network():
    inner = keras.Sequential(
        [keras.Input((6, 6, 12)), keras.layers.Conv2D(12, 3, name="second")],
        name="inner",
    )
    x = keras.Input((8, 8, 6))
    y = keras.layers.Conv2D(12, 3, activation="relu", name="first")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    y = keras.layers.Flatten()(inner(y))
    return keras.Model(x, keras.layers.Dense(10, name="third")(y))


X = np.random.default_rng(0).normal(size=(16, 8, 8, 6)).astype("float32")


def nothing(model):
    pass


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("budget", [{"ratio": 2}, *slow({"error": 0.6})], ids=str)
def test_without_training_it_is_as_at_once(structure, budget):
    model = network()
    options = {"structure": structure, "fine_tune": nothing}
    at_once, expected = dlrt.compress(model, "svd", budget, **options)
    smaller, report = dlrt.compress(model, "svd", budget, one_by_one=True, **options)
    assert report == expected
    np.testing.assert_allclose(array(smaller(X)), array(at_once(X)), atol=1e-5)


def test_training_follows_each_layer():
    seen = []

    def fine_tune(model):
        names = [layer.name for layer in model._flatten_layers(include_self=False)]
        seen.append([name for name in names if name.endswith("_v")])

    model = network()
    weights, config = model.get_weights(), model.get_config()
    ranks = {"first": 4, "second": 3, "third": 2}
    smaller, report = dlrt.compress(
        model, "svd", {"ranks": ranks}, fine_tune=fine_tune, one_by_one=True
    )
    assert seen == [
        ["first_v"],
        ["first_v", "second_v"],
        ["first_v", "second_v", "third_v"],
    ]
    assert {row.name: row.ranks for row in report.layers} == {
        name: (rank,) for name, rank in ranks.items()
    }
    assert report.parameters == accounting.parameter_count(smaller)
    assert model.get_config() == config
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_layers_are_decomposed_as_they_are_after_training(structure):
    """Training replaces the last kernel by one of low rank."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(192, 1)) @ rng.normal(size=(1, 10))

    def fine_tune(model):
        if "third" in [layer.name for layer in model.layers if layer.weights]:
            layer = model.get_layer("third")
            if isinstance(layer, keras.layers.Dense):
                layer.kernel.assign(kernel)

    _, report = dlrt.compress(
        network(),
        "svd",
        {"ranks": {"first": (3, 3) if structure == "tucker" else 3, "third": 1}},
        structure=structure,
        fine_tune=fine_tune,
        one_by_one=True,
    )
    first, third = report.layers
    assert first.error > 0.1
    assert third.error < 1e-5


def test_bounds_on_errors_hold_after_training():
    def fine_tune(model):
        for layer in model._flatten_layers(include_self=False):
            if layer.name == "third" and isinstance(layer, keras.layers.Dense):
                # Its ranks were chosen for another kernel.
                noise = np.random.default_rng(0).normal(size=layer.kernel.shape)
                layer.kernel.assign(noise)

    model = network()
    low = np.outer(np.ones(192), np.ones(10))
    model.get_layer("third").kernel.assign(low)
    _, report = dlrt.compress(
        model, "svd", {"error": 0.4}, fine_tune=fine_tune, one_by_one=True
    )
    third = report.layers[-1]
    assert third.ranks[0] > 1
    assert third.error <= 0.4


@pytest.mark.parametrize("freeze", [True, False])
def test_layers_that_have_been_replaced_can_be_frozen(freeze):
    seen = []

    def fine_tune(model):
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGER)
        before = {w.path: array(w) for w in model.trainable_weights}
        every = {w.path: array(w) for w in model.weights}
        model.fit(X, np.ones((16, 10)), verbose=0)
        moved = {w.path for w in model.weights if np.any(array(w) != every[w.path])}
        assert set(before) <= moved
        seen.append({path.split("/")[-2] for path in before if "kernel" in path})

    ranks = {"first": 4, "third": 2}
    smaller, _ = dlrt.compress(
        network(),
        "svd",
        {"ranks": ranks},
        fine_tune=fine_tune,
        one_by_one=True,
        freeze=freeze,
    )
    first = {"first_k", "first_v"}
    assert seen[0] == ({"second", "third"} if freeze else first | {"second", "third"})
    assert seen[1] == first | {"second", "third_k", "third_v"}
    assert len(smaller.trainable_weights) == len(smaller.weights) - 2


def test_layers_that_were_not_trained_stay_so():
    model = network()
    model.get_layer("first").trainable = False
    smaller, _ = dlrt.compress(
        model,
        "cp",
        {"ranks": {"first": 3, "third": 2}},
        fine_tune=nothing,
        one_by_one=True,
        freeze=True,
    )
    assert not smaller.get_layer("first").trainable_weights
    assert smaller.get_layer("third").trainable_weights


def test_a_layer_that_is_used_twice_is_replaced_once():
    calls = []
    layer = keras.layers.Dense(8, name="shared")
    x = keras.Input((8,))
    model = keras.Model(x, keras.layers.Dense(4, name="last")(layer(layer(x))))
    smaller, report = dlrt.compress(
        model,
        "svd",
        {"ranks": {"shared": 3, "last": 2}},
        fine_tune=lambda model: calls.append(model),
        one_by_one=True,
    )
    assert len(calls) == 2
    assert calls[-1] is smaller
    assert report.parameters == accounting.parameter_count(smaller)


def test_nothing_to_replace_is_a_copy_that_is_trained():
    calls = []
    model = network()
    smaller, _ = dlrt.compress(
        model, "svd", {"error": 0.0}, fine_tune=calls.append, one_by_one=True
    )
    assert calls == [smaller]
    assert smaller is not model
    np.testing.assert_allclose(array(smaller(X)), array(model(X)), atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"one_by_one": True}, "`one_by_one=True` needs `fine_tune`"),
        ({"freeze": True, "fine_tune": nothing}, "`freeze=True` is for `one_by_one"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        dlrt.compress(network(), "svd", {"ratio": 2}, **options)


def test_training_that_fails_is_named():
    def fine_tune(model):
        kernel = model.get_layer("third").weights[0]
        kernel.assign(np.full(kernel.shape, np.nan))

    with pytest.raises(ValueError, match="`fine_tune` has left.*third/kernel"):
        dlrt.compress(
            network(), "svd", {"ratio": 2}, fine_tune=fine_tune, one_by_one=True
        )
