"""What all low-rank layers have in common, as `contract.CASES` lists them."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import EAGER, slow
from contract import CASES, QUICK, array, gradients_of, parts
from keras import ops

import dlrt
from dlrt import accounting
from dlrt.backend.autodiff import vector_jacobian
from dlrt.layers import (
    LowRankEinsumDense,
    LowRankEmbedding,
    LowRankMultiHeadAttention,
)

PARAMS = [
    pytest.param(case, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for name, case in CASES.items()
]


@pytest.fixture(params=PARAMS)
def case(request):
    return request.param


def matrix_of(part, kernel):
    """The matrix that a kernel stands for, in the layer's own order of axes."""
    return part.unfold(kernel) if hasattr(part, "unfold") else kernel


# Against the layer of Keras


def test_equals_the_keras_layer_at_full_rank(case):
    low_rank = case.make()
    dense = case.make_keras(low_rank)
    for part in parts(low_rank):
        assert part.rank == min(part.matrix_shape)
    functions = case.function(low_rank), case.function(dense)
    for seed in (0, 5):
        actual, expected = (function(*case.inputs(seed)) for function in functions)
        np.testing.assert_allclose(array(actual), array(expected), atol=1e-5)


def test_gradients_are_galerkin_gradients(case):
    low_rank = case.make(rank=2, dtype="float64")
    for part in parts(low_rank):
        u, s, v = part.factors
        random = np.random.default_rng(1).normal(size=s.shape)
        part.set_factors((u, s + 0.1 * random, v))
    dense = case.make_keras(low_rank, dtype="float64")
    x = case.inputs(dtype="float64")
    shape = case.function(dense)(*x).shape
    weights = np.random.default_rng(2).normal(size=shape)

    def loss(y):
        return ops.sum(ops.square(ops.sin(y)) * weights)

    found = gradients_of(low_rank, case, x, loss)
    expected = gradients_of(dense, case, x, loss)
    for part, other in zip(parts(low_rank), parts(dense), strict=True):
        u, _, v = part.factors
        g = matrix_of(part, expected[id(getattr(other, case.kernel))])
        actual = {name: found[id(getattr(part, name))] for name in "usv"}
        np.testing.assert_allclose(actual["u"], g @ v, atol=1e-8)
        np.testing.assert_allclose(actual["s"], u.T @ g @ v, atol=1e-8)
        np.testing.assert_allclose(actual["v"], g.T @ u, atol=1e-8)
        if part.bias is not None:
            np.testing.assert_allclose(
                found[id(part.bias)], expected[id(other.bias)], atol=1e-8
            )


# Integers have no gradients.
@pytest.mark.parametrize(
    "case", [p for p in PARAMS if not p.values[0].vocabulary], indirect=True
)
def test_gradients_of_inputs_are_those_of_the_keras_layer(case):
    low_rank = case.make(rank=2, dtype="float64")
    dense = case.make_keras(low_rank, dtype="float64")
    x = [ops.convert_to_tensor(part) for part in case.inputs(dtype="float64")]
    y = low_rank(*x, **case.call)
    # On JAX, some activations of Keras return single precision.
    dy = ops.cast(np.random.default_rng(2).normal(size=tuple(y.shape)), y.dtype)
    atol = 1e-8 if keras.backend.standardize_dtype(y.dtype) == "float64" else 1e-5
    found, expected = (
        vector_jacobian(lambda *x, f=layer: f(*x, **case.call), tuple(x), dy)
        for layer in (low_rank, dense)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=atol)


def test_room_beyond_the_rank_changes_nothing(case):
    low_rank = case.make(rank=2)
    x = case.inputs()
    before = array(case.function(low_rank)(*x))
    for part in parts(low_rank):
        part.set_factors(part.factors, capacity=min(3, *part.matrix_shape))
    for at_rank in (False, True):
        for part in parts(low_rank):
            part.computes_at_rank = at_rank
        np.testing.assert_allclose(
            array(case.function(low_rank)(*x)), before, atol=1e-6
        )


def test_penalty_is_that_of_the_keras_layer(case):
    arguments = {f"{case.kernel}_regularizer": keras.regularizers.L2(0.3)}
    low_rank = case.make(rank=2, **arguments)
    dense = case.make_keras(low_rank, **arguments)
    penalties = float(sum(low_rank.losses)), float(sum(dense.losses))
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-5)
    assert penalties[0] > 0
    assert len(low_rank.losses) == len(dense.losses)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("mixed_float16", marks=pytest.mark.tensorflow_only),
        *slow("mixed_bfloat16"),
    ],
)
def test_mixed_precision(case, policy):
    low_rank = case.make(rank=2, dtype=policy)
    compute = policy.removeprefix("mixed_")
    # Half-precision products of TensorFlow are no reference: its `einsum` is wrong on
    # CPUs with AVX512-FP16.
    dense = case.make_keras(low_rank)
    x = case.inputs()
    if not case.vocabulary:
        x = [array(ops.cast(ops.cast(part, compute), "float32")) for part in x]
    y, expected = case.function(low_rank)(*x), case.function(dense)(*x)
    assert keras.backend.standardize_dtype(y.dtype) == compute
    assert {v.dtype for v in low_rank.weights} == {"float32"}
    atol = 1e-2 if compute == "float16" else 8e-2
    np.testing.assert_allclose(array(y), array(expected), atol=atol)
    found = gradients_of(low_rank, case, x, lambda y: ops.sum(ops.cast(y, "float32")))
    assert all(np.isfinite(g).all() for g in found.values())
    for part in parts(low_rank):
        # Scores don't depend on a shift of all keys, so keys may have next to none.
        assert part.name == "key" or np.any(found[id(part.u)])


# Shapes


def test_specs_of_known_shapes_are_those_of_the_output(case):
    low_rank = case.make()
    y = case.function(low_rank)(*case.inputs())
    assert tuple(low_rank.compute_output_shape(*case.shapes)) == tuple(y.shape)
    static = [keras.KerasTensor(shape) for shape in case.shapes]
    batch = [keras.KerasTensor((None, *shape[1:])) for shape in case.shapes]
    for symbols, shape in ((static, y.shape), (batch, (None, *y.shape[1:]))):
        spec = low_rank.compute_output_spec(*symbols, **case.call)
        assert tuple(spec.shape) == tuple(shape)
        assert spec.dtype == keras.backend.standardize_dtype(y.dtype)
        assert tuple(low_rank(*symbols, **case.call).shape) == tuple(shape)


def test_specs_of_unknown_shapes_are_those_of_the_keras_layer(case):
    low_rank = case.make()
    dense = case.make_keras(low_rank)
    symbols = case.symbols(known=0 if case.vocabulary else 1)
    try:
        expected = dense.compute_output_spec(*symbols, **case.call)
    except ValueError as refusal:
        # A length has been given for an axis that is not known.
        with pytest.raises(ValueError) as raised:
            low_rank.compute_output_spec(*symbols, **case.call)
        assert str(raised.value) == str(refusal)
    else:
        actual = low_rank.compute_output_spec(*symbols, **case.call)
        assert tuple(actual.shape) == tuple(expected.shape)


def test_batches_of_any_size(case):
    low_rank = case.make(rank=2)
    symbols = [
        keras.Input(shape[1:], dtype="int32" if case.vocabulary else "float32")
        for shape in case.shapes
    ]
    call = {k: v for k, v in case.call.items() if k != "attention_mask"}
    model = keras.Model(symbols, low_rank(*symbols, **call))
    x = case.inputs()
    whole = array(replace(case, call=call).function(low_rank)(*x))
    for size in (1, len(x[0])):
        part = [values[:size] for values in x]
        found = model.predict(part if len(part) > 1 else part[0], verbose=0)
        np.testing.assert_allclose(found, whole[:size], atol=1e-5)


# Configuration and files


def test_configuration_round_trip(case):
    low_rank = case.make(rank=2, tolerance=0.1, max_rank=3, trainable=False)
    config = low_rank.get_config()
    assert {**case.arguments, "tolerance": 0.1, "max_rank": 3}.keys() <= config.keys()
    restored = case.low_rank.from_config(config)
    assert restored.get_config() == config
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(low_rank)
    )
    assert again.get_config() == config
    assert not again.trainable


def test_file_round_trip(case, tmp_path):
    low_rank = case.make(rank=2)
    symbols = [
        keras.Input(batch_shape=shape, dtype="int32" if case.vocabulary else None)
        for shape in case.shapes
    ]
    model = keras.Model(symbols, low_rank(*symbols, **case.call))
    for part in parts(low_rank):
        part.set_factors(part.factors, capacity=min(3, *part.matrix_shape))
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert [p.capacity for p in accounting.low_rank_layers(restored)] == [
        2 for _ in parts(low_rank)
    ]
    x = case.inputs()
    np.testing.assert_allclose(array(restored(x)), array(model(x)), atol=1e-6)


# Bad arguments


def test_constraints_are_refused(case):
    name = f"{case.kernel}_constraint"
    with pytest.raises(ValueError, match=f"`{name}` must be None.*non_neg"):
        case.low_rank(**case.arguments, rank=2, **{name: "non_neg"})


def test_ranks_above_the_full_one_are_refused(case):
    with pytest.raises(ValueError, match=r"`rank` must be at most min\(n, m\)"):
        case.make(rank=10)
    with pytest.raises(ValueError, match=r"`max_rank` must be at most min\(n, m\)"):
        case.make(rank=2, max_rank=10)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"rank": 0}, "`rank` must be a positive integer.*0"),
        ({"rank": 2.5}, "`rank` must be a positive integer.*2.5"),
        ({"rank": 2, "tolerance": 1.0}, r"`tolerance` must lie in \(0, 1\).*1.0"),
        ({"rank": 2, "max_rank": 0}, "`max_rank` must be a positive integer.*0"),
        ({"rank": 3, "max_rank": 2}, "`max_rank` must be at least `rank`.*=2.*=3"),
    ],
    ids=str,
)
def test_bad_ranks_are_refused_at_once(case, arguments, message):
    with pytest.raises(ValueError, match=message):
        case.low_rank(**case.arguments, **arguments)


# Training


def network(regularizer=None):
    """A model of layers of every kind, some of them used twice."""
    tokens = keras.Input((5,), dtype="int32")
    embedding = LowRankEmbedding(9, 8, rank=5, embeddings_regularizer=regularizer)
    arguments = dict(rank=4, kernel_regularizer=regularizer)
    attention = LowRankMultiHeadAttention(2, 4, **arguments)
    to_heads = LowRankEinsumDense("abc,cde->abde", (5, 2, 4), "tanh", "de", **arguments)
    x = embedding(tokens) + 0.2 * embedding(ops.flip(tokens, axis=1))
    x = x + 0.2 * attention(x, x, use_causal_mask=True)
    x = to_heads(ops.reshape(to_heads(x), (-1, 5, 8)))
    y = LowRankEinsumDense("abde,dec->abc", (5, 3), rank=2)(x)
    return dlrt.Model(tokens, y)


def task():
    tokens = np.random.default_rng(0).integers(0, 9, (256, 5), dtype="int32")
    return tokens, tokens % 3


INTEGRATORS = {
    "fixed": dict(),
    "adaptive": dict(tolerance=0.05),
    "kls": dict(integrator="kls"),
    "augmented_bug": dict(integrator="augmented_bug", tolerance=0.05),
}


@pytest.mark.parametrize("kind", ["fixed", *slow("kls", "adaptive", "augmented_bug")])
def test_layers_of_every_kind_are_trained(kind):
    model = network()
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(2e-2), **INTEGRATORS[kind]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=EAGER and kind == "fixed",
    )
    start = model.evaluate(*task(), verbose=0)
    model.fit(*task(), batch_size=64, epochs=3, verbose=0)
    assert model.evaluate(*task(), verbose=0) < 0.7 * start
    layers = accounting.low_rank_layers(model)
    assert len(layers) == 1 + 4 + 2
    for layer in layers:
        u, s, v = layer.factors
        assert layer.capacity == layer.rank == len(s)
        for basis in (u, v):
            np.testing.assert_allclose(basis.T @ basis, np.eye(len(s)), atol=1e-4)
    ranks = [layer.rank for layer in layers]
    assert (ranks != [5, 4, 4, 4, 4, 4, 2]) == ("tolerance" in INTEGRATORS[kind])


@keras.saving.register_keras_serializable(package="tests")
def nothing(kernel):
    return 0.0 * ops.sum(kernel)


@pytest.mark.slow
def test_recorded_products_give_the_gradients_of_a_second_pass():
    """A penalty of kernels can't be recorded, so the other model takes two passes."""
    trained = []
    for regularizer in (None, nothing):
        keras.utils.set_random_seed(2)
        model = network(regularizer)
        model.compile(
            dlrt.optimizers.LowRank(
                keras.optimizers.SGD(0.3), integrator="augmented_bug"
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(*task(), batch_size=64, epochs=1, shuffle=False, verbose=0)
        trained.append(accounting.low_rank_layers(model))
    for one, two in zip(*trained, strict=True):
        (u, s, v), (p, t, q) = one.factors, two.factors
        np.testing.assert_allclose(u @ s @ v.T, p @ t @ q.T, atol=2e-4)
