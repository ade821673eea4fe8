"""A restored run continues as if it had never stopped."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import EAGER, SLOW, slow

import dlrt

# Ranks fall within few steps by the rule that truncates at each.
FALLING = dict(tolerance=0.5, truncation_interval=1, candidates=0)
CASES = {
    "fixed": dict(integrator="parallel_bug"),
    "adaptive": dict(integrator="parallel_bug", **FALLING),
    "settled": dict(integrator="parallel_bug", truncation_stop=6, **FALLING),
    "kls": dict(integrator="kls"),
    "augmented": dict(integrator="augmented_bug", **FALLING),
}

# What the second process runs: its own imports and paths, nothing of this one.
CONTINUE = """
import sys, json
import keras, numpy as np
import dlrt
data, epochs, *paths = sys.argv[1:]
arrays = np.load(data, allow_pickle=False)
results = {}
for path in paths:
    model = keras.saving.load_model(path)
    history = model.fit(
        arrays["x"], arrays["y"], batch_size=16, epochs=int(epochs), shuffle=False,
        verbose=0,
    )
    predictions = model.predict(arrays["x"], verbose=0)
    results[path] = [history.history["loss"], predictions.tolist()]
print(json.dumps(results))
"""


def data():
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 12)).astype("float32")
    return x, (x @ random.standard_normal((12, 3))).argmax(1)


class Late(keras.Model):
    """Has its layers saved and loaded after its optimizer, by their names."""

    def __init__(self, rank):
        super().__init__()
        self.z_hidden = low_rank(rank)
        self.z_output = keras.layers.Dense(3)

    def call(self, x):
        return self.z_output(self.z_hidden(x))


def low_rank(rank):
    return dlrt.layers.LowRankDense(16, rank=rank, activation="relu", name="h")


def network(case, kind=dlrt.Model, rank=6, eagerly=False):
    keras.utils.set_random_seed(0)
    if kind is Late:
        model = Late(rank)
        model(np.zeros((1, 12)))
    else:
        inputs = keras.Input((12,))
        model = kind(inputs, keras.layers.Dense(3)(low_rank(rank)(inputs)))
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, 40)
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(schedule), **CASES[case]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=eagerly and EAGER,
    )
    return model


def layer_of(model):
    return dlrt.accounting.low_rank_layers(model)[0]


def fit(model, epochs):
    x, y = data()
    history = model.fit(x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return history.history["loss"]


@pytest.mark.slow
def test_two_epochs_saved_and_three_in_a_new_process_equal_five(tmp_path):
    x, y = data()
    expected = {}
    for case in CASES:
        whole, first = network(case), network(case)
        losses = fit(whole, 2) + fit(whole, 3)
        path = str(tmp_path / f"{case}.keras")
        expected[path] = losses[2:], whole.predict(x, verbose=0)
        fit(first, 2)
        first.save(path)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    arguments = [str(tmp_path / "data.npz"), "3", *expected]
    finished = subprocess.run(
        [sys.executable, "-c", CONTINUE, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(finished.stdout.splitlines()[-1])
    for path, (losses, predictions) in expected.items():
        np.testing.assert_allclose(found[path][0], losses, atol=1e-6, err_msg=path)
        np.testing.assert_allclose(found[path][1], predictions, atol=1e-5, err_msg=path)


def test_one_fit_equals_two():
    one, two = network("fixed"), network("fixed")
    np.testing.assert_allclose(fit(one, 5), fit(two, 2) + fit(two, 3), atol=1e-6)


# With a LossScaleOptimizer, which saves and loads in a way of its own.
SCALED = [False, pytest.param(True, marks=[SLOW, pytest.mark.tensorflow_only])]


@pytest.mark.parametrize("scaled", SCALED, ids=["plain", "scaled"])
def test_a_checkpoint_in_mid_run_has_the_exact_ranks(tmp_path, scaled):
    """Saved files say the rank, not the room that the variables have at the time."""
    seen = []

    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            path = tmp_path / f"{epoch}.keras"
            self.model.save(path)
            seen.append((path, self.model.get_layer("h").rank))

    model = network("adaptive", eagerly=True)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(model.optimizer)
        model.compile(optimizer, model.loss, run_eagerly=EAGER)
    x, y = data()
    model.fit(x, y, batch_size=32, epochs=3, verbose=0, callbacks=[Save()])
    for path, rank in seen:
        loaded = keras.saving.load_model(path)
        layer = loaded.get_layer("h")
        assert layer.rank == layer.capacity == rank
        slots = {tuple(v.shape) for v in loaded.optimizer.variables}
        assert (12, rank) in slots and (rank, rank) in slots
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )


def test_weights_of_another_rank_can_be_loaded(tmp_path):
    model = network("adaptive", eagerly=True)
    fit(model, 1)
    assert model.get_layer("h").rank < 6
    model.save_weights(tmp_path / "model.weights.h5")
    other = network("adaptive")
    other.load_weights(tmp_path / "model.weights.h5")
    x, _ = data()
    np.testing.assert_allclose(
        other.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )
    assert np.isfinite(fit(other, 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("scaled", SCALED, ids=["plain", "scaled"])
def test_weights_of_another_rank_in_a_trained_model(tmp_path, scaled):
    """Training goes on as where the weights come from, moments and all."""
    model, other = models = network("adaptive"), network("adaptive")
    tolerance = model.optimizer.tolerance
    optimizer = other.optimizer
    optimizer.tolerance = 0.01
    for each in models:
        if scaled:
            scaling = keras.optimizers.LossScaleOptimizer(each.optimizer)
            each.compile(scaling, each.loss)
        fit(each, 3)
    optimizer.tolerance = tolerance
    x, _ = data()
    other.predict(x, verbose=0)
    assert other.get_layer("h").rank > model.get_layer("h").rank
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(
        other.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )
    np.testing.assert_allclose(fit(other, 2), fit(model, 2), atol=1e-6)


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("adaptive", keras.Model),
        pytest.param(
            "augmented", dlrt.Model, marks=[SLOW, pytest.mark.tensorflow_only]
        ),
        *slow(("settled", keras.Model), ("adaptive", Late)),
    ],
)
def test_backup_and_restore(tmp_path, case, kind):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def run(*callbacks):
        x, y = data()
        model = network(case, kind, eagerly=True)
        callbacks = [keras.callbacks.BackupAndRestore(tmp_path / "b"), *callbacks]
        options = dict(batch_size=16, epochs=4, shuffle=False, verbose=0)
        losses = model.fit(x, y, callbacks=callbacks, **options).history["loss"]
        assert layer_of(model).rank == layer_of(model).capacity < 6
        return losses

    with pytest.raises(KeyboardInterrupt):
        run(Interrupt())
    restored = run()
    whole = fit(network(case, kind, eagerly=True), 4)
    np.testing.assert_allclose(restored, whole[2:], atol=1e-6)


@pytest.mark.tensorflow_only
def test_export_after_a_change_of_rank(tmp_path):
    import tensorflow as tf

    model = network("adaptive", eagerly=True)
    fit(model, 1)
    assert model.get_layer("h").rank < 6
    model.export(tmp_path / "model", verbose=False)
    x, _ = data()
    exported = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(
        exported.serve(x), model.predict(x, verbose=0), atol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "adapts"),
    [(keras.Model, True), *slow((dlrt.Model, False), (keras.Model, False))],
)
def test_early_stopping_restores_weights_of_another_rank(kind, adapts):
    x, y = data()
    model, found = network("adaptive", kind), []
    model.optimizer.truncation_start = 6
    stop = keras.callbacks.EarlyStopping(
        "loss", patience=2, mode="max", restore_best_weights=True
    )
    see = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: found.append(layer_of(model).rank)
    )
    callbacks = [see, stop, *([dlrt.callbacks.AdaptCapacity()] if adapts else [])]
    model.fit(x, y, batch_size=16, epochs=5, verbose=0, callbacks=callbacks)
    layer = layer_of(model)
    assert layer.rank == layer.capacity == found[0] > found[-1]
    assert_works(model)


def load(tmp_path, model, source):
    source.save_weights(tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5", skip_mismatch=True)


REPLACEMENTS = {
    "load_weights": load,
    "set_weights": lambda _, model, source: model.set_weights(source.get_weights()),
    "set_weights of the layer": lambda _, model, source: layer_of(model).set_weights(
        layer_of(source).get_weights()
    ),
    "factors": lambda _, model, source: setattr(
        layer_of(model), "factors", layer_of(source).factors
    ),
    "resize": lambda _, model, source: dlrt.resize(model, {"h": layer_of(source).rank}),
}


def assert_works(*models):
    """What is compiled has the weights of the model, and training moves these."""
    x, y = data()
    for model in models:
        expected = np.asarray(model(x))
        predicted = model.predict(x, verbose=0)
        np.testing.assert_allclose(predicted, expected, atol=1e-5)
        loss = model.evaluate(x, y, verbose=0)
        options = dict(batch_size=64, shuffle=False, verbose=0)
        history = model.fit(x, y, **options).history
        np.testing.assert_allclose(history["loss"], [loss], rtol=1e-4)
        assert abs(np.asarray(model(x)) - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "ranks", "way"),
    [
        (keras.Model, (6, 2), "load_weights"),
        *slow(
            (keras.Model, (2, 6), "load_weights"),
            *((keras.Model, (6, 2), w) for w in REPLACEMENTS if w != "load_weights"),
            (Late, (2, 6), "load_weights"),
            (dlrt.Model, (6, 2), "load_weights"),
        ),
    ],
)
def test_compiled_functions_follow_a_change_of_rank(tmp_path, kind, ranks, way):
    model = network("fixed", kind, ranks[0])
    source = network("fixed", kind, ranks[1], eagerly=True)
    for each in (model, source):
        fit(each, 1)
    x, y = data()
    model.predict(x, verbose=0)
    model.evaluate(x, y, verbose=0)
    REPLACEMENTS[way](tmp_path, model, source)
    expected = min(ranks) if way == "resize" else layer_of(source).rank
    assert layer_of(model).rank == expected
    if way in ("load_weights", "set_weights"):
        np.testing.assert_allclose(
            np.asarray(model(x)), np.asarray(source(x)), atol=1e-5
        )
    assert_works(model)


@pytest.mark.slow
def test_models_that_share_layers_follow_together(tmp_path):
    """Each has its compiled functions and its optimizer."""
    inner = network("fixed", keras.Model)
    inputs = keras.Input((12,))
    outer = keras.Model(inputs, inner(inputs))
    outer.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-2)), inner.loss, metrics=[]
    )
    x, y = data()
    for model in (inner, outer):
        fit(model, 1)
        model.predict(x, verbose=0)
        model.evaluate(x, y, verbose=0)
    load(tmp_path, inner, network("fixed", keras.Model, rank=2))
    assert_works(outer, inner)
    inner.set_weights(network("fixed", keras.Model, rank=3).get_weights())
    assert_works(inner, outer)


@pytest.mark.tensorflow_only
def test_functions_of_users_fail_rather_than_compute_with_replaced_variables():
    import tensorflow as tf

    model = network("fixed", keras.Model)
    compiled = tf.function(model)
    x, _ = data()
    compiled(x)
    dlrt.resize(model, {"h": 3})
    with pytest.raises(tf.errors.InvalidArgumentError, match="incompatible"):
        compiled(x)


def test_weights_of_another_rank_in_the_middle_of_fit(tmp_path):
    source = network("fixed", keras.Model, 2, eagerly=True)
    model = network("fixed", keras.Model, 6)
    source.save_weights(tmp_path / "model.weights.h5")

    class Load(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.load_weights(tmp_path / "model.weights.h5")

    x, y = data()
    options = dict(batch_size=16, shuffle=False, verbose=0)
    source.fit(x, y, epochs=2, **options)
    model.fit(x, y, epochs=2, callbacks=[Load()], **options)
    assert layer_of(model).rank == 2
    assert_works(model)
