import keras
import numpy as np
import pytest
from conftest import slow
from helpers import array

import dlrt
import dlrt.datasets
from dlrt import accounting
from dlrt.regularizers import Hoyer
from dlrt.surgery.decomposed import DECOMPOSABLE, is_decomposed

STRUCTURES = ("pointwise", "separable")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fill(model):
    rng = np.random.default_rng(3)
    for weight in model.weights:
        values = rng.normal(size=weight.shape) / 3
        weight.assign(np.abs(values) if "variance" in weight.name else values)
    return model


def images():
    x = keras.Input((11, 10, 3))
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="same")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    y = keras.layers.Conv2D(6, (4, 3), strides=(2, 1), use_bias=False, name="stride")(y)
    y = keras.layers.Conv2D(8, 2, dilation_rate=(1, 2), name="dilated")(y)
    y = keras.layers.Conv2D(5, 1, strides=2, name="point")(y)
    y = keras.layers.Flatten()(y)
    y = keras.layers.Dense(7, activation="tanh", name="hidden")(y)
    return fill(keras.Model(x, keras.layers.Dense(1, name="last")(y)))


def sequences():
    layers = [
        keras.Input((6, 8)),
        keras.layers.Conv1D(
            9, 3, padding="causal", dilation_rate=2, activation="relu", name="causal"
        ),
        keras.layers.EinsumDense("abc,dec->abed", (6, 2, 4), bias_axes="ed", name="a"),
        keras.layers.EinsumDense("abcd,efcd->abef", (6, 3, 5), name="b"),
        keras.layers.EinsumDense("...ab,be->...ae", (3, 4), name="c"),
        keras.layers.EinsumDense("ab...,bc->ac...", 5, name="d"),
    ]
    return fill(keras.Sequential(layers))


def shared():
    """A layer that is used twice, one in a model within the model, and a mask."""
    layer = keras.layers.Dense(6, activation="tanh", name="shared")
    inner = keras.Sequential(
        [keras.Input((None, 6)), keras.layers.Dense(5, name="inside")], name="inner"
    )
    inner.supports_masking = True
    x = keras.Input((None,), dtype="int32")
    y = keras.layers.Embedding(9, 6, mask_zero=True, name="embedding")(x)
    return fill(keras.Model(x, keras.layers.GRU(3)(inner(layer(layer(y))))))


MODELS = [images, *slow(sequences, shared)]


@pytest.fixture(params=MODELS, ids=lambda make: make.__name__)
def model(request):
    return request.param()


def data_for(model):
    rng = np.random.default_rng(0)
    if model.inputs[0].dtype == "int32":
        return rng.integers(0, 9, (3, 7), dtype="int32")
    return rng.normal(size=(3, *model.inputs[0].shape[1:])).astype("float32")


def assert_same_outputs(actual, expected, relative=1e-4):
    data = data_for(expected)
    expected, actual = array(expected(data)), array(actual(data))
    assert np.abs(actual - expected).max() <= relative * np.abs(expected).max()


def rows(model):
    return [x for x in model._flatten_layers(include_self=False) if is_decomposed(x)]


def disturbed(model, amount=0.05):
    """The model as after some training: the bases not quite orthonormal."""
    rng = np.random.default_rng(5)
    for row in rows(model):
        for weight in row.weights:
            noise = rng.normal(size=weight.shape)
            weight.assign(array(weight) + amount * noise)
    return model


# Decompositions


@pytest.mark.parametrize("structure", STRUCTURES)
def test_outputs_are_the_same(model, structure):
    decomposed = dlrt.decompose(model, structure=structure)
    assert_same_outputs(decomposed, model, 2e-5)
    assert not decomposed.compiled
    names = []
    for x in model._flatten_layers():
        if type(x) in DECOMPOSABLE:
            names.append(x.name)
        elif isinstance(x, keras.layers.GRU):
            names += [f"{x.name}_kernel", f"{x.name}_recurrent_kernel"]
    assert [row.name for row in rows(decomposed)] == names


@pytest.mark.parametrize("structure", STRUCTURES)
def test_factors_are_singular_vectors_and_values(model, structure):
    for row in rows(dlrt.decompose(model, structure=structure)):
        first, values, second = row.layers
        s = array(values.s)
        assert (s >= 0).all() and (np.diff(s) <= 0).all()
        for layer in (first, second):
            assert float(layer.kernel_regularizer(layer.kernel)) < 1e-10
        u = array(first.kernel).reshape(-1, len(s))
        np.testing.assert_allclose(u.T @ u, np.eye(len(s)), atol=1e-5)


def test_folded_kernels():
    model = images()
    kernel = array(model.get_layer("stride").kernel)
    for structure, matrix in (
        ("pointwise", kernel.reshape(-1, 6)),
        ("separable", kernel.transpose(1, 2, 0, 3).reshape(3 * 8, 4 * 6)),
    ):
        decomposed = dlrt.decompose(model, structure=structure, layers="stride")
        (row,) = rows(decomposed)
        assert row.name == "stride"
        np.testing.assert_allclose(
            array(row.layers[1].s), np.linalg.svd(matrix)[1], rtol=1e-4
        )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_channels_may_come_first(structure):
    layer = keras.layers.Conv2D(
        5, (3, 2), strides=(2, 1), data_format="channels_first", name="conv"
    )
    model = fill(keras.Sequential([keras.Input((3, 9, 8)), layer]))
    decomposed = disturbed(dlrt.decompose(model, structure=structure))
    assert decomposed.layers[0].layers[1].axis == 1
    assert_same_outputs(dlrt.to_dense(decomposed), decomposed)


def test_regularizers():
    model = images()
    decomposed = dlrt.decompose(model, orthogonality=0.7, sparsity=0.2)
    disturbed(decomposed)
    expected = 0
    for row in rows(decomposed):
        first, values, second = row.layers
        u, s, v = array(first.kernel), array(values.s), array(second.kernel)
        u, vt = u.reshape(-1, len(s)), v.reshape(len(s), -1)
        for gram in (u.T @ u, vt @ vt.T):
            expected += 0.7 * np.mean((gram - np.eye(len(s))) ** 2)
        expected += 0.2 * np.abs(s).sum() / np.linalg.norm(s)
    assert float(sum(decomposed.losses)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "sparsity, expected",
    [
        (0.3, Hoyer(0.3)),
        (np.float32(0.5), Hoyer(0.5)),
        (Hoyer(0.2, squared=True), Hoyer(0.2, squared=True)),
        (keras.regularizers.L1(0.25), keras.regularizers.L1(0.25)),
        (None, None),
    ],
    ids=["number", "NumPy's number", "Hoyer", "L1", "none"],
)
def test_regularizers_of_singular_values(sparsity, expected):
    decomposed = dlrt.decompose(images(), sparsity=sparsity)
    found = rows(decomposed)[0].layers[1].regularizer
    assert type(found) is type(expected)
    if expected is not None:
        assert found.get_config() == expected.get_config()


def test_arguments_of_layers_stay():
    layer = keras.layers.Dense(
        4,
        activation="relu",
        kernel_regularizer="l2",
        bias_regularizer="l1",
        activity_regularizer="l1",
        trainable=False,
        dtype="mixed_float16",
        name="dense",
    )
    model = fill(keras.Sequential([keras.Input((5,)), layer]))
    (row,) = rows(dlrt.decompose(model))
    first, values, second = row.layers
    assert not row.trainable_weights
    assert {x.dtype_policy.name for x in row.layers} == {"mixed_float16"}
    assert first.activation is keras.activations.linear
    assert second.activation is keras.activations.relu
    assert second.bias_regularizer is not None
    assert first.activity_regularizer is None
    assert second.activity_regularizer is not None
    (whole,) = dlrt.to_dense(dlrt.decompose(model)).layers
    changed = {"kernel_regularizer": None}
    assert whole.get_config() == {**layer.get_config(), **changed}


def test_the_model_is_left_as_it_was(model):
    weights, config = model.get_weights(), model.get_config()
    decomposed = dlrt.decompose(model)
    for weight in decomposed.weights:
        weight.assign(np.zeros(weight.shape))
    for after, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(after, before)
    assert model.get_config() == config


def test_decomposing_again_makes_vectors_orthonormal(model):
    decomposed = disturbed(dlrt.decompose(model, structure="separable"))
    again = dlrt.decompose(decomposed, structure="separable", sparsity=None)
    assert_same_outputs(again, decomposed)
    assert float(sum(decomposed.losses)) > 1e-3 > float(sum(again.losses))
    assert [row.name for row in rows(again)] == [row.name for row in rows(decomposed)]
    assert [len(row.layers) for row in rows(again)] == [3] * len(rows(again))


# The way back


@pytest.mark.parametrize(
    "structure, back",
    [
        ("pointwise", dlrt.to_dense),
        ("separable", dlrt.merge),
        *slow(("pointwise", dlrt.merge), ("separable", dlrt.to_dense)),
    ],
)
def test_rows_become_the_layers_that_they_stand_for(model, structure, back):
    decomposed = disturbed(dlrt.decompose(model, structure=structure))
    whole = back(decomposed)
    assert_same_outputs(whole, decomposed)
    assert not rows(whole)
    assert whole.count_params() == model.count_params()
    types = [
        {x.name: type(x) for x in each._flatten_layers() if x.weights and x is not each}
        for each in (whole, model)
    ]
    assert types[0] == types[1]


def test_convert_takes_rows_for_the_layers_that_they_stand_for():
    model = images()
    converted = dlrt.convert(dlrt.decompose(model), rank=2, layers="hidden")
    assert isinstance(converted.get_layer("hidden"), dlrt.layers.LowRankDense)
    assert_same_outputs(converted, dlrt.convert(model, rank=2, layers="hidden"))


def row_like(first, middle, second):
    row = keras.Sequential([first, middle, second], name="row")
    return keras.Sequential([keras.Input((8, 8, 4)), row])


@pytest.mark.parametrize(
    "first, middle, second",
    [
        (
            keras.layers.Conv2D(3, 3, use_bias=False, activation="relu"),
            dlrt.layers.SingularValues(),
            keras.layers.Conv2D(4, 1),
        ),
        (
            keras.layers.Conv2D(3, 3),
            dlrt.layers.SingularValues(),
            keras.layers.Conv2D(4, 1),
        ),
        (
            keras.layers.Conv2D(3, 3, use_bias=False),
            dlrt.layers.SingularValues(),
            keras.layers.Conv2D(4, 3),
        ),
        (
            keras.layers.Conv2D(3, (1, 3), use_bias=False, strides=2),
            dlrt.layers.SingularValues(),
            keras.layers.Conv2D(4, (3, 1)),
        ),
        (
            keras.layers.Conv2D(3, (1, 3), use_bias=False, padding="same"),
            dlrt.layers.SingularValues(),
            keras.layers.Conv2D(4, (3, 1)),
        ),
        (
            keras.layers.Conv2D(4, 3, use_bias=False, groups=2),
            dlrt.layers.SingularValues(),
            keras.layers.Conv2D(4, 1),
        ),
        (
            keras.layers.Dense(3, use_bias=False),
            dlrt.layers.SingularValues(),
            keras.layers.Conv2D(4, 1),
        ),
        (
            keras.layers.Dense(3, use_bias=False),
            keras.layers.ReLU(),
            keras.layers.Dense(4),
        ),
    ],
    ids=[
        "activation",
        "bias",
        "two sizes",
        "two strides",
        "two paddings",
        "groups",
        "two types",
        "no values",
    ],
)
def test_three_layers_that_are_not_one_stay_three(first, middle, second):
    model = row_like(first, middle, second)
    assert len(dlrt.to_dense(model).layers[0].layers) == 3


# Pruning


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    "budget", [{"ratio": 1.5}, *slow({"error": 0.4}, {"flops": 20000})]
)
def test_pruning_is_the_best_approximation_of_the_product(structure, budget):
    decomposed = disturbed(dlrt.decompose(images(), structure=structure))
    whole = dlrt.to_dense(decomposed)
    pruned, report = dlrt.compress(decomposed, "hoyer", budget)
    expected, expected_report = dlrt.compress(
        whole, "svd", budget, structure=structure, allocation="error"
    )
    assert_same_outputs(pruned, expected)
    assert report == expected_report
    assert report.parameters_before == images().count_params()
    assert any(row.structure == structure for row in report.layers)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_full_budget_is_the_model(model, structure):
    decomposed = disturbed(dlrt.decompose(model, structure=structure))
    before = decomposed.get_weights()
    for budget in ({"ratio": 1}, {"error": 0.0}):
        whole, report = dlrt.compress(decomposed, "hoyer", budget)
        assert_same_outputs(whole, decomposed)
        assert report.parameters <= report.parameters_before == model.count_params()
    for weight, value in zip(decomposed.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("error", [0.1, 0.5])
def test_an_error_is_what_is_left_out_of_the_energy(error):
    decomposed = dlrt.decompose(images(), layers="hidden")
    s = array(decomposed.get_layer("hidden").layers[1].s)
    values = np.geomspace(1, 1e-3, len(s))
    decomposed.get_layer("hidden").layers[1].s.assign(values)
    kept = np.cumsum(values**2) / np.sum(values**2)
    _, report = dlrt.compress(decomposed, "hoyer", {"error": error}, layers="hidden")
    assert report.layers[0].ranks == (int(np.argmax(kept >= 1 - error**2)) + 1,)


def test_signs_of_singular_values_do_not_matter():
    decomposed = dlrt.decompose(images(), layers="hidden")
    budget = {"ranks": {"hidden": 3}}
    expected, _ = dlrt.compress(decomposed, "hoyer", budget)
    _, values, second = decomposed.get_layer("hidden").layers
    values.s.assign(-array(values.s))
    second.kernel.assign(-array(second.kernel))
    assert_same_outputs(dlrt.compress(decomposed, "hoyer", budget)[0], expected)


def test_other_methods_take_rows_for_the_layers_that_they_stand_for():
    decomposed = disturbed(dlrt.decompose(images(), structure="separable"))
    whole = dlrt.to_dense(decomposed)
    for method in ("svd", "alds", "tucker"):
        pruned, report = dlrt.compress(decomposed, method, {"ratio": 1.5})
        expected, expected_report = dlrt.compress(whole, method, {"ratio": 1.5})
        assert report == expected_report
        assert_same_outputs(pruned, expected)


def test_bases_that_collapsed_are_pruned():
    decomposed = dlrt.decompose(images(), layers="hidden")
    first, values, _ = decomposed.get_layer("hidden").layers
    kernel = array(first.kernel)
    first.kernel.assign(np.repeat(kernel[:, :1], kernel.shape[1], axis=1))
    pruned, report = dlrt.compress(decomposed, "hoyer", {"error": 1e-4})
    assert report.layers[-2].ranks == (1,)
    assert_same_outputs(pruned, decomposed)
    values.s.assign(np.zeros(values.s.shape))
    _, report = dlrt.compress(decomposed, "hoyer", {"error": 1e-4})
    assert (report.layers[-2].ranks, report.layers[-2].error) == ((1,), 0.0)


# Training


@pytest.fixture(scope="module")
def digits():
    data = dlrt.datasets.load("digits")
    # As the 8 × 8 pixels that they have.
    parts = (data.x_train, data.y_train, data.x_test, data.y_test)
    x, y, x_test, y_test = parts
    return x[:, 5:26:3, 5:26:3, None], y, x_test[:, 5:26:3, 5:26:3, None], y_test


def network():
    return keras.Sequential(
        [
            keras.Input((7, 7, 1)),
            keras.layers.Conv2D(12, 3, activation="relu", name="conv"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu", name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="last"),
        ]
    )


def fit(model, digits, epochs, learning_rate=3e-3):
    x, y, _, _ = digits
    model.compile(keras.optimizers.Adam(learning_rate), LOSS, metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)


def accuracy(model, digits):
    model.compile(loss=LOSS, metrics=["accuracy"])
    return model.evaluate(*digits[2:], verbose=0)[1]


def energy(row):
    """The share of the energy that a quarter of the singular values has."""
    s = np.linalg.svd(row_matrix(row), compute_uv=False)
    return np.sum(s[: len(s) // 4] ** 2) / np.sum(s**2)


def row_matrix(row):
    first, values, second = (array(x.weights[0]) for x in row.layers)
    return first.reshape(-1, len(values)) * values @ second.reshape(len(values), -1)


@pytest.fixture(scope="module")
def trained(digits):
    """A dense network, and what becomes of it with and without sparsity."""
    keras.utils.set_random_seed(0)
    dense = network()
    fit(dense, digits, 10)
    decomposed = {}
    for sparsity in (None, 0.3):
        keras.utils.set_random_seed(1)
        decomposed[sparsity] = dlrt.decompose(dense, sparsity=sparsity)
        fit(decomposed[sparsity], digits, 12)
    return dense, decomposed[None], decomposed[0.3]


# On JAX training takes long, as it is compiled here. These layers are trained there by
# `test_training_goes_on_from_a_file`.
@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_the_regularizer_makes_singular_values_few(trained, digits):
    dense, without, sparse = trained
    for row, other in zip(rows(sparse)[:-1], rows(without)[:-1], strict=True):
        assert energy(row) > energy(other) + 0.1
    assert accuracy(sparse, digits) > accuracy(dense, digits) - 0.02
    orthogonality = [
        float(layer.kernel_regularizer(layer.kernel))
        for row in rows(sparse)
        for layer in (row.layers[0], row.layers[2])
    ]
    assert max(orthogonality) < 0.02


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_pruning_then_costs_little(trained, digits):
    _, without, sparse = trained
    pruned, report = dlrt.compress(sparse, "hoyer", {"error": 0.1})
    assert accuracy(pruned, digits) > accuracy(sparse, digits) - 0.02
    _, other = dlrt.compress(without, "hoyer", {"error": 0.1})
    assert report.ratio > 1.3 > 1.1 > other.ratio
    keras_layers = {type(x).__module__.split(".")[0] for x in pruned._flatten_layers()}
    assert keras_layers == {"keras"}


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_one_call_decomposes_trains_prunes_and_fine_tunes(trained, digits):
    dense = trained[0]
    seen = []

    def train(model):
        seen.append(len(rows(model)))
        fit(model, digits, 2)

    def fine_tune(model):
        seen.append(accounting.parameter_count(model))
        fit(model, digits, 2)

    pruned, report = dlrt.compress(
        dense,
        "hoyer",
        {"ratio": 2},
        structure="separable",
        train=train,
        fine_tune=fine_tune,
    )
    assert seen == [4, report.parameters]
    convolutions = {row.structure for row in report.layers if row.type == "Conv2D"}
    assert convolutions <= {"separable", "dense"}
    assert report.parameters_before == dense.count_params()
    assert accuracy(pruned, digits) > 0.7


def test_models_that_are_decomposed_are_trained_as_they_are():
    decomposed = dlrt.decompose(images(), sparsity=None, layers="hidden")
    before = decomposed.get_weights()

    def train(model):
        (row,) = rows(model)
        assert row.layers[1].regularizer is None
        for weight in model.weights:
            weight.assign(np.ones(weight.shape))

    pruned, report = dlrt.compress(decomposed, "hoyer", {"error": 1e-3}, train=train)
    assert next(r for r in report.layers if r.name == "hidden").ranks == (1,)
    for weight, value in zip(decomposed.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
def test_training_goes_on_from_a_file(structure, digits, tmp_path):
    keras.utils.set_random_seed(0)
    decomposed = dlrt.decompose(network(), structure=structure)
    x, y, _, _ = digits
    decomposed.compile(keras.optimizers.Adam(3e-3), LOSS)
    options = dict(batch_size=64, verbose=0, shuffle=False)
    decomposed.fit(x[:256], y[:256], **options)
    decomposed.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    for model in (decomposed, restored):
        model.fit(x[:256], y[:256], **options)
    for one, other in zip(
        restored.get_weights(), decomposed.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    reports = [
        dlrt.compress(model, "hoyer", {"ratio": 2})[1]
        for model in (restored, decomposed)
    ]
    assert [r.ranks for r in reports[0].layers] == [r.ranks for r in reports[1].layers]
    assert any(row.structure == structure for row in reports[0].layers)


# Bad arguments


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"structure": "grouped"}, "`structure` must be one of.*'separable'.*grouped"),
        ({"structure": None}, "`structure` must be one of.*structure=None"),
        ({"orthogonality": -1}, "`orthogonality` must be a number of at least 0.*-1"),
        ({"sparsity": -0.1}, "`sparsity` must be a number of at least 0.*-0.1"),
        ({"sparsity": float("nan")}, "`sparsity` must be a number of at least 0.*nan"),
        ({"sparsity": "sparse"}, "sparse"),
        ({"layers": "nothing"}, "`layers` must select"),
        ({"layers": ["norm"]}, "`layers` names no layer.*'norm'"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dlrt.decompose(images(), **arguments)


def test_models_that_can_not_be_decomposed():
    with pytest.raises(ValueError, match="`model` must be built"):
        dlrt.decompose(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="'embedding' of type Embedding can't be"):
        dlrt.decompose(shared(), layers="embedding")
    model = images()
    kernel = model.get_layer("same").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ValueError, match="NaN or infinity.*same/kernel"):
        dlrt.decompose(model)
    x = keras.Input((6, 6, 4))
    grouped = keras.Model(x, keras.layers.Conv2D(4, 3, groups=2, name="grouped")(x))
    with pytest.raises(ValueError, match="'grouped' has 2 groups"):
        dlrt.decompose(grouped, layers="grouped")


def test_what_can_not_be_done_is_refused_before_training():
    def train(model):
        raise AssertionError("This is not to be called.")

    model = images()
    for budget, message in (
        ({"parameters": 10}, "too small.*at least"),
        ({"ranks": {"hidden": 100}}, "must be ranks that"),
        ({"ratio": 0}, "must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            dlrt.compress(model, "hoyer", budget, train=train)
    with pytest.raises(ValueError, match="`train` must be `None` but for.*'hoyer'"):
        dlrt.compress(model, "svd", {"ratio": 2}, train=train)


def test_training_that_diverged_is_refused():
    def train(model):
        weight = rows(model)[0].weights[0]
        weight.assign(np.full(weight.shape, np.nan))

    with pytest.raises(ValueError, match="NaN or infinity.*same_k/kernel"):
        dlrt.compress(images(), "hoyer", {"ratio": 2}, train=train)
