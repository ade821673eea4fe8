import keras
import numpy as np
import pytest
from conftest import slow
from keras import layers

import dlrt
from dlrt.callbacks import Evolve

RNG = np.random.default_rng(0)
X = RNG.normal(size=(128, 6)).astype("float32")
Y = np.stack([X[:, 0] * X[:, 1], X[:, 2]], axis=1)


def network(width=40, **kwargs):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(width, name="a", activation="relu"),
            layers.Dense(12, name="b", activation="relu", **kwargs),
            layers.Dense(2, name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def fit(model, epochs, *callbacks, **kwargs):
    return model.fit(
        X, Y, epochs=epochs, verbose=0, callbacks=list(callbacks), **kwargs
    ).history


def duplicated(model, count):
    """The model with the first layer's last units copies of the first ones."""
    kernel, bias = (np.array(w) for w in model.layers[0].get_weights())
    kernel[:, -count:], bias[-count:] = kernel[:, :count], bias[:count]
    model.layers[0].set_weights([kernel, bias])
    return model


class Losses(keras.callbacks.Callback):
    """The loss before and after the callbacks that stand between two of these."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_epoch_begin(self, epoch, logs=None):
        y = self.model(X, training=False)
        self.values.append(float(np.mean((np.asarray(y) - Y) ** 2)))


class TestThreshold:
    def test_dependent_channels_go_and_training_goes_on(self):
        model = duplicated(network(), 10)
        before, after = Losses(), Losses()
        evolve = Evolve(X, threshold=1e-5, start=0)
        history = fit(model, 2, before, evolve, after, validation_data=(X, Y))
        assert history["width/a"][0] <= 30
        assert after.values[0] == pytest.approx(before.values[0], rel=1e-3)
        assert model.count_params() == history["parameters"][-1]
        assert history["val_loss"][-1] == pytest.approx(
            model.evaluate(X, Y, verbose=0), rel=1e-4
        )

    @pytest.mark.slow
    def test_zero_keeps_what_is_independent(self):
        model = network(width=5)
        history = fit(model, 2, Evolve(X, threshold=0.0))
        assert history["width/a"] == [5, 5]

    @pytest.mark.slow
    def test_start_every_and_stop(self):
        changes = []

        class Noted(Evolve):
            def _evolve(self, epoch):
                changes.append(epoch)
                return super()._evolve(epoch)

        fit(network(), 8, Noted(X, start=1, every=2, stop=6))
        assert changes == [1, 3, 5]


class TestLimit:
    @pytest.mark.slow
    @pytest.mark.parametrize("every", [1, *slow(2)])
    def test_is_reached_by_even_steps(self, every):
        model = network()
        start = model.count_params()
        evolve = Evolve(
            X, threshold=0.0, max_parameters=120, start=1, stop=4, every=every
        )
        parameters = fit(model, 6, evolve)["parameters"]
        assert parameters[0] == start
        assert parameters[-1] == model.count_params() <= 120
        times = 4 // every
        for number in range(1, times + 1):
            wanted = start * (120 / start) ** (number / times)
            got = parameters[1 + every * (number - 1)]
            # One channel more or less.
            assert 0.7 * wanted < got <= wanted

    @pytest.mark.slow
    def test_of_memory(self):
        model = network()
        limit = 10_000
        start = Evolve(X, max_memory=limit, training_batch_size=32, stop=2)
        memory = fit(model, 4, start, batch_size=32)["memory"]
        # Four bytes of each weight, its gradient and its moments, and of each value.
        sizes = [6, *(layer.units for layer in model.layers)]
        expected = 4 * (4 * model.count_params() + 32 * sum(sizes))
        assert memory[-1] == expected <= limit
        assert memory[0] == 4 * (4 * 798 + 32 * (6 + 40 + 12 + 2)) > memory[1] > limit
        assert model.layers[0].units < 40

    @pytest.mark.slow
    def test_of_memory_and_parameters(self):
        model = network()
        bounds = {"max_memory": 15_000, "training_batch_size": 8}
        fit(model, 3, Evolve(X, max_parameters=150, stop=1, **bounds))
        assert model.count_params() <= 150
        model = network()
        history = fit(model, 3, Evolve(X, max_parameters=790, stop=1, **bounds))
        assert model.count_params() < 790 and history["memory"][-1] <= 15_000

    @pytest.mark.slow
    def test_growth_stays_within_the_memory(self):
        model = network(width=2)
        now = 4 * (4 * model.count_params() + 8 * (6 + 2 + 12 + 2))
        evolve = Evolve(
            X,
            **{"threshold": 0.0, "grow_threshold": 1e-3, "patience": 1, "growth": 1},
            **{"max_memory": now + 400, "training_batch_size": 8, "stop": 4},
        )
        history = fit(model, 6, evolve, batch_size=8)
        assert now < max(history["memory"]) <= now + 400
        assert history["width/a"][-1] > 2

    @pytest.mark.slow
    def test_smallest_width(self):
        model = network()
        evolve = Evolve(X, max_parameters=100, min_width=5, stop=1)
        history = fit(model, 3, evolve)
        assert min(history["width/a"] + history["width/b"]) >= 5

    @pytest.mark.slow
    def test_fit_again_from_a_file(self, tmp_path):
        model = network()
        evolve = Evolve(X, max_parameters=150, stop=3)
        interrupt = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1)
        )
        fit(model, 5, evolve, interrupt)
        assert model.count_params() > 150
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.optimizer.iterations.numpy() == 8
        history = fit(loaded, 5, evolve, initial_epoch=2)
        assert history["parameters"][-1] <= 150


class TestGrowth:
    @pytest.mark.slow
    def test_adds_while_the_smallest_value_is_high(self):
        model = network(width=2)
        evolve = Evolve(
            X, threshold=0.0, grow_threshold=1e-3, growth=1, patience=2, start=0
        )
        before, after = Losses(), Losses()
        history = fit(model, 6, before, evolve, after)
        assert history["width/a"] == [2, 3, 3, 3, 3, 4]
        assert after.values == pytest.approx(before.values, rel=1e-5)
        assert history["loss"][-1] < history["loss"][0]

    def test_new_channels_get_time_to_learn(self):
        """At a learning rate of 0 nothing ever reads them."""
        model = network(width=3)
        model.optimizer.learning_rate = 0.0
        evolve = Evolve(
            X, threshold=1e-3, grow_threshold=2e-3, growth=2, patience=1, start=0
        )
        assert fit(model, 4, evolve)["width/a"] == [5, 5, 3, 5]

    @pytest.mark.slow
    def test_not_beyond_the_limit(self):
        model = network(width=2)
        now = model.count_params()
        evolve = Evolve(
            X,
            threshold=0.0,
            grow_threshold=1e-3,
            patience=1,
            growth=1,
            max_parameters=now + 25,
            stop=4,
        )
        history = fit(model, 6, evolve)
        assert max(history["parameters"]) <= now + 25
        assert history["width/a"][-1] > 2


@pytest.mark.slow
def test_validation_is_of_the_widths_that_are_logged(tmp_path):
    """What a checkpoint saves is what has been validated."""
    model = network()
    path = str(tmp_path / "{epoch}.keras")
    evolve = Evolve(X, max_parameters=150, stop=2)
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    history = fit(model, 3, evolve, checkpoint, validation_data=(X, Y))
    for epoch in range(3):
        saved = keras.saving.load_model(tmp_path / f"{epoch + 1}.keras")
        assert saved.count_params() == history["parameters"][epoch]
        assert saved.evaluate(X, Y, verbose=0) == pytest.approx(
            history["val_loss"][epoch], rel=1e-4
        )


@pytest.mark.slow
def test_functional_models_of_dlrt():
    """With an integrator of two gradients, a low-rank layer beside."""
    inputs = keras.Input((6,))
    x = layers.Dense(20, name="a", activation="relu")(inputs)
    x = layers.Dense(8, name="b", activation="relu")(x)
    x = dlrt.layers.LowRankDense(6, rank=2, name="low")(x)
    model = dlrt.Model(inputs, layers.Dense(2)(x))
    inner = keras.optimizers.Adam(0.01)
    model.compile(dlrt.optimizers.LowRank(inner, integrator="kls"), "mse")
    history = fit(model, 3, Evolve(X, max_parameters=200, stop=1))
    assert history["parameters"][-1] == model.count_params() <= 200
    assert history["width/a"][-1] < 20
    assert model.get_layer("low").rank == 2
    assert np.isfinite(history["loss"]).all()


def test_log(tmp_path):
    log = dlrt.callbacks.HistoryLog(tmp_path / "log.xlsx")
    fit(network(), 2, Evolve(X, max_parameters=200, stop=1), log)
    assert log.rows[0]["width a"] == 40
    assert log.rows[1]["parameters training"] < log.rows[0]["parameters training"]


def test_says_what_it_does(capsys):
    keras.utils.enable_interactive_logging()
    fit(network(), 3, Evolve(X, max_parameters=150, stop=1, verbose=1))
    text = capsys.readouterr().out
    assert "Evolve: out keeps its width: it is an output." in text
    assert "a 40 to" in text
    fit(network(), 2, Evolve(X))
    assert capsys.readouterr().out == ""


class TestBadInput:
    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"data": np.ones((0, 6))}, "`data` must be"),
            ({"threshold": 1.0}, "`threshold` must lie in .0, 1.. Received"),
            ({"threshold": -0.1}, "`threshold`"),
            ({"threshold": float("nan")}, "`threshold`"),
            ({"grow_threshold": 0.001}, "between threshold=0.01 and 1"),
            ({"grow_threshold": 1.5}, "`grow_threshold`"),
            ({"growth": 0}, "`growth` must be a positive integer"),
            ({"patience": 0}, "`patience`"),
            ({"min_width": 1.5}, "`min_width`"),
            ({"every": 0}, "`every`"),
            ({"batch_size": 0}, "`batch_size`"),
            ({"max_parameters": 0, "stop": 3}, "`max_parameters`"),
            ({"max_parameters": 100}, "`stop` must say"),
            ({"max_memory": 0, "stop": 3}, "`max_memory` must be a positive integer"),
            ({"max_memory": 100, "training_batch_size": 8}, "max_memory=100. Received"),
            ({"max_memory": 100, "stop": 3}, "`training_batch_size` must be that of"),
            ({"training_batch_size": 0}, "`training_batch_size` must be a positive"),
            ({"start": -1}, "`start`"),
            ({"start": 3, "stop": 2}, "`stop` must be at least start=3"),
            ({"verbose": 3}, "`verbose` must be 0 or 1"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Evolve(**{"data": X, **arguments})

    def test_limit_out_of_reach(self):
        evolve = Evolve(X, max_parameters=10, stop=1)
        with pytest.raises(ValueError, match="must be at least 13,.*Received.*10"):
            fit(network(), 3, evolve)

    def test_memory_out_of_reach(self):
        evolve = Evolve(X, max_memory=500, training_batch_size=10, stop=1)
        least = 4 * (4 * 13 + 10 * (6 + 1 + 1 + 2))
        message = f"`max_memory` must be at least {least},.*Received: max_memory=500"
        with pytest.raises(ValueError, match=message):
            fit(network(), 3, evolve)

    def test_schedule_that_ends_too_late(self):
        evolve = Evolve(X, max_parameters=100, stop=3)
        with pytest.raises(ValueError, match="below the number of epochs of fit, 3"):
            fit(network(), 3, evolve)

    def test_schedule_that_never_acts(self):
        with pytest.raises(ValueError, match="`start` must be below the number"):
            fit(network(), 1, Evolve(X))

    def test_nothing_can_change(self):
        model = keras.Sequential([keras.Input((6,)), layers.Dense(2, name="out")])
        model.compile("sgd", "mse")
        with pytest.raises(ValueError, match="none can: .'out': 'it is an output'"):
            fit(model, 2, Evolve(X))

    def test_unbuilt_models(self):
        model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
        model.compile("sgd", "mse")
        if keras.backend.backend() == "jax":
            # Built before any callback.
            fit(model, 2, Evolve(X))
            return
        with pytest.raises(ValueError, match="built Sequential or functional"):
            fit(model, 2, Evolve(X))

    def test_weights_that_are_no_numbers(self):
        model = network()
        model.layers[0].bias.assign(np.full(40, np.nan))
        with pytest.raises(ValueError, match="must be finite"):
            fit(model, 2, Evolve(X))
