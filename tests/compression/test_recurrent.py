"""Recurrent layers, whose products with both kernels are compressed."""

import keras
import numpy as np
import pytest
from conftest import slow
from helpers import array
from keras import layers

import dlrt
from dlrt import accounting
from dlrt.layers import ProjectedRNN

STRUCTURES = ("pointwise", "manifold", "separable", "grouped", "tucker", "cp")
QUICK = [*STRUCTURES[:2], *slow(*STRUCTURES[2:])]
LENGTH = 6


def fill(model):
    rng = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) / 3)
    return model


def stacked(length=None):
    x = keras.Input((length, 8))
    y = layers.LSTM(12, return_sequences=True, name="lstm")(x)
    y = layers.GRU(10, return_sequences=True, name="gru")(y)
    y = layers.SimpleRNN(9, use_bias=False, name="simple")(y)
    return fill(keras.Model(x, layers.Dense(4, name="head")(y)))


# Of `stacked`.
KERNELS = {
    "lstm_kernel": (8, 48),
    "lstm_recurrent_kernel": (12, 48),
    "gru_kernel": (12, 30),
    "gru_recurrent_kernel": (10, 30),
    "simple_kernel": (10, 9),
    "simple_recurrent_kernel": (9, 9),
    "head": (9, 4),
}


def one(kind=layers.LSTM, **options):
    return fill(
        keras.Sequential([keras.Input((LENGTH, 8)), kind(12, name="rnn", **options)])
    )


def data(count=3):
    x = np.random.default_rng(0).normal(size=(count, LENGTH, 8))
    return x.astype("float32")


def assert_same_outputs(actual, expected, tolerance=1e-4):
    x = data()
    np.testing.assert_allclose(array(actual(x)), array(expected(x)), atol=tolerance)


def types_of(model):
    return [type(layer) for layer in model.layers if layer.weights]


PLAIN = [layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Dense]


@pytest.mark.parametrize("structure", QUICK)
def test_full_ranks_reproduce_the_model(structure):
    model = stacked()
    ranks = {name: min(shape) for name, shape in KERNELS.items()}
    same, report = dlrt.compress(model, "svd", {"ranks": ranks}, structure=structure)
    assert types_of(same)[:3] == [ProjectedRNN] * 3
    assert {row.name: row.shape for row in report.layers} == KERNELS
    assert [row.type for row in report.layers[::2]] == [t.__name__ for t in PLAIN]
    assert_same_outputs(same, model)


@pytest.mark.parametrize("method", ["svd", *slow("alds", "dlrt", "hoyer")])
def test_the_whole_budget_is_the_model(method):
    model = stacked()
    same, report = dlrt.compress(model, method, {"error": 0.0})
    assert types_of(same) == PLAIN
    assert not report.left_alone
    assert {row.structure for row in report.layers} == {"dense"}
    assert_same_outputs(same, model, 1e-6)


@pytest.mark.parametrize("method", ["alds", "tucker", *slow("svd", "cp")])
@pytest.mark.parametrize("kind", ["flops", *slow("parameters")])
def test_budgets_are_kept(method, kind):
    model = stacked(LENGTH)
    count = {
        "parameters": accounting.parameter_count,
        "flops": accounting.flop_count,
    }[kind]
    limit = count(model) // 2
    smaller, report = dlrt.compress(model, method, {kind: limit})
    assert 0.85 * limit < count(smaller) <= limit
    assert getattr(report, kind) == count(smaller)
    assert getattr(report, f"{kind}_before") == count(model)
    change = sum(
        getattr(row, f"{kind}_before") - getattr(row, kind) for row in report.layers
    )
    assert count(model) - count(smaller) == change


def test_errors_are_those_of_the_kernels():
    model = one()
    smaller, report = dlrt.compress(
        model, "svd", {"ranks": {"rnn_kernel": 3, "rnn_recurrent_kernel": 5}}
    )
    cell = model.layers[0].cell
    kernels = (cell.kernel, cell.recurrent_kernel)
    rows = smaller.layers[0].projections
    for row, kernel, found in zip(rows, kernels, report.layers, strict=True):
        first, second = (array(layer.kernel) for layer in row.layers)
        rest = np.linalg.norm(array(kernel) - first @ second)
        assert first.shape[1] == found.ranks[0]
        np.testing.assert_allclose(
            rest / np.linalg.norm(kernel), found.error, rtol=1e-4
        )


def test_the_model_is_left_as_it_was():
    model = stacked()
    before = [array(weight) for weight in model.weights]
    smaller, _ = dlrt.compress(model, "alds", {"ratio": 2})
    for layer in smaller.layers:
        for weight in layer.weights:
            weight.assign(np.zeros(weight.shape))
    assert types_of(model) == PLAIN
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize(
    "chosen, names",
    [
        ("gru", ["gru_kernel", "gru_recurrent_kernel"]),
        (".*_recurrent_kernel", [name for name in KERNELS if "recurrent" in name]),
        (["lstm_kernel", "head"], ["lstm_kernel", "head"]),
        (["lstm", "head"], ["lstm_kernel", "lstm_recurrent_kernel", "head"]),
        (
            lambda layer: isinstance(layer, layers.LSTM),
            ["lstm_kernel", "lstm_recurrent_kernel"],
        ),
        (lambda layer: isinstance(layer, layers.Dense), ["head"]),
    ],
)
def test_layers_may_be_chosen(chosen, names):
    smaller, report = dlrt.compress(stacked(), "svd", {"error": 0.7}, layers=chosen)
    assert [row.name for row in report.layers] == names
    for layer, name in zip(smaller.layers[1:], ["lstm", "gru", "simple"], strict=False):
        assert isinstance(layer, ProjectedRNN) == any(x.startswith(name) for x in names)
    assert set(report.left_alone.values()) == {"it was not selected"}


def test_layers_that_are_left_alone_are_named():
    x = keras.Input((LENGTH, 8))
    y = layers.GRU(6, reset_after=False, return_sequences=True, name="old")(x)
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both")(y)
    y = layers.LSTM(
        6, recurrent_constraint="non_neg", return_sequences=True, name="limited"
    )(y)
    model = fill(keras.Model(x, layers.RNN(layers.GRUCell(6), name="cell")(y)))
    smaller, report = dlrt.compress(model, "svd", {"error": 0.8})
    assert [row.name for row in report.layers] == ["limited_kernel"]
    assert report.left_alone == {
        "old": "it has `reset_after=False`, and its kernel multiplies a gated state",
        "both": "Bidirectional layers are not compressed",
        "limited_recurrent_kernel": "it has a `kernel_constraint`, which a low-rank "
        "matrix can't keep",
        "cell": "RNN layers are not compressed",
    }
    limited = smaller.get_layer("limited").recurrent_projection
    assert isinstance(limited.kernel_constraint, keras.constraints.NonNeg)


@pytest.mark.parametrize(
    "chosen, message",
    [
        (["old"], "'old' has `reset_after=False`.*Leave the layer out"),
        (["limited"], "'limited_kernel' has a `kernel_constraint`"),
        (["other_kernel"], r"names no layer.*\['other_kernel'\]"),
    ],
)
def test_layers_that_can_not_be_compressed(chosen, message):
    x = keras.Input((LENGTH, 8))
    y = layers.GRU(6, reset_after=False, return_sequences=True, name="old")(x)
    y = layers.LSTM(6, kernel_constraint="non_neg", name="limited")(y)
    model = keras.Model(x, layers.Dense(2)(y))
    for made in (dlrt.compress, dlrt.decompose):
        arguments = ("svd", {"ratio": 2}) if made is dlrt.compress else ()
        with pytest.raises(ValueError, match=message):
            made(model, *arguments, layers=chosen)


def test_ranks_are_given_for_kernels():
    with pytest.raises(ValueError, match="must name layers.*'rnn_kernel'.*'rnn'"):
        dlrt.compress(one(), "svd", {"ranks": {"rnn": 3}})


@pytest.mark.parametrize("structure", ["pointwise", *slow("separable")])
def test_kernels_as_singular_vectors_and_values(structure):
    model = stacked()
    decomposed = dlrt.decompose(model, structure=structure)
    assert types_of(decomposed)[:3] == [ProjectedRNN] * 3
    assert_same_outputs(decomposed, model, 1e-5)
    s = decomposed.get_layer("gru").recurrent_projection.layers[1].s
    kernel = model.get_layer("gru").cell.recurrent_kernel
    np.testing.assert_allclose(
        s, np.linalg.svd(array(kernel), compute_uv=False), rtol=1e-4
    )
    for back in (dlrt.to_dense(decomposed), dlrt.merge(decomposed)):
        assert types_of(back) == PLAIN
        for weight, old in zip(back.weights, model.weights, strict=True):
            np.testing.assert_allclose(weight, old, atol=1e-6)


@pytest.mark.slow
def test_hoyer_trains_and_prunes():
    model = one()
    x, y = data(32), np.zeros((32, 12), "float32")

    def train(decomposed):
        decomposed.compile(keras.optimizers.Adam(0.02), "mse")
        decomposed.fit(x, y, epochs=5, verbose=0)

    smaller, report = dlrt.compress(model, "hoyer", {"error": 0.5}, train=train)
    assert [len(row.layers) for row in smaller.layers[0].projections] == [2, 2]
    assert [row.name for row in report.layers] == ["rnn_kernel", "rnn_recurrent_kernel"]
    assert all(0 < row.error <= 0.5 for row in report.layers)
    # Training has changed the kernels before they were pruned.
    before = array(one().layers[0].cell.kernel)
    first, second = smaller.layers[0].input_projection.layers
    (rank,) = report.layers[0].ranks
    nearest = np.linalg.norm(np.linalg.svd(before, compute_uv=False)[rank:])
    rest = before - array(first.kernel) @ array(second.kernel)
    assert np.linalg.norm(rest) > nearest + 0.05 * np.linalg.norm(before)


def test_some_kernels_as_singular_vectors_and_values():
    model = stacked()
    decomposed = dlrt.decompose(model, layers=["lstm_recurrent_kernel"])
    inward, onward = decomposed.get_layer("lstm").projections
    assert isinstance(inward, layers.Dense) and len(onward.layers) == 3
    assert types_of(decomposed)[1:] == PLAIN[1:]
    assert_same_outputs(decomposed, model, 1e-5)


@pytest.mark.slow
def test_compressed_on_the_manifold_it_trains():
    model = keras.Sequential(
        [keras.Input((LENGTH, 8)), layers.LSTM(6), layers.Dense(2)]
    )
    low_rank, report = dlrt.compress(model, "dlrt", {"ratio": 2})
    assert {row.structure for row in report.layers[:2]} == {"manifold"}
    low_rank.compile(dlrt.optimizers.LowRank(keras.optimizers.Adam(0.02)), "mse")
    x = data(32)
    losses = low_rank.fit(x, x.mean(1)[:, :2], epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    merged = dlrt.merge(low_rank)
    assert [len(row.layers) for row in merged.layers[0].projections] == [2, 2]
    dense = dlrt.to_dense(low_rank)
    assert types_of(dense) == [layers.LSTM, layers.Dense]
    assert_same_outputs(merged, low_rank, 1e-5)
    assert_same_outputs(dense, low_rank, 1e-5)


@pytest.mark.slow
def test_what_is_compressed_is_compressed_further():
    model = stacked()
    once, _ = dlrt.compress(model, "svd", {"error": 0.7})
    twice, report = dlrt.compress(once, "svd", {"error": 0.8}, layers="lstm")
    inside = {f"lstm_{k}kernel_{end}" for k in ("", "recurrent_") for end in "kv"}
    assert {row.name for row in report.layers} == inside
    assert report.parameters < report.parameters_before
    converted = dlrt.convert(once, tolerance=1e-6, layers="lstm")
    assert len(accounting.ranks(converted)) == 4
    assert_same_outputs(converted, once)


@pytest.mark.parametrize("freeze", [False, True])
def test_one_by_one(freeze):
    model = one(return_sequences=True)
    seen = []

    def fine_tune(current):
        (layer,) = current.layers
        kinds = [type(product).__name__ for product in layer.projections]
        trainable = [
            any(weight.trainable for weight in product.weights)
            for product in layer.projections
        ]
        seen.append((kinds, trainable))
        for weight in current.trainable_weights:
            weight.assign(weight * 0.9)

    smaller, report = dlrt.compress(
        model,
        "svd",
        {"ranks": {"rnn_kernel": 3, "rnn_recurrent_kernel": 4}},
        fine_tune=fine_tune,
        one_by_one=True,
        freeze=freeze,
    )
    row = "Sequential"
    assert seen == [([row, "Dense"], [not freeze, True]), ([row, row], [True, True])]
    assert [row.ranks for row in report.layers] == [(3,), (4,)]
    # What was not replaced yet was trained, and then decomposed.
    product = smaller.layers[0].recurrent_projection
    kernel = array(model.layers[0].cell.recurrent_kernel)
    first, second = (array(layer.kernel) / 0.9 for layer in product.layers)
    rest = 0.9 * kernel - first @ second
    assert np.linalg.norm(rest) / np.linalg.norm(0.9 * kernel) == pytest.approx(
        report.layers[1].error, rel=1e-4
    )


@pytest.mark.slow
def test_sensitivity_takes_the_loss_of_the_model():
    model = keras.Sequential(
        [keras.Input((LENGTH, 8)), layers.LSTM(12, name="rnn"), layers.Dense(12)]
    )
    # The loss does not depend on the state.
    cell = model.layers[0].cell
    cell.recurrent_kernel.assign(cell.recurrent_kernel * 1e-4)
    with pytest.raises(ValueError, match="needs a loss"):
        dlrt.compress(
            model, "svd", {"ratio": 2}, allocation="sensitivity", data=(data(), data())
        )
    model.compile(loss="mse")
    x = data(16)
    _, report = dlrt.compress(
        model,
        "svd",
        {"ratio": 2},
        allocation=dlrt.compression.Sensitivity(trial_rank=2),
        data=(x, model.predict(x, verbose=0)),
    )
    kernel, recurrent, _ = report.layers
    assert recurrent.structure != "dense" and recurrent.ranks == (1,)
    assert kernel.structure == "dense" or kernel.ranks > (1,)


def test_flops_are_those_of_all_steps():
    model = stacked(LENGTH)
    products = sum(n * m for name, (n, m) in KERNELS.items() if name != "head")
    assert accounting.flop_count(model) == 2 * (LENGTH * products + 9 * 4)
    assert accounting.flop_count(stacked()) == 2 * (products + 9 * 4)
    smaller, _ = dlrt.compress(
        one(), "svd", {"ranks": {"rnn_kernel": 3, "rnn_recurrent_kernel": 4}}
    )
    ranks = 3 * (8 + 48) + 4 * (12 + 48)
    assert accounting.flop_count(smaller) == 2 * LENGTH * ranks
    decomposed = dlrt.decompose(one())
    ranks = 8 * (8 + 48) + 12 * (12 + 48)
    assert accounting.flop_count(decomposed) == 2 * LENGTH * ranks


def test_a_layer_for_sequences_of_two_lengths():
    layer = layers.GRU(12, name="rnn")
    first, second = keras.Input((LENGTH, 8)), keras.Input((2 * LENGTH, 8))
    model = fill(keras.Model([first, second], layer(first) + layer(second)))
    smaller, report = dlrt.compress(model, "alds", {"ratio": 2})
    assert report.flops == 6 * LENGTH * report.parameters - 6 * LENGTH * 72
    same, _ = dlrt.compress(
        model, "svd", {"ranks": {"rnn_kernel": 8, "rnn_recurrent_kernel": 12}}
    )
    x = [data(), np.concatenate([data(), data()], axis=1)]
    np.testing.assert_allclose(same(x), model(x), atol=1e-4)


@keras.saving.register_keras_serializable(package="test_recurrent")
class Tagger(keras.Model):
    """A model of a user's class with a recurrent layer, and one in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.LSTM(12, return_sequences=True, name="first")
        self.more = [layers.GRU(12, name="second"), layers.Dense(3, name="head")]

    def call(self, x, training=False):
        x = self.first(x, training=training)
        for layer in self.more:
            x = layer(x)
        return x


@pytest.mark.slow
def test_recurrent_layers_in_models_of_users_classes(tmp_path):
    model = Tagger()
    model(data())
    fill(model)
    smaller, report = dlrt.compress(model, "svd", {"error": 0.8}, layers="first|head")
    assert [row.name for row in report.layers] == [
        "first_kernel",
        "first_recurrent_kernel",
        "head",
    ]
    assert report.left_alone == {"second": "it was not selected"}
    assert report.flops_before > report.flops
    smaller.save(tmp_path / "model.keras")
    assert_same_outputs(keras.saving.load_model(tmp_path / "model.keras"), smaller)
    same, _ = dlrt.compress(model, "svd", {"error": 1e-6})
    assert_same_outputs(same, model)
    decomposed = dlrt.decompose(model)
    assert_same_outputs(decomposed, model)
    assert_same_outputs(dlrt.to_dense(decomposed), model)


def test_files_of_compressed_models(tmp_path):
    smaller, _ = dlrt.compress(stacked(), "alds", {"ratio": 2})
    smaller.save(tmp_path / "model.keras")
    assert_same_outputs(keras.saving.load_model(tmp_path / "model.keras"), smaller, 0)


def test_states_and_masks_are_kept():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, 12, mask_zero=True)(tokens)
    y, h, c = layers.LSTM(12, return_sequences=True, return_state=True, name="in")(x)
    y = layers.LSTM(12, go_backwards=True, name="out")(y)
    z = layers.GRU(12, name="on")(layers.RepeatVector(2)(y), initial_state=h)
    outputs = layers.Dense(2)(layers.Concatenate()([z, c]))
    model = fill(keras.Model(tokens, outputs))
    some = np.array([[3, 0, 5, 0], [1, 2, 0, 0]])
    for structure in ("pointwise", "grouped"):
        smaller, _ = dlrt.compress(model, "svd", {"error": 0.8}, structure=structure)
        whole, short = smaller(some), smaller(some[1:, :2])
        np.testing.assert_allclose(whole[1:], short, atol=1e-5)
    same, _ = dlrt.compress(model, "svd", {"error": 1e-6})
    np.testing.assert_allclose(same(some), model(some), atol=1e-4)
