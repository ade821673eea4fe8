import keras
import numpy as np
import pytest
from conftest import label
from keras import ops

import dlrt
from dlrt.layers import LowRankDense

KEEP = {"layers": ".*"}


def array(values):
    return np.asarray(ops.convert_to_numpy(values))


def inputs(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def fill(model):
    """Random weights, biases included."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name == "moving_variance":
            weight.assign(rng.uniform(0.5, 1.5, size=weight.shape))
        else:
            weight.assign(rng.normal(size=weight.shape) / 3)
    return model


def sequential():
    return fill(
        keras.Sequential(
            [
                keras.Input((20,)),
                keras.layers.Dense(16, activation="relu", name="first"),
                keras.layers.Dense(12, use_bias=False, name="second"),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(4, activation="softmax", name="last"),
            ]
        )
    )


def branched():
    x = keras.Input((20,), name="x")
    left = keras.layers.Dense(20, activation="tanh", name="left")(x)
    right = keras.layers.Dense(20, activation="relu", name="right")(x)
    joined = keras.layers.Add()([left, right])
    joined = keras.layers.Concatenate()([joined, x])
    out = keras.layers.Dense(3, name="out")(joined)
    aside = keras.layers.Dense(20, name="aside")(left)
    return fill(keras.Model(x, {"out": out, "aside": aside}))


def nested():
    inner = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(20, activation="relu", name="inside"),
        ],
        name="inner",
    )
    x = keras.Input((20,))
    functional = keras.Model(x, keras.layers.Dense(20, name="deep")(x), name="block")
    return fill(
        keras.Sequential(
            [
                keras.Input((20,)),
                functional,
                inner,
                keras.layers.Dense(2, name="last"),
            ]
        )
    )


def shared():
    layer = keras.layers.Dense(20, activation="tanh", name="shared")
    a, b = keras.Input((20,)), keras.Input((20,))
    joined = keras.layers.Subtract()([layer(layer(a)), layer(b)])
    return fill(keras.Model([a, b], keras.layers.Dense(2, name="last")(joined)))


def with_shared_model():
    block = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(20, name="inside")], name="block"
    )
    a, b = keras.Input((20,)), keras.Input((20,))
    joined = keras.layers.Subtract()([block(a), block(b)])
    return fill(keras.Model([a, b], keras.layers.Dense(2, name="last")(joined)))


MODELS = [sequential, branched, nested, shared]


@pytest.fixture(params=MODELS, ids=lambda make: make.__name__)
def model(request):
    return request.param()


def data_for(model):
    data = [inputs(5, 20, seed=i) for i in range(len(model.inputs))]
    return data if len(data) > 1 else data[0]


def outputs(model, data):
    result = model(data)
    if isinstance(result, dict):
        return np.concatenate([array(result[k]) for k in sorted(result)], axis=-1)
    return array(result)


def all_layers(model):
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.Model)
    ]


def low_rank_layers(model):
    layers = [x for x in all_layers(model) if isinstance(x, LowRankDense)]
    return {layer.name: layer for layer in layers}


def kernel_of(model, name):
    (layer,) = {x for x in all_layers(model) if x.name == name}
    return array(layer.kernel).astype("float64")


def assert_close(actual, expected, relative=1e-5):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= relative * np.abs(expected).max()


# What is kept


@pytest.mark.parametrize("rank", [3, 11])
def test_kept_is_the_best_approximation(rank):
    model = sequential()
    low_rank = dlrt.convert(model, rank=rank, **KEEP)
    assert set(low_rank_layers(low_rank)) == {"first", "second", "last"}
    for name, layer in low_rank_layers(low_rank).items():
        w = kernel_of(model, name)
        u, s, v = (np.asarray(f, "float64") for f in layer.factors)
        kept = min(rank, *w.shape)
        assert layer.rank == layer.capacity == kept
        tail = np.linalg.norm(np.linalg.svd(w, compute_uv=False)[kept:])
        error = np.linalg.norm(u @ s @ v.T - w)
        assert error == pytest.approx(tail, rel=1e-4, abs=1e-5)
        for basis in (u, v):
            np.testing.assert_allclose(basis.T @ basis, np.eye(kept), atol=1e-5)


@pytest.mark.parametrize("tolerance", [0.2, 0.9])
def test_tolerance_bounds_the_relative_error_with_the_smallest_rank(tolerance):
    model = sequential()
    low_rank = dlrt.convert(model, tolerance=tolerance, **KEEP)
    for name, layer in low_rank_layers(low_rank).items():
        values = np.linalg.svd(kernel_of(model, name), compute_uv=False)
        tails = [np.linalg.norm(values[k:]) for k in range(len(values))] + [0.0]
        allowed = tolerance * np.linalg.norm(values)
        expected = max(1, next(k for k, t in enumerate(tails) if t <= allowed))
        assert layer.rank == expected


@pytest.mark.parametrize("ratio", [0.05, 0.5])
def test_ratio_bounds_the_parameters_of_a_kernel(ratio):
    low_rank = dlrt.convert(sequential(), ratio=ratio, **KEEP)
    for layer in low_rank_layers(low_rank).values():
        n, m = layer.matrix_shape
        assert layer.rank == max(1, int(ratio * n * m / (n + m)))
        assert layer.rank * (n + m) <= ratio * n * m or layer.rank == 1


def test_nearly_all_kept_predicts_the_same(model):
    low_rank = dlrt.convert(model, tolerance=1e-6, **KEEP)
    assert not any(type(x) is keras.layers.Dense for x in all_layers(low_rank))
    data = data_for(model)
    assert_close(outputs(low_rank, data), outputs(model, data))


def test_low_rank_kernel_is_found_exactly():
    model = sequential()
    layer = model.get_layer("first")
    layer.kernel.assign(inputs(20, 3) @ inputs(3, 16, seed=1))
    low_rank = dlrt.convert(model, tolerance=1e-4, layers="first")
    assert low_rank.get_layer("first").rank == 3
    data = inputs(5, 20)
    assert_close(outputs(low_rank, data), outputs(model, data))


# Which layers


def test_default_leaves_the_last_layer_and_those_that_would_grow():
    model = sequential()
    assert set(low_rank_layers(dlrt.convert(model, rank=3))) == {"first", "second"}
    # 7 (20 + 16) < 20 16, but 7 (16 + 12) > 16 12.
    assert set(low_rank_layers(dlrt.convert(model, rank=7))) == {"first"}
    single = keras.Sequential([keras.Input((20,)), keras.layers.Dense(20, name="only")])
    assert set(low_rank_layers(dlrt.convert(single, rank=2))) == {"only"}


@pytest.mark.parametrize(
    "layers, expected",
    [
        ("first|last", {"first", "last"}),
        (".*s.*", {"first", "second", "last"}),
        (["second"], {"second"}),
        (("last", "first"), {"last", "first"}),
        ({"first"}, {"first"}),
        (lambda layer: layer.units > 12, {"first"}),
    ],
    ids=label,
)
def test_chosen_layers(layers, expected):
    low_rank = dlrt.convert(sequential(), rank=2, layers=layers)
    assert set(low_rank_layers(low_rank)) == expected


def test_names_are_matched_in_full():
    with pytest.raises(ValueError, match="`layers` selects no layer"):
        dlrt.convert(sequential(), rank=2, layers="fir")


def test_nested_and_shared_layers_are_reached():
    assert set(low_rank_layers(dlrt.convert(nested(), rank=2))) == {"inside", "deep"}
    low_rank = dlrt.convert(shared(), rank=2)
    assert set(low_rank_layers(low_rank)) == {"shared"}
    # One layer with one set of weights, still.
    assert len(low_rank.weights) == 4 + 2
    assert len(dlrt.convert(with_shared_model(), rank=2).weights) == 4 + 2


# What stays


def test_model_is_left_as_it_was(model):
    weights, config = model.get_weights(), model.get_config()
    copies = dlrt.convert(model, rank=2), dlrt.to_dense(model), dlrt.merge(model)
    for copy in copies:
        for weight in copy.weights:
            weight.assign(np.zeros(weight.shape))
    for after, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(after, before)
    assert model.get_config() == config


def test_copies_are_of_the_same_kind_and_not_compiled():
    for make in (sequential, branched):
        model = make()
        model.compile("adam", "mse")
        low_rank = dlrt.convert(model, rank=2)
        for copy in (low_rank, dlrt.to_dense(low_rank), dlrt.merge(low_rank)):
            assert type(copy) is type(model)
            assert copy.name == model.name
            assert not copy.compiled
            assert copy.built


def test_arguments_of_the_layers_stay():
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(
                16,
                activation="gelu",
                use_bias=False,
                kernel_initializer="he_normal",
                kernel_regularizer=keras.regularizers.L2(0.1),
                dtype="mixed_bfloat16",
                trainable=False,
                name="layer",
            ),
            keras.layers.Dense(
                16,
                bias_regularizer="l1",
                bias_constraint="non_neg",
                activity_regularizer="l2",
                name="other",
            ),
        ]
    )
    low_rank = dlrt.convert(model, rank=16, **KEEP)
    for copy in (low_rank, dlrt.to_dense(low_rank)):
        layer, other = copy.layers
        assert layer.activation is keras.activations.gelu
        assert layer.bias is None and not layer.use_bias
        assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal)
        assert layer.kernel_regularizer.l2 == pytest.approx(0.1)
        assert layer.compute_dtype == "bfloat16"
        assert not layer.trainable
        assert isinstance(other.bias_regularizer, keras.regularizers.L1)
        assert isinstance(other.bias_constraint, keras.constraints.NonNeg)
        assert isinstance(other.activity_regularizer, keras.regularizers.L2)


def test_every_other_weight_is_carried_over():
    model = sequential()
    low_rank = dlrt.convert(model, rank=2, layers="first")
    for name in ("second", "last", "batch_normalization"):
        layers = [
            next(x for x in m.layers if x.name.startswith(name))
            for m in (model, low_rank)
        ]
        for old, new in zip(*(x.get_weights() for x in layers), strict=True):
            np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(
        array(low_rank.get_layer("first").bias), array(model.get_layer("first").bias)
    )


def test_converted_model_round_trips_through_a_file(tmp_path, model):
    low_rank = dlrt.convert(model, rank=2)
    low_rank.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    data = data_for(model)
    np.testing.assert_array_equal(outputs(restored, data), outputs(low_rank, data))


# Back


@pytest.mark.parametrize("back", [dlrt.to_dense, dlrt.merge])
@pytest.mark.parametrize("rank", [2, 100])
def test_back_predicts_the_same(model, back, rank):
    low_rank = dlrt.convert(model, rank=rank, **KEEP)
    other = back(low_rank)
    data = data_for(model)
    assert_close(outputs(other, data), outputs(low_rank, data))
    assert not low_rank_layers(other)


def test_padded_factors_are_merged_at_their_rank():
    low_rank = dlrt.convert(sequential(), rank=2, **KEEP)
    data = inputs(5, 20)
    expected = outputs(low_rank, data)
    for layer in low_rank_layers(low_rank).values():
        layer.set_factors(layer.factors, capacity=4)
    for back in (dlrt.to_dense, dlrt.merge):
        assert_close(outputs(back(low_rank), data), expected)
    merged = dlrt.merge(low_rank)
    assert merged.layers[0].layers[0].units == 2


def test_to_dense_restores_names_shapes_and_arguments():
    model = sequential()
    dense = dlrt.to_dense(dlrt.convert(model, rank=2))
    assert [x.name for x in dense.layers] == [x.name for x in model.layers]
    assert [w.shape for w in dense.weights] == [w.shape for w in model.weights]
    for old, new in zip(model.layers, dense.layers, strict=True):
        assert type(new) is type(old)
        assert new.get_config() == old.get_config()


def test_merge_has_two_kernels_where_that_is_smaller_and_one_elsewhere():
    low_rank = dlrt.convert(sequential(), rank=7, layers="first|second")
    merged = dlrt.merge(low_rank)
    sizes = [w.shape for w in merged.weights if len(w.shape) == 2]
    assert sizes == [(20, 7), (7, 16), (16, 12), (12, 4)]
    assert merged.count_params() < low_rank.count_params()


def test_merged_model_has_standard_layers_and_loads_without_this_package(
    tmp_path, model
):
    merged = dlrt.merge(dlrt.convert(model, rank=2, **KEEP))
    standard = "keras.src"
    assert all(type(x).__module__.startswith(standard) for x in all_layers(merged))
    merged.save(tmp_path / "model.keras")
    data = data_for(model)
    expected = outputs(merged, data)
    registered = keras.saving.get_custom_objects()
    known = dict(registered)
    registered.clear()
    try:
        restored = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        registered.update(known)
    np.testing.assert_array_equal(outputs(restored, data), expected)


# Bad arguments


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "Exactly one of `rank`, `tolerance` and `ratio`.*none of them"),
        ({"rank": 2, "ratio": 0.5}, "Exactly one of.*'rank': 2.*'ratio': 0.5"),
        ({"rank": 0}, "`rank` must be a positive integer.*rank=0"),
        ({"rank": -2}, "`rank` must be a positive integer.*rank=-2"),
        ({"tolerance": 0.0}, r"`tolerance` must lie in \(0, 1\).*tolerance=0.0"),
        ({"tolerance": 1.0}, r"`tolerance` must lie in \(0, 1\).*tolerance=1.0"),
        ({"ratio": 0}, r"`ratio` must lie in \(0, 1\).*ratio=0"),
        ({"ratio": 1.5}, r"`ratio` must lie in \(0, 1\).*ratio=1.5"),
        ({"ratio": float("nan")}, r"`ratio` must lie in \(0, 1\).*nan"),
        ({"rank": 2, "layers": ["first", "no"]}, r"names no layer.*\['no'\]"),
        ({"rank": 2, "layers": "no"}, "selects no layer.*'no'.*'first'"),
        ({"rank": 2, "layers": []}, "selects no layer"),
        ({"rank": 2, "layers": lambda layer: False}, "selects no layer"),
        ({"rank": 15}, "selects no layer that would become smaller"),
    ],
    ids=label,
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dlrt.convert(sequential(), **arguments)


@pytest.mark.parametrize("rank", [2.5, "2", True])
def test_rank_must_be_an_integer(rank):
    with pytest.raises((TypeError, ValueError), match="`rank`"):
        dlrt.convert(sequential(), rank=rank)


def test_kernel_constraint_is_refused():
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(20, kernel_constraint="non_neg", name="bound"),
        ]
    )
    with pytest.raises(ValueError, match="'bound' has a kernel constraint"):
        dlrt.convert(model, rank=2)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(20)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize(
    "change",
    [lambda m: dlrt.convert(m, rank=2), dlrt.to_dense, dlrt.merge],
    ids=["convert", "to_dense", "merge"],
)
def test_models_that_can_not_be_taken_apart(change):
    unbuilt = keras.Sequential([keras.layers.Dense(20), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`model` must be built"):
        change(unbuilt)
    subclassed = Subclassed()
    subclassed(inputs(2, 20))
    with pytest.raises(ValueError, match="Only Sequential and functional.*Subclassed"):
        change(subclassed)


def test_a_subclassed_model_inside_is_an_error_too():
    x = keras.Input((20,))
    model = keras.Model(x, Subclassed()(keras.layers.Dense(20, name="outside")(x)))
    with pytest.raises(ValueError, match="Subclassed"):
        dlrt.convert(model, rank=2)
