"""Models with layers in low-rank form, at the rank that is asked for."""

import keras
import numpy as np
import pytest
from conftest import label
from helpers import array
from surgery.models import (
    KEEP,
    MODELS,
    all_layers,
    assert_close,
    branched,
    convolutional,
    data_for,
    fill,
    inputs,
    low_rank_layers,
    outputs,
    reload,
    sequential,
    with_embedding,
    with_heads,
)

import dlrt

DENSE = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Embedding,
    keras.layers.MultiHeadAttention,
)


def kernels_of(model):
    """The kernels of Keras layers and projections, by name."""
    found = {}
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.MultiHeadAttention):
            attributes = {"gate": "_gate_dense", "query": "_query_dense"}
            attributes.update(key="_key_dense", value="_value_dense")
            attributes["output"] = "_output_dense"
            for name, attribute in attributes.items():
                part = getattr(layer, attribute, None)
                if part is not None:
                    found[f"{layer.name}/{name}"] = array(part.kernel)
        elif isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense)):
            found[layer.name] = array(layer.kernel)
        elif isinstance(layer, keras.layers.Embedding):
            found[layer.name] = array(layer.embeddings)
    return found


AMOUNTS = [{"rank": 4}, {"tolerance": 0.5}, {"ratio": 0.4}]


@pytest.mark.parametrize(
    "make, amount",
    [
        *(
            (make, amount)
            for make in (with_heads, with_embedding)
            for amount in AMOUNTS
        ),
        *((sequential, {"rank": rank}) for rank in (3, 11)),
        *((sequential, {"tolerance": tolerance}) for tolerance in (0.2, 0.9)),
        *((sequential, {"ratio": ratio}) for ratio in (0.05, 0.5)),
    ],
    ids=label,
)
def test_every_kernel_is_truncated_as_a_matrix(make, amount):
    model = make()
    low_rank = dlrt.convert(model, **amount, **KEEP)
    kernels = kernels_of(model)
    layers = dlrt.accounting.named_layers(low_rank)
    assert layers and layers.keys() <= kernels.keys()
    for name, layer in layers.items():
        unfold = getattr(layer, "unfold", lambda kernel: kernel)
        w = unfold(kernels[name]).astype("float64")
        n, m = layer.matrix_shape
        assert w.shape == (n, m)
        values = np.linalg.svd(w, compute_uv=False)
        tails = [np.linalg.norm(values[k:]) for k in range(len(values))] + [0.0]
        if "rank" in amount:
            expected = min(amount["rank"], n, m)
        elif "ratio" in amount:
            expected = max(1, int(amount["ratio"] * n * m / (n + m)))
            assert expected * (n + m) <= amount["ratio"] * n * m or expected == 1
        else:
            bound = amount["tolerance"] * np.linalg.norm(values)
            expected = max(1, next(k for k, tail in enumerate(tails) if tail <= bound))
        assert layer.rank == layer.capacity == expected
        u, s, v = (np.asarray(factor, "float64") for factor in layer.factors)
        error = np.linalg.norm(u @ s @ v.T - w)
        assert error == pytest.approx(tails[expected], rel=1e-4, abs=1e-5)
        for basis in (u, v):
            np.testing.assert_allclose(basis.T @ basis, np.eye(expected), atol=1e-5)


@MODELS
def test_nearly_all_kept_predicts_the_same(make):
    model = make()
    low_rank = dlrt.convert(model, tolerance=1e-6, **KEEP)
    left = {x.name for x in all_layers(low_rank) if type(x) in DENSE}
    assert left <= {"grouped"}
    data = data_for(model)
    # Products of matrices and convolutions add up in another order, more or less so on
    # one processor or another.
    assert_close(outputs(low_rank, data), outputs(model, data), 3e-5)


def test_low_rank_kernel_is_found_exactly():
    model = sequential()
    layer = model.get_layer("first")
    layer.kernel.assign(inputs(20, 3) @ inputs(3, 16, seed=1))
    low_rank = dlrt.convert(model, tolerance=1e-4, layers="first")
    assert low_rank.get_layer("first").rank == 3
    data = inputs(5, 20)
    assert_close(outputs(low_rank, data), outputs(model, data))


@MODELS
def test_model_is_left_as_it_was(make):
    model = make()
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


@MODELS
def test_converted_model_round_trips_through_a_file(tmp_path, make):
    model = make()
    low_rank = dlrt.convert(model, rank=2)
    restored = reload(low_rank, tmp_path)
    data = data_for(model)
    np.testing.assert_array_equal(outputs(restored, data), outputs(low_rank, data))


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


@pytest.mark.parametrize(
    "change",
    [
        lambda m: dlrt.convert(m, rank=2),
        dlrt.to_dense,
        dlrt.merge,
        lambda m: dlrt.compress(m, "svd", {"ratio": 2}),
        dlrt.decompose,
    ],
    ids=["convert", "to_dense", "merge", "compress", "decompose"],
)
def test_models_that_can_not_be_taken_apart(change):
    unbuilt = keras.Sequential([keras.layers.Dense(20), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`model` must be built"):
        change(unbuilt)
    for model in (None, "x", 3):
        with pytest.raises(TypeError, match=f"`model` must be.*Received: {model!r}"):
            change(model)


@pytest.mark.parametrize(
    "make, name, value",
    [
        (sequential, "first", np.inf),
        (with_heads, "to_heads", np.nan),
        (with_heads, "self", np.nan),
        (with_embedding, "embedding", np.inf),
        (convolutional, "causal", np.nan),
    ],
)
def test_kernels_that_are_no_numbers_are_refused(make, name, value):
    model = make()
    weight = model.get_layer(name).weights[0]
    weight.assign(np.full(weight.shape, value))
    with pytest.raises(ValueError, match=f"'{name}' has a kernel.*NaN or infinity"):
        dlrt.convert(model, rank=2, layers=f"{name}|last")
    assert set(low_rank_layers(dlrt.convert(model, rank=2, layers="last"))) == {"last"}


def test_lora_is_part_of_the_kernel():
    model = with_heads()
    for name in ("to_heads", "last"):
        layer = model.get_layer(name)
        layer.enable_lora(2)
        for variable in (layer.lora_kernel_a, layer.lora_kernel_b):
            variable.assign(inputs(*variable.shape) / 3)
    low_rank = dlrt.convert(model, rank=100, **KEEP)
    data = data_for(model)
    assert_close(outputs(low_rank, data), outputs(model, data))
    assert low_rank.get_layer("to_heads").trainable


def test_operations_between_layers_stay():
    x = keras.Input((20,))
    y = keras.layers.Dense(20, name="first")(x)
    y = keras.ops.expand_dims(keras.ops.tanh(y) * 2.0, axis=1)
    y = keras.ops.concatenate([y, keras.ops.cast(y > 0, "float32")], axis=1)
    model = fill(keras.Model(x, keras.layers.Dense(3, name="last")(y)))
    low_rank = dlrt.convert(model, rank=100, **KEEP)
    data = inputs(3, 20)
    assert_close(outputs(low_rank, data), outputs(model, data))


def test_low_rank_layers_of_a_model_stay_with_their_padding():
    model = dlrt.convert(with_heads(), rank=2, layers="self|to_heads")
    for layer in dlrt.accounting.low_rank_layers(model):
        layer.set_factors(layer.factors, capacity=3)
    more = dlrt.convert(model, rank=2, layers="ellipsis")
    assert set(low_rank_layers(more)) == {"self", "to_heads", "ellipsis"}
    assert {x.capacity for x in dlrt.accounting.low_rank_layers(more)} == {2}
    again = dlrt.merge(model)
    data = data_for(model)
    assert_close(outputs(again, data), outputs(model, data))


def test_models_of_this_package_stay_what_they_are():
    x = keras.Input((20,))
    y = keras.layers.Dense(20, name="first")(x)
    model = dlrt.Model(x, keras.layers.Dense(2)(y))
    low_rank = dlrt.convert(model, rank=2)
    for copy in (low_rank, dlrt.to_dense(low_rank), dlrt.merge(low_rank)):
        assert isinstance(copy, dlrt.Model)
