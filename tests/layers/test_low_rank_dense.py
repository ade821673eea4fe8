import gradients
import keras
import numpy as np
import pytest
from conftest import label, slow
from helpers import inputs
from keras import ops

import dlrt
from dlrt import Factors
from dlrt.layers import LowRankDense

N, UNITS = 6, 5
array = gradients.array


def built(features=N, units=UNITS, rank=3, **kwargs):
    layer = LowRankDense(units, rank=rank, **kwargs)
    layer.build((None, features))
    return layer


def dense_of(layer):
    u, s, v = (np.asarray(f, "float64") for f in layer.factors)
    return u @ s @ v.T


@keras.saving.register_keras_serializable(package="tests")
def checkerboard(shape, dtype=None):
    return ops.cast(np.indices(shape).sum(axis=0) % 3 - 0.5, dtype or "float32")


@keras.saving.register_keras_serializable(package="tests")
def sixth_power(kernel):
    return ops.sum(ops.power(kernel, 6))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def double():
    return {"dtype": "float64"}


# Against Dense


def with_dense(low_rank_kwargs=None, dense_kwargs=None, shape=(4, N), **kwargs):
    """Both layers with one full-rank kernel, and outputs for one input."""
    low_rank = LowRankDense(
        UNITS, rank=min(shape[-1], UNITS), **kwargs, **(low_rank_kwargs or {})
    )
    dense = keras.layers.Dense(UNITS, **kwargs, **(dense_kwargs or {}))
    x = inputs(*shape)
    low_rank(x), dense(x)
    dense.kernel.assign(array(low_rank.kernel))
    if kwargs.get("use_bias", True):
        bias = inputs(UNITS, seed=9)
        low_rank.bias.assign(bias)
        dense.bias.assign(bias)
    return low_rank, dense, x


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"activation": "relu"},
        {"activation": keras.activations.softmax},
        {"use_bias": False},
        {"kernel_initializer": "zeros"},
        {"kernel_initializer": "orthogonal"},
        {"kernel_initializer": checkerboard},
        {"kernel_initializer": "he_normal", "bias_initializer": "ones"},
    ],
    ids=label,
)
@pytest.mark.parametrize("shape", [(2, 3, 2, N), *slow(((4, N),))], ids=str)
def test_equals_dense_at_full_rank(kwargs, shape):
    low_rank, dense, x = with_dense(shape=shape, **kwargs)
    y = low_rank(x)
    assert tuple(y.shape) == (*shape[:-1], UNITS)
    assert tuple(y.shape) == low_rank.compute_output_shape(shape)
    np.testing.assert_allclose(array(y), array(dense(x)), atol=2e-6)


@pytest.mark.parametrize(
    "regularizer",
    [
        keras.regularizers.L2(0.3),
        keras.regularizers.OrthogonalRegularizer(0.2),
        sixth_power,
    ],
    ids=["L2", "orthogonal", "function"],
)
def test_penalty_of_the_kernel_equals_that_of_dense(regularizer):
    low_rank, dense, _ = with_dense(
        kernel_regularizer=regularizer, bias_regularizer=keras.regularizers.L1(0.1)
    )
    assert len(low_rank.losses) == len(dense.losses) == 2
    assert float(sum(low_rank.losses)) == pytest.approx(
        float(sum(dense.losses)), rel=1e-4
    )
    assert float(sum(dense.losses)) > 0


@pytest.mark.parametrize(
    "regularizer, l1, l2",
    [
        (keras.regularizers.L1(0.2), 0.2, 0.0),
        ("l1", 0.01, 0.0),
        (keras.regularizers.L1L2(0.2, 0.5), 0.2, 0.5),
        (keras.regularizers.L2(0.5), 0.0, 0.5),
    ],
)
def test_l1_is_the_nuclear_norm_and_l2_the_squared_frobenius_norm(regularizer, l1, l2):
    layer = built(kernel_regularizer=regularizer)
    layer.set_factors(layer.factors._replace(s=inputs(3, 3)))
    w = dense_of(layer)
    expected = l1 * np.linalg.norm(w, "nuc") + l2 * np.sum(w**2)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    layer.set_factors(layer.factors, capacity=5)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_activity_regularizer_and_bias_constraint_as_in_dense():
    low_rank, dense, x = with_dense(
        activity_regularizer=keras.regularizers.L2(0.5), bias_constraint="non_neg"
    )
    low_rank(x), dense(x)
    assert float(sum(low_rank.losses)) == pytest.approx(
        float(sum(dense.losses)), rel=1e-5
    )
    assert low_rank.bias.constraint is not None
    assert type(low_rank.bias.constraint) is type(dense.bias.constraint)


def test_mask_passes_through():
    x = inputs(2, 4, N)
    x[0, 2:] = 0.0
    model = keras.Sequential(
        [
            keras.Input((4, N)),
            keras.layers.Masking(),
            LowRankDense(UNITS, rank=2, bias_initializer="ones"),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    layer = model.layers[1]
    kept = array(layer(x[0, :2]))
    np.testing.assert_allclose(array(model(x))[0], kept.mean(axis=0), atol=1e-5)


# Gradients


@pytest.mark.parametrize("shape", [(2, 3, N), *slow(((4, N),))], ids=str)
@pytest.mark.parametrize(
    "capacity, at_rank", [(3, False), (5, False), (5, True)], ids=str
)
def test_layer_reports_galerkin_gradients(shape, capacity, at_rank, double):
    layer = built(activation="sigmoid", **double)
    layer.computes_at_rank = at_rank
    u, s, v = layer.factors
    s = inputs(3, 3, dtype="float64")
    u, v = np.linalg.qr(u)[0], np.linalg.qr(v)[0]
    layer.set_factors(Factors(u, s, v), capacity)
    x, weights = inputs(*shape, dtype="float64"), inputs(*shape[:-1], UNITS, seed=3)

    found = gradients.of_layer(layer, x, lambda y: ops.sum(y**2 * weights))
    expected = gradients.galerkin(
        lambda w: np.sum(sigmoid(x @ w) ** 2 * weights), u, s, v
    )
    assert set(found) == {"u", "s", "v", "bias"}
    for name, value in expected.items():
        crop = tuple(slice(k) for k in value.shape)
        np.testing.assert_allclose(found[name][crop], value, atol=1e-7)
        # Nothing flows into the columns beyond the rank.
        found[name][crop] = 0.0
        np.testing.assert_array_equal(found[name], 0.0)
    bias = gradients.numerical(
        lambda b: np.sum(sigmoid(x @ u @ s @ v.T + b) ** 2 * weights), np.zeros(UNITS)
    )
    np.testing.assert_allclose(found["bias"], bias, atol=1e-7)


@pytest.mark.parametrize(
    "regularizer, penalty",
    [
        (keras.regularizers.L1(0.3), lambda w: 0.3 * np.linalg.norm(w, "nuc")),
        (keras.regularizers.L2(0.3), lambda w: 0.3 * np.sum(w**2)),
        (sixth_power, lambda w: np.sum(w**6)),
    ],
    ids=["L1", "L2", "function"],
)
def test_penalties_have_galerkin_gradients(regularizer, penalty, double):
    layer = built(kernel_regularizer=regularizer, **double)
    u, v = (np.linalg.qr(f)[0] for f in (layer.factors.u, layer.factors.v))
    s = inputs(3, 3, dtype="float64")
    layer.set_factors(Factors(u, s, v))
    x = inputs(2, N, dtype="float64")
    found = gradients.of_layer(layer, x, lambda y: 0.0 * ops.sum(y))
    for name, value in gradients.galerkin(penalty, u, s, v).items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


# Initialisation


@pytest.mark.parametrize(
    "initializer",
    [
        "glorot_uniform",
        "glorot_normal",
        "he_normal",
        "he_uniform",
        "lecun_normal",
        "random_normal",
        "random_uniform",
        "truncated_normal",
        keras.initializers.RandomNormal(stddev=0.3),
        keras.initializers.RandomUniform(-0.2, 0.2),
        keras.initializers.VarianceScaling(3.0, "fan_out", "uniform"),
    ],
    ids=label,
)
@pytest.mark.parametrize("shape", [(200, 80), *slow(((60, 160),))], ids=str)
def test_initial_output_variance_is_that_of_dense(initializer, shape):
    features, units = shape
    x = inputs(500, features)
    low_rank = LowRankDense(units, rank=20, kernel_initializer=initializer)
    dense = keras.layers.Dense(units, kernel_initializer=initializer)
    actual, expected = np.var(array(low_rank(x))), np.var(array(dense(x)))
    assert actual == pytest.approx(expected, rel=0.08)


def assert_orthonormal(factors, tolerance):
    for basis in (factors.u, factors.v):
        gram = np.asarray(basis, "float64").T @ np.asarray(basis, "float64")
        assert np.abs(gram - np.eye(len(gram))).max() <= tolerance


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("initializer", ["glorot_uniform", "orthogonal", "zeros"])
def test_initial_bases_are_orthonormal(initializer, dtype, tolerance):
    layer = built(30, 20, 7, kernel_initializer=initializer, dtype=dtype)
    assert_orthonormal(layer.factors, tolerance)
    assert layer.factors.u.dtype == dtype


def test_initial_bases_differ_and_follow_the_seed():
    def draw(seed):
        return built(
            8, 8, 4, kernel_initializer=keras.initializers.GlorotUniform(seed=seed)
        ).factors

    first, again, other = draw(3), draw(3), draw(4)
    np.testing.assert_array_equal(first.u, again.u)
    np.testing.assert_array_equal(first.v, again.v)
    assert np.abs(first.u - other.u).max() > 0.1
    # A square kernel would be symmetric if both bases came from one seed.
    assert np.abs(first.u - first.v).max() > 0.1
    unseeded = built(8, 8, 4).factors
    assert np.abs(unseeded.u - unseeded.v).max() > 0.1


def test_global_seed_fixes_the_initial_factors():
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        drawn.append(built().factors)
    for first, second in zip(*drawn, strict=True):
        np.testing.assert_array_equal(first, second)


def test_other_initializers_are_approximated_best():
    layer = built(rank=2, kernel_initializer=checkerboard)
    kernel = np.asarray(checkerboard((N, UNITS)))
    u, s, vh = np.linalg.svd(kernel)
    best = (u[:, :2] * s[:2]) @ vh[:2]
    np.testing.assert_allclose(dense_of(layer), best, atol=1e-5)
    assert np.linalg.norm(best) > 1.0


# Precision


@pytest.mark.parametrize(
    "policy, compute, atol",
    [
        ("float32", "float32", 1e-6),
        ("float64", "float64", 1e-13),
        ("mixed_float16", "float16", 2e-2),
        ("mixed_bfloat16", "bfloat16", 1e-1),
    ],
)
def test_dtype_policies(policy, compute, atol):
    layer = LowRankDense(
        UNITS, rank=3, dtype=policy, activation="relu", kernel_regularizer="l1l2"
    )
    x = inputs(4, N)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == compute
    variable_dtype = "float64" if policy == "float64" else "float32"
    assert {v.dtype for v in layer.weights} == {variable_dtype}
    expected = np.maximum(x.astype("float64") @ dense_of(layer), 0)
    np.testing.assert_allclose(array(y), expected, atol=atol)
    found = gradients.of_layer(layer, x, lambda y: ops.sum(ops.cast(y, variable_dtype)))
    assert all(np.isfinite(g).all() and np.any(g) for g in found.values())


# Bad arguments


@pytest.mark.parametrize("name", ["units", "rank"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "3"])
def test_sizes_must_be_positive_integers(name, value):
    arguments = {"units": 5, "rank": 2, name: value}
    with pytest.raises(
        ValueError, match=f"`{name}` must be a positive integer.*{value}"
    ):
        LowRankDense(**arguments)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan")])
def test_tolerance_must_lie_between_zero_and_one(value):
    with pytest.raises(ValueError, match=rf"`tolerance` must lie in \(0, 1\).*{value}"):
        LowRankDense(5, rank=2, tolerance=value)


@pytest.mark.parametrize(
    "value, message",
    [
        (0, "`max_rank` must be a positive integer"),
        (2.5, "`max_rank` must be a positive integer"),
        (2, "`max_rank` must be at least `rank`.*max_rank=2, rank=3"),
    ],
)
def test_max_rank_must_be_an_integer_not_below_the_rank(value, message):
    with pytest.raises(ValueError, match=message):
        LowRankDense(5, rank=3, max_rank=value)


def test_kernel_constraint_is_refused():
    with pytest.raises(ValueError, match="`kernel_constraint` must be None.*non_neg"):
        LowRankDense(5, rank=2, kernel_constraint="non_neg")


def test_rank_is_required():
    with pytest.raises(TypeError, match="rank"):
        LowRankDense(5)


@pytest.mark.parametrize(
    "features, kwargs, name",
    [
        (4, {"rank": 5}, "rank"),
        (9, {"rank": 6}, "rank"),
        (9, {"rank": 2, "max_rank": 6}, "max_rank"),
    ],
)
def test_ranks_above_the_full_one_are_refused_when_built(features, kwargs, name):
    layer = LowRankDense(5, **kwargs)
    with pytest.raises(ValueError, match=rf"`{name}` must be at most min\(n, m\)"):
        layer.build((None, features))


def test_features_must_be_known():
    with pytest.raises(ValueError, match="last dimension of the input must be known"):
        LowRankDense(5, rank=2).build((None, None))


def test_features_must_stay_and_a_vector_is_no_batch():
    layer = built()
    with pytest.raises(ValueError, match="incompatible with the layer"):
        layer(inputs(2, N + 1))
    with pytest.raises(ValueError, match="incompatible with the layer"):
        LowRankDense(5, rank=2)(inputs(N))


# Configuration and files


FULL = {
    "units": UNITS,
    "activation": "gelu",
    "use_bias": True,
    "kernel_initializer": keras.initializers.HeNormal(seed=3),
    "bias_initializer": "ones",
    "kernel_regularizer": keras.regularizers.L1(0.1),
    "bias_regularizer": "l2",
    "activity_regularizer": keras.regularizers.L2(0.01),
    "bias_constraint": keras.constraints.MaxNorm(2.0),
    "rank": 3,
    "tolerance": 0.1,
    "max_rank": 4,
    "name": "low",
    "dtype": "mixed_bfloat16",
    "trainable": False,
}


def test_configuration_round_trip():
    layer = LowRankDense(**FULL)
    config = layer.get_config()
    assert set(FULL) <= set(config)
    restored = LowRankDense.from_config(config)
    assert restored.get_config() == config
    assert isinstance(restored.kernel_initializer, keras.initializers.HeNormal)
    assert restored.compute_dtype == "bfloat16"
    assert restored.activation is keras.activations.gelu
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert again.get_config() == config


def network(rank=3, **kwargs):
    return keras.Sequential(
        [
            keras.Input((N,)),
            LowRankDense(UNITS, rank=rank, name="first", **kwargs),
            keras.layers.Dense(2, name="last"),
        ]
    )


def test_file_round_trip(tmp_path):
    model = network(activation="tanh", kernel_initializer=checkerboard)
    model.layers[0].bias.assign(inputs(UNITS))
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    x = inputs(4, N)
    np.testing.assert_array_equal(array(restored(x)), array(model(x)))
    assert [w.name for w in restored.weights] == [w.name for w in model.weights]


def test_file_holds_the_rank_and_not_the_capacity(tmp_path):
    model, exact = network(), network()
    x, layer = inputs(4, N), model.layers[0]
    exact.set_weights(model.get_weights())
    layer.set_factors(layer.factors, capacity=5)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert restored.layers[0].rank == restored.layers[0].capacity == 3
    assert restored.count_params() == exact.count_params() < model.count_params()
    np.testing.assert_allclose(array(restored(x)), array(model(x)), atol=1e-6)


def test_weights_of_another_rank_can_be_loaded(tmp_path):
    source, target = network(rank=2), network(rank=4)
    source.save_weights(tmp_path / "model.weights.h5")
    target.load_weights(tmp_path / "model.weights.h5")
    assert target.layers[0].rank == 2
    x = inputs(4, N)
    np.testing.assert_array_equal(array(target(x)), array(source(x)))


# Factors and capacity


def test_factors_can_be_replaced_at_any_rank():
    layer = built(rank=3)
    for rank in (1, 2, 5):
        new = built(rank=rank).factors
        layer.factors = new
        assert layer.rank == layer.capacity == rank
        assert [tuple(w.shape) for w in layer.weights] == [
            (N, rank),
            (rank, rank),
            (UNITS, rank),
            (UNITS,),
        ]
        for actual, expected in zip(layer.factors, new, strict=True):
            np.testing.assert_array_equal(actual, expected)
        x = inputs(4, N)
        np.testing.assert_allclose(array(layer(x)), x @ dense_of(layer), atol=1e-5)


def test_room_beyond_the_rank_changes_nothing_but_the_shapes():
    layer = built(activation="relu")
    x = inputs(4, N)
    before, names = array(layer(x)), [w.path for w in layer.weights]
    config, factors = layer.get_config(), layer.factors
    layer.set_factors(factors, capacity=5)
    assert layer.capacity == 5
    assert layer.rank == 3
    assert layer.get_config() == config
    assert [w.path for w in layer.weights] == names
    assert tuple(layer.u.shape) == (N, 5)
    np.testing.assert_allclose(array(layer(x)), before, atol=1e-6)
    np.testing.assert_array_equal(array(layer.v)[:, 3:], 0.0)
    for actual, expected in zip(layer.factors, factors, strict=True):
        np.testing.assert_array_equal(actual, expected)
    # Within the same room variables stay the same objects.
    variable = layer.u
    layer.set_factors(built(rank=2).factors, capacity=5)
    assert layer.u is variable
    assert layer.rank == 2


def test_new_variables_are_trained_and_penalised_like_the_old_ones():
    layer = built(kernel_regularizer="l2")
    layer.set_factors(layer.factors, capacity=4)
    assert len(layer.trainable_variables) == 4
    assert len(layer.losses) == 1
    assert len(gradients.of_layer(layer, inputs(2, N), ops.sum)) == 4
    layer.trainable = False
    assert layer.trainable_variables == []
    layer.set_factors(layer.factors, capacity=5)
    assert layer.trainable_variables == []


def test_factors_must_fit_the_kernel():
    layer = built()
    u, s, v = layer.factors
    for wrong in (
        Factors(u[1:], s, v),
        Factors(u, s, v[1:]),
        Factors(u, s[:2], v),
        Factors(v, s, u),
    ):
        with pytest.raises(
            ValueError, match="`factors` of a kernel of shape.*must have"
        ):
            layer.set_factors(wrong)
    with pytest.raises(ValueError, match="capacity=2"):
        layer.set_factors(Factors(u, s, v), capacity=2)
    np.testing.assert_array_equal(layer.factors.u, u)


def test_kernel_is_the_represented_matrix():
    layer = built()
    assert layer.matrix_shape == (N, UNITS)
    np.testing.assert_allclose(array(layer.kernel), dense_of(layer), atol=1e-6)


def test_number_of_parameters():
    layer = built(features=7, units=5, rank=2)
    assert layer.count_params() == 7 * 2 + 2 * 2 + 5 * 2 + 5
    assert built(use_bias=False).bias is None


# In models


def test_unknown_dimensions_in_a_functional_model():
    x = keras.Input((None, N))
    y = LowRankDense(UNITS, rank=2)(x)
    assert y.shape == (None, None, UNITS)
    model = keras.Model(x, y)
    for length in (2, 3):
        data = inputs(4, length, N)
        np.testing.assert_allclose(
            model.predict(data, verbose=0), array(model.layers[1](data)), atol=1e-6
        )


def test_shared_layer_has_one_set_of_weights():
    layer = LowRankDense(N, rank=2)
    x = keras.Input((N,))
    model = keras.Model(x, layer(layer(x)))
    assert len(model.weights) == 4
    data = inputs(3, N)
    np.testing.assert_allclose(array(model(data)), array(layer(layer(data))), atol=1e-6)


def test_layer_remembers_the_outermost_models():
    inner = network()
    layer = inner.layers[0]
    outer = keras.Sequential([keras.Input((N,)), inner])
    outer(inputs(2, N))
    assert layer.outermost_models() == [outer]
    inner(inputs(2, N))
    assert set(layer.outermost_models()) == {inner, outer}
    assert built().outermost_models() == []


def test_calling_without_the_layer_machinery_leaves_no_trace():
    # As `stateless_call` does.
    built().call(ops.convert_to_tensor(inputs(2, N)))
    inner = network()
    outer = keras.Sequential([keras.Input((N,)), inner])
    outer(inputs(2, N))
    assert inner.layers[0].outermost_models() == [outer]


def test_compiled_call(compiled):
    layer = built(activation="tanh")
    x = ops.convert_to_tensor(inputs(4, N))
    np.testing.assert_allclose(array(compiled(layer)(x)), array(layer(x)), atol=1e-6)


def test_exported_from_the_package():
    assert dlrt.layers.LowRankDense is LowRankDense
