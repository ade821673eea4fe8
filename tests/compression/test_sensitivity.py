import keras
import numpy as np
import pytest
from conftest import slow
from helpers import array
from keras import ops

import dlrt
from dlrt.compression import Choice, Sensitivity, Table, structure_names

QUICK = ("pointwise", "separable")
STRUCTURES = [*QUICK, *slow(*(x for x in structure_names() if x not in QUICK))]


def two_branches(second=0.0, regularizer=None):
    """The second branch is multiplied by a number: without effect if that is 0."""
    x = keras.Input((6, 6, 8))
    a = keras.layers.Conv2D(16, 3, name="first", kernel_regularizer=regularizer)(x)
    b = keras.layers.Conv2D(16, 3, name="second")(x)
    b = keras.layers.Rescaling(second)(b)
    model = keras.Model(x, keras.layers.Flatten()(keras.layers.Add()([a, b])))
    # The same on every backend.
    kernel = np.random.default_rng(1).uniform(-0.17, 0.17, (3, 3, 8, 16))
    for name in ("first", "second"):
        model.get_layer(name).kernel.assign(kernel.astype("float32"))
    return model


def data_for(model, samples=12):
    x = np.random.default_rng(0).normal(size=(samples, 6, 6, 8)).astype("float32")
    return x, array(model(x))


def compressed(model, method="svd", data=None, **options):
    options = {"allocation": Sensitivity(loss="mse"), **options}
    return dlrt.compress(model, method, {"ratio": 2.5}, data=data, **options)


def ranks(report):
    return {row.name: row.ranks[0] for row in report.layers}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_layers_that_matter_get_the_rank(structure):
    model = two_branches()
    smaller, report = compressed(model, data=data_for(model), structure=structure)
    rows = {row.name: row for row in report.layers}
    assert rows["second"].ranks in {(1,), (1, 1)}
    assert rows["first"].parameters > 5 * rows["second"].parameters
    budget = model.count_params() / 2.5
    assert 0.95 * budget <= dlrt.accounting.parameter_count(smaller) <= budget


@pytest.mark.parametrize("scale", [1.0, *slow(0.5, 3.0)])
def test_ranks_are_in_proportion_to_losses(scale):
    """The loss of a layer without what its trial leaves out, worked out by hand."""
    model = two_branches(scale)
    x, y = data_for(model)
    losses = []
    for name in ("first", "second"):
        smaller, _ = dlrt.compress(model, "svd", {"ranks": {name: 3}})
        losses.append(np.mean((array(smaller(x)) - y) ** 2))
    _, report = dlrt.compress(
        model,
        "svd",
        {"ratio": 4},
        data=(x, y),
        allocation=Sensitivity(trial_rank=3, loss="mse"),
    )
    found = ranks(report)
    share = losses[0] / sum(losses)
    assert abs(found["first"] - share * sum(found.values())) <= 1


@pytest.mark.slow
def test_sizes_can_have_a_share():
    model = two_branches()
    data = data_for(model)
    found = []
    for share in (0.0, 0.5, 1.0):
        allocation = Sensitivity(size_share=share, loss="mse")
        found.append(ranks(compressed(model, data=data, allocation=allocation)[1]))
    assert found[0]["second"] < found[1]["second"] < found[2]["second"]
    assert abs(found[2]["first"] - found[2]["second"]) <= 1


def test_penalties_are_no_part_of_the_loss():
    reports = []
    for regularizer in (None, keras.regularizers.L2(10.0)):
        model = two_branches(1.0, regularizer)
        reports.append(compressed(model, data=data_for(model))[1])
    assert ranks(reports[0]) == ranks(reports[1])


@pytest.mark.parametrize("allocation", ["sensitivity", *slow(None)])
def test_the_loss_is_that_of_the_compilation(allocation):
    model = two_branches()
    model.compile("sgd", "mse")
    weights = model.get_weights()
    data = data_for(model)
    _, report = compressed(model, "cp", data=data, allocation=allocation)
    assert ranks(report)["second"] == 1
    assert (model.loss, model.compiled) == ("mse", True)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_cp_without_data_goes_by_errors():
    model = two_branches()
    reports = [
        dlrt.compress(model, "cp", {"ratio": 2.5}, allocation=allocation)[1]
        for allocation in (None, "error")
    ]
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_several_inputs_and_outputs():
    x, z = keras.Input((12,), name="x"), keras.Input((10,), name="z")
    a = keras.layers.Dense(20, name="first")(x)
    b = keras.layers.Dense(20, name="second")(z)
    model = keras.Model({"x": x, "z": z}, [a, b])
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(9, 12)), "z": rng.normal(size=(9, 10))}
    targets = [array(value) for value in model(inputs)]
    found = []
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        model.compile("sgd", ["mse", "mse"], loss_weights=weights)
        data = inputs, targets
        found.append(ranks(compressed(model, data=data, allocation="sensitivity")[1]))
    assert found[0]["second"] == found[1]["first"] == 1


def test_budgets_of_ranks_and_errors_need_no_data():
    model = two_branches()
    for budget in ({"error": 0.5}, {"ranks": {"first": 3}}):
        _, report = dlrt.compress(model, "svd", budget, allocation="sensitivity")
        assert "first" in ranks(report)


def test_ranks_of_choices_increase():
    choices = [Choice((2, 4), 1, 1, 0, 0), Choice((1,), 2, 2, 0, 0, groups=2)]
    for rows, ranks in (([*choices, None], [3, 3, 4]), ([None], [1])):
        assert Table([], [], 0, rows, None).ranks.tolist() == ranks


# Bad arguments


@pytest.mark.parametrize("rank", [0, -1, 2.5, True, None])
def test_trial_ranks(rank):
    with pytest.raises(ValueError, match="`trial_rank` must be a positive integer"):
        Sensitivity(trial_rank=rank)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "1"])
def test_shares_of_sizes(share):
    with pytest.raises(ValueError, match=r"`size_share` must lie in \[0, 1\]"):
        Sensitivity(size_share=share)


X, Y = np.ones((4, 6, 6, 8)), np.ones((4, 256))


@pytest.mark.parametrize(
    "data, message",
    [
        (None, r"needs `data`, a pair \(x, y\).*data=None"),
        (X, r"must be a pair \(x, y\).*ndarray"),
        ((X,), r"must be a pair \(x, y\)"),
        ((X[..., :3], Y), r"inputs of the shapes.*6, 6, 8.*6, 6, 3"),
        (([X, X], Y), "inputs of the shapes"),
        ((X[0], Y), "inputs of the shapes"),
        ((X, Y[:2]), "as many targets as inputs"),
        ((X[:0], Y[:0]), "at least one"),
    ],
    ids=str,
)
def test_data_that_does_not_fit(data, message):
    with pytest.raises(ValueError, match=message):
        compressed(two_branches(), data=data)


def test_a_missing_loss():
    with pytest.raises(ValueError, match="needs a loss: compile `model`"):
        compressed(two_branches(), data=(X, Y), allocation="sensitivity")


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_losses_that_can_not_be_shared(value):
    loss = Sensitivity(loss=lambda y, z: ops.mean(z, axis=-1) * 0 + value)
    with pytest.raises(ValueError, match="losses that are numbers and not negative"):
        compressed(two_branches(), data=(X, Y), allocation=loss)
