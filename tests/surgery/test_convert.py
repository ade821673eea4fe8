import keras
import numpy as np
import pytest
from conftest import label, slow
from helpers import array
from keras import ops

import dlrt
from dlrt import Factors
from dlrt.layers import (
    CachedMultiHeadAttention,
    LowRankConv1D,
    LowRankConv2D,
    LowRankDense,
    LowRankEinsumDense,
    LowRankEmbedding,
    LowRankLayer,
    LowRankMultiHeadAttention,
)
from dlrt.surgery import families as families
from experiments.translation import network

KEEP = {"layers": "(?!grouped).*"}
DENSE = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Embedding,
    keras.layers.MultiHeadAttention,
)


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


def shared_across_models():
    """One layer in a model, and in a model within it."""
    layer = keras.layers.Dense(20, activation="tanh", name="shared")
    x = keras.Input((20,))
    inner = keras.Model(x, layer(x), name="inner")
    y = keras.Input((20,))
    out = keras.layers.Dense(2, name="last")(inner(layer(y)))
    return fill(keras.Model(y, out))


def with_heads():
    """EinsumDense and attention, in a functional model."""
    x = keras.Input((6, 20), name="x")
    y = keras.layers.EinsumDense(
        "abc,cde->abde", (6, 4, 5), activation="tanh", bias_axes="de", name="to_heads"
    )(x)
    y = keras.layers.EinsumDense("abde,dec->abc", (6, 20), name="from_heads")(y)
    y = keras.layers.Add()([x, y])
    y = keras.layers.MultiHeadAttention(4, 5, use_gate=True, name="self")(
        y, y, use_causal_mask=True
    )
    y = keras.layers.EinsumDense(
        "...x,xy->...y", 20, bias_axes="y", activation="relu", name="ellipsis"
    )(y)
    y = keras.layers.GlobalAveragePooling1D()(y)
    return fill(keras.Model(x, keras.layers.Dense(3, name="last")(y)))


def with_embedding():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(30, 20, mask_zero=True, name="embedding")(tokens)
    x = keras.layers.Dense(20, activation="tanh", name="hidden")(x)
    x = keras.layers.LSTM(4, name="lstm")(x)
    return fill(keras.Model(tokens, keras.layers.Dense(2, name="last")(x)))


def convolutional():
    """Convolutions over images, then over sequences."""
    x = keras.Input((10, 9, 6))
    y = keras.layers.Conv2D(20, 3, activation="relu", name="plane")(x)
    y = keras.layers.Conv2D(20, 3, strides=2, padding="same", name="strides")(y)
    y = keras.layers.Conv2D(
        20, (3, 2), dilation_rate=2, padding="same", use_bias=False, name="dilated"
    )(y)
    y = keras.layers.Conv2D(20, 3, groups=2, padding="same", name="grouped")(y)
    y = keras.layers.Reshape((16, 20))(y)
    y = keras.layers.Conv1D(
        20, 3, padding="causal", dilation_rate=2, activation="tanh", name="causal"
    )(y)
    y = keras.layers.GlobalAveragePooling1D()(y)
    return fill(keras.Model(x, keras.layers.Dense(3, name="last")(y)))


MODELS = [
    with_heads,
    with_embedding,
    convolutional,
    *slow(sequential, branched, nested, shared),
]


@pytest.fixture(params=MODELS, ids=lambda make: make.__name__)
def model(request):
    return request.param()


def data_for(model):
    if model.inputs[0].dtype == "int32":
        tokens = np.random.default_rng(0).integers(1, 30, (5, 7), dtype="int32")
        tokens[:2, 4:] = 0
        return tokens
    shapes = [(5, *x.shape[1:]) for x in model.inputs]
    data = [inputs(*shape, seed=i) for i, shape in enumerate(shapes)]
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


LOW_RANK = (LowRankLayer, LowRankMultiHeadAttention)


def low_rank_layers(model):
    """By name; an attention layer is one."""
    found = {x.name: x for x in all_layers(model) if isinstance(x, LOW_RANK)}
    within = {
        id(part)
        for layer in found.values()
        for part in layer._flatten_layers(include_self=False)
    }
    return {name: layer for name, layer in found.items() if id(layer) not in within}


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
    model = shared_across_models()
    with pytest.warns(UserWarning, match=r"\['shared'\] are in several models"):
        full = dlrt.convert(model, rank=20, **KEEP)
        low_rank = dlrt.convert(model, rank=2)
    assert_close(outputs(full, inputs(5, 20)), outputs(model, inputs(5, 20)))
    assert len(low_rank.weights) == 4 + 2
    assert low_rank.get_layer("shared") is low_rank.get_layer("inner").layers[1]


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
@pytest.mark.parametrize("rank", [2, *slow(100)])
def test_back_predicts_the_same(model, back, rank):
    low_rank = dlrt.convert(model, rank=rank, **KEEP)
    other = back(low_rank)
    data = data_for(model)
    assert_close(outputs(other, data), outputs(low_rank, data))
    left = low_rank_layers(other).values()
    assert not any(isinstance(layer, LowRankLayer) for layer in left)
    # Two factors in place of a projection are nothing that Keras has a layer for.
    assert not left or (back, rank) == (dlrt.merge, 2)


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
    low_rank = dlrt.convert(model, rank=2, **KEEP)
    attention = [
        name
        for name, layer in low_rank_layers(low_rank).items()
        if isinstance(layer, LowRankMultiHeadAttention)
    ]
    if attention:
        # It stays what it is.
        names = "|".join(set(low_rank_layers(low_rank)) - set(attention))
        low_rank = dlrt.convert(model, rank=2, layers=names)
    merged = dlrt.merge(low_rank)
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
    with pytest.raises(ValueError, match="'bound' has a `kernel_constraint`"):
        dlrt.convert(model, rank=2)


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


# EinsumDense, attention and embeddings


def test_types_follow_the_layers_of_keras():
    low_rank = low_rank_layers(dlrt.convert(with_heads(), rank=3, **KEEP))
    assert {name: type(layer) for name, layer in low_rank.items()} == {
        "to_heads": LowRankEinsumDense,
        "from_heads": LowRankEinsumDense,
        "self": LowRankMultiHeadAttention,
        "ellipsis": LowRankEinsumDense,
        "last": LowRankDense,
    }
    low_rank = low_rank_layers(dlrt.convert(with_embedding(), rank=3, **KEEP))
    assert {name: type(layer) for name, layer in low_rank.items()} == {
        "embedding": LowRankEmbedding,
        "hidden": LowRankDense,
        "last": LowRankDense,
    }


def test_default_leaves_embeddings_and_the_last_layer():
    low_rank = dlrt.convert(with_heads(), rank=3)
    assert set(low_rank_layers(low_rank)) == {
        "to_heads",
        "from_heads",
        "self",
        "ellipsis",
    }
    assert set(low_rank_layers(dlrt.convert(with_embedding(), rank=3))) == {"hidden"}
    x = keras.Input((4, 20))
    y = keras.layers.Dense(20, name="first")(x)
    y = keras.layers.EinsumDense("abc,cd->abd", (4, 20), name="last")(y)
    low_rank = dlrt.convert(keras.Model(x, y), rank=3)
    assert set(low_rank_layers(low_rank)) == {"first"}


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


@pytest.mark.parametrize("make", [with_heads, with_embedding])
@pytest.mark.parametrize(
    "amount", [{"rank": 4}, {"tolerance": 0.5}, {"ratio": 0.4}], ids=label
)
def test_every_kernel_is_truncated_as_a_matrix(make, amount):
    model = make()
    low_rank = dlrt.convert(model, **amount, **KEEP)
    kernels = kernels_of(model)
    layers = dlrt.accounting.named_layers(low_rank)
    for name, layer in layers.items():
        kernel = kernels[name]
        unfold = getattr(layer, "unfold", lambda kernel: kernel)
        w = unfold(kernel).astype("float64")
        n, m = layer.matrix_shape
        assert w.shape == (n, m)
        values = np.linalg.svd(w, compute_uv=False)
        tails = [np.linalg.norm(values[k:]) for k in range(len(values))] + [0.0]
        if "rank" in amount:
            expected = min(4, n, m)
        elif "ratio" in amount:
            expected = max(1, int(0.4 * n * m / (n + m)))
        else:
            bound = 0.5 * np.linalg.norm(values)
            expected = next(k for k, tail in enumerate(tails) if tail <= bound)
        assert layer.rank == expected
        error = np.linalg.norm(array(layer.factors.to_dense()) - w)
        assert error == pytest.approx(tails[expected], rel=1e-4, abs=1e-5)


def test_an_attention_layer_has_to_become_smaller_as_a_whole():
    x = keras.Input((4, 20))
    y = keras.layers.MultiHeadAttention(4, 5, name="attention")(x, x)
    model = keras.Model(x, y)
    assert set(low_rank_layers(dlrt.convert(model, rank=9))) == {"attention"}
    with pytest.raises(ValueError, match="would become smaller.*'attention'"):
        dlrt.convert(model, rank=10)


def settings_of_attention():
    return dict(
        num_heads=2,
        key_dim=4,
        value_dim=3,
        output_shape=(5,),
        attention_axes=(1,),
        sliding_window=3,
        use_bias=False,
        use_gate=True,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(0.1),
        bias_constraint="non_neg",
        activity_regularizer="l1",
        flash_attention=False,
        seed=4,
        dtype="mixed_bfloat16",
        name="attention",
        trainable=False,
    )


def test_arguments_of_attention_stay():
    for changes in ({}, {"dropout": 0.2, "flash_attention": None}):
        arguments = {**settings_of_attention(), **changes}
        layer = keras.layers.MultiHeadAttention(**arguments)
        x = keras.Input((6, 20))
        model = keras.Model(x, layer(x, x))
        low_rank = dlrt.convert(model, rank=2, **KEEP)
        expected = model.get_layer("attention").get_config()
        for copy in (low_rank, dlrt.to_dense(low_rank)):
            config = copy.get_layer("attention").get_config()
            for name in ("rank", "tolerance", "max_rank"):
                config.pop(name, None)
            assert config == expected


def test_flash_attention_stays():
    """No configuration has it: it is a matter of the machine."""
    x = keras.Input((6, 20))
    layer = keras.layers.MultiHeadAttention(2, 10, name="attention")
    model = keras.Model(x, layer(x, x))
    low_rank = dlrt.convert(model, rank=2).get_layer("attention")
    family = families.family_of(layer)
    factors = [Factors.from_dense(m, 2) for m in family.matrices(layer)]
    assert not family.to_low_rank(layer, factors).layer._flash_attention
    layer._flash_attention = low_rank._flash_attention = True
    made = [
        family.to_low_rank(layer, factors),
        family.to_dense(low_rank),
        family.to_merged(low_rank),
    ]
    assert all(new.layer._flash_attention for new in made)


def test_arguments_of_einsum_and_embedding_layers_stay():
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(
        20,
        10,
        embeddings_initializer="glorot_normal",
        embeddings_regularizer=keras.regularizers.L2(0.1),
        activity_regularizer="l1",
        mask_zero=True,
        dtype="mixed_float16",
        name="embedding",
    )(tokens)
    x = keras.layers.EinsumDense(
        "abc,cde->abde",
        (None, 4, 5),
        activation="gelu",
        bias_axes="e",
        kernel_regularizer=keras.regularizers.L1(0.1),
        bias_regularizer="l2",
        bias_constraint="non_neg",
        activity_regularizer="l1",
        name="einsum",
    )(x)
    model = keras.Model(tokens, x)
    low_rank = dlrt.convert(model, rank=3, **KEEP)
    for copy in (low_rank, dlrt.to_dense(low_rank)):
        for old in model.layers[1:]:
            config = copy.get_layer(old.name).get_config()
            expected = old.get_config()
            assert {k: config[k] for k in config.keys() & expected.keys()} == {
                k: expected[k] for k in config.keys() & expected.keys()
            }
    assert [x.name for x in dlrt.to_dense(low_rank).layers] == [
        x.name for x in model.layers
    ]


def test_convolutions_become_low_rank_by_default():
    low_rank = low_rank_layers(dlrt.convert(convolutional(), rank=3))
    assert {name: type(layer) for name, layer in low_rank.items()} == {
        "plane": LowRankConv2D,
        "strides": LowRankConv2D,
        "dilated": LowRankConv2D,
        "causal": LowRankConv1D,
    }


def test_arguments_of_convolutions_stay():
    x = keras.Input((10, 9, 6), name="x")
    layer = keras.layers.Conv2D(
        12,
        (3, 2),
        strides=(1, 2),
        padding="same",
        activation="gelu",
        kernel_regularizer=keras.regularizers.L1(0.1),
        bias_regularizer="l2",
        bias_constraint="non_neg",
        activity_regularizer="l1",
        dtype="mixed_float16",
        name="conv",
    )
    model = keras.Model(x, layer(x))
    low_rank = dlrt.convert(model, rank=3)
    expected = layer.get_config()
    assert dlrt.to_dense(low_rank).get_layer("conv").get_config() == expected
    config = low_rank.get_layer("conv").get_config()
    del expected["kernel_constraint"]
    assert {name: config[name] for name in expected} == expected


@pytest.mark.parametrize("name", ["plane", "strides", "dilated", "causal"])
def test_merged_convolutions(name):
    low_rank = dlrt.convert(convolutional(), rank=2, layers=name)
    merged = dlrt.merge(low_rank)
    pair = merged.get_layer(name).layers
    old = low_rank.get_layer(name)
    assert [type(x) for x in pair] == 2 * [type(old).keras_type]
    assert [x.name for x in pair] == [f"{name}_k", f"{name}_v"]
    assert [x.kernel_size for x in pair] == [
        old.kernel_size,
        (1,) * len(old.kernel_size),
    ]
    assert sum(array(x.kernel).size for x in pair) == 2 * sum(old.matrix_shape)


def test_grouped_convolutions_are_refused():
    with pytest.raises(ValueError, match="'grouped' has 2 groups.*`layers`"):
        dlrt.convert(convolutional(), rank=2, layers="grouped")


EQUATIONS = [
    ("abc,cde->abde", (6, 4, 5), (6, 20)),
    ("abcd,cde->abe", (6, 20), (6, 4, 5)),
    ("abcd,ecfd->abfe", (6, 4, 5), (6, 4, 5)),
    ("abc,bd->acd", (20, 8), (6, 20)),
    ("abc,dc->adb", (20, 6), (6, 20)),
    ("...x,xy->...y", 20, (6, 20)),
    ("ab...,bc->ac...", 20, (20, 3, 2)),
]


@pytest.mark.parametrize("equation, output_shape, shape", EQUATIONS)
def test_merged_einsum_layers(equation, output_shape, shape):
    bias = equation[-1] if equation[-1] != "." else "c"
    x = keras.Input(shape)
    layer = keras.layers.EinsumDense(
        equation, output_shape, bias_axes=bias, activation="tanh", name="einsum"
    )
    model = fill(keras.Model(x, layer(x)))
    low_rank = dlrt.convert(model, rank=2, **KEEP)
    data = inputs(3, *shape)
    expected = outputs(low_rank, data)
    merged = dlrt.merge(low_rank)
    pair = merged.get_layer("einsum").layers
    assert [type(x) for x in pair] == 2 * [keras.layers.EinsumDense]
    assert [x.name for x in pair] == ["einsum_k", "einsum_v"]
    n, m = low_rank.get_layer("einsum").matrix_shape
    assert sum(array(x.kernel).size for x in pair) == 2 * (n + m)
    assert_close(outputs(merged, data), expected)
    assert_close(outputs(dlrt.to_dense(low_rank), data), expected)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_merged_embeddings_find_all_rows_and_hand_their_mask_on(dtype):
    tokens = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(
        3000, 12, mask_zero=True, name="embedding", dtype=dtype
    )
    pooled = keras.layers.GlobalAveragePooling1D()(embedding(tokens))
    model = fill(keras.Model(tokens, pooled))
    low_rank = dlrt.convert(model, rank=3, **KEEP)
    merged = dlrt.merge(low_rank)
    pair = merged.get_layer("embedding").layers
    assert [type(x) for x in pair] == [keras.layers.Embedding, keras.layers.Dense]
    # 2049 is no number of float16.
    data = np.array([[2049, 2999, 0, 0], [2048, 7, 1, 0]])
    relative = 1e-5 if dtype == "float32" else 5e-3
    assert_close(outputs(merged, data), outputs(low_rank, data), relative)
    assert_close(
        outputs(dlrt.to_dense(low_rank), data), outputs(low_rank, data), relative
    )
    alone = outputs(merged, data[:1, :2])
    assert_close(outputs(merged, data[:1]), alone, relative)


def test_attention_can_be_cached_after_every_change():
    x = keras.Input((None, 20))
    layer = keras.layers.MultiHeadAttention(4, 5, name="attention")
    model = fill(keras.Model(x, layer(x, x, use_causal_mask=True)))
    low_rank = dlrt.convert(model, rank=3, **KEEP)
    data = inputs(2, 3, 20)
    for copy in (low_rank, dlrt.to_dense(low_rank), dlrt.merge(low_rank)):
        layer = copy.get_layer("attention")
        assert isinstance(layer, CachedMultiHeadAttention)
        cache = layer.empty_cache(2, 3)
        y, _ = layer(data, data, cache=cache, cache_update_index=0)
        assert_close(array(y), outputs(low_rank, data))
    # At a rank where factors don't pay.
    full = dlrt.merge(dlrt.convert(model, rank=15, **KEEP)).get_layer("attention")
    assert type(full) is CachedMultiHeadAttention


# What can't be converted


def with_equation(equation, output_shape, shape):
    x = keras.Input(shape)
    y = keras.layers.EinsumDense(equation, output_shape, name="odd")(x)
    y = keras.layers.Flatten()(y)
    y = keras.layers.Dense(40, name="plain")(y)
    return fill(keras.Model(x, keras.layers.Dense(2, name="last")(y)))


@pytest.mark.parametrize(
    "equation, output_shape, shape",
    [("abc,bcd->abd", (4, 20), (4, 20)), ("ab,b->ab", 20, (20,))],
)
def test_equations_of_no_matrix_product_are_left_alone(equation, output_shape, shape):
    model = with_equation(equation, output_shape, shape)
    low_rank = dlrt.convert(model, rank=2)
    assert set(low_rank_layers(low_rank)) == {"plain"}
    assert type(low_rank.get_layer("odd")) is keras.layers.EinsumDense
    message = f"'odd' has the equation '{equation}', which is no product"
    for layers in ("odd", ["odd"], ".*", lambda layer: layer.name == "odd"):
        with pytest.raises(ValueError, match=message):
            dlrt.convert(model, rank=2, layers=layers)


def test_constraints_of_all_kinds_are_refused():
    x = keras.Input((4, 20))
    for layer, name in (
        (
            keras.layers.EinsumDense(
                "abc,cd->abd", (4, 20), kernel_constraint="non_neg"
            ),
            "kernel",
        ),
        (keras.layers.MultiHeadAttention(2, 5, kernel_constraint="non_neg"), "kernel"),
    ):
        arguments = (x, x) if "attention" in layer.name else (x,)
        model = keras.Model(x, layer(*arguments))
        with pytest.raises(ValueError, match=f"has a `{name}_constraint`"):
            dlrt.convert(model, rank=2)
    tokens = keras.Input((4,), dtype="int32")
    layer = keras.layers.Embedding(20, 10, embeddings_constraint="non_neg")
    with pytest.raises(ValueError, match="has a `embeddings_constraint`"):
        dlrt.convert(keras.Model(tokens, layer(tokens)), rank=2, **KEEP)


@pytest.mark.parametrize(
    "make, name",
    [
        (sequential, "first"),
        (with_heads, "to_heads"),
        (with_heads, "self"),
        (with_embedding, "embedding"),
        (convolutional, "causal"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_kernels_that_are_no_numbers_are_refused(make, name, value):
    model = make()
    weight = model.get_layer(name).weights[0]
    weight.assign(np.full(weight.shape, value))
    with pytest.raises(ValueError, match=f"'{name}' has a kernel.*no finite numbers"):
        dlrt.convert(model, rank=2, layers=f"{name}|last")
    assert set(low_rank_layers(dlrt.convert(model, rank=2, layers="last"))) == {"last"}


class Renamed(keras.layers.Dense):
    """Computes what its parent does."""

    def __init__(self, units, note="", **kwargs):
        super().__init__(units, activation="relu", **kwargs)
        self.note = note

    def get_config(self):
        return {**super().get_config(), "note": self.note}


class Doubled(keras.layers.Dense):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


class Positive(keras.layers.Dense):
    @property
    def kernel(self):
        return ops.absolute(super().kernel)


@pytest.mark.parametrize("kind, same", [(Renamed, 1), (Doubled, 0), (Positive, 0)])
def test_subclasses_that_compute_something_else_are_left_alone(kind, same, recwarn):
    first = kind(16, name="first")
    last = keras.layers.Dense(16, name="last")
    model = keras.Sequential(
        [keras.Input((20,)), first, keras.layers.Dense(16, name="hidden"), last]
    )
    data = inputs(5, 20)
    low_rank = dlrt.convert(model, rank=3)
    assert set(low_rank_layers(low_rank)) == {"hidden", *(["first"] if same else [])}
    why = f"is of type {kind.__name__}, a subclass of Dense that overrides"
    said = [str(each.message) for each in recwarn if each.category is UserWarning]
    assert [why in message for message in said] == [True] * (not same)
    _, report = dlrt.compress(model, "svd", {"ratio": 1.3})
    if same:
        full = dlrt.convert(model, rank=16, layers=".*")
        compressed, _ = dlrt.compress(model, "svd", {"error": 0})
        for copy in (full, dlrt.to_dense(full), compressed, dlrt.decompose(model)):
            assert_close(outputs(copy, data), outputs(model, data))
    else:
        assert why in report.left_alone["first"]
        with pytest.raises(ValueError, match=why):
            dlrt.convert(model, rank=2, layers="first")


@pytest.mark.parametrize("name", ["self", *slow("to_heads", "last")])
def test_quantised_layers_are_refused(name):
    model = with_heads()
    layer = model.get_layer(name)
    getattr(layer, "query_dense", layer).quantize("int8")
    with pytest.raises(ValueError, match=f"'{name}' is quantised.*Leave the layer out"):
        dlrt.convert(model, rank=2, **KEEP)
    low_rank = dlrt.convert(model, rank=100, layers="from_heads")
    assert set(low_rank_layers(low_rank)) == {"from_heads"}
    data = data_for(model)
    assert_close(outputs(low_rank, data), outputs(model, data), 1e-4)


def test_a_model_without_any_other_layers_says_why():
    x = keras.Input((20,))
    layer = keras.layers.Dense(20, name="only")
    model = keras.Model(x, layer(x))
    layer.quantize("int8")
    with pytest.raises(ValueError, match="selects none.*'only': 'it is quantised'"):
        dlrt.compress(model, "svd", {"ratio": 2})


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


# A transformer


def transformer(**changes):
    sizes = dict(
        dim=16,
        layers=1,
        heads=2,
        feed_forward=32,
        dropout=0.1,
        source_size=20,
        target_size=24,
    )
    keras.utils.set_random_seed(0)
    return fill(network.build(network.Architecture(**sizes, **changes)))


def sentences(rows=16):
    rng = np.random.default_rng(0)
    x = {
        "source": rng.integers(1, 20, (rows, 7), dtype="int32"),
        "target": rng.integers(1, 24, (rows, 6), dtype="int32"),
    }
    x["source"][0, 4:] = 0
    return x


def test_a_transformer_at_full_rank_scores_the_same():
    model, x = transformer(), sentences()
    full = dlrt.convert(model, rank=100, **KEEP)
    back = dlrt.to_dense(full)
    for copy in (full, back):
        assert_close(outputs(copy, x), outputs(model, x), 2e-5)
    assert [layer.name for layer in back.layers] == [
        layer.name for layer in model.layers
    ]
    for old, new in zip(model.layers, back.layers, strict=True):
        assert type(new) is type(old)
        assert new.get_config() == old.get_config()


def test_a_converted_transformer_has_truncated_kernels(tmp_path):
    model, x = transformer(), sentences()
    low_rank = dlrt.convert(model, rank=5)
    ranks = dlrt.accounting.ranks(low_rank)
    # 1 encoder layer with one attention, 1 decoder layer with two; not the output.
    assert len(ranks) == 2 * 2 + 3 * 4
    assert set(ranks.values()) == {5}
    # The same truncation of the kernels, put into the dense network.
    truncated = dlrt.convert(model, tolerance=1e-6, **KEEP)
    truncated = dlrt.to_dense(truncated)
    for layer in truncated.layers:
        parts = [layer]
        if isinstance(layer, keras.layers.MultiHeadAttention):
            parts = [layer.query_dense, layer.key_dense, layer.value_dense]
            parts.append(layer.output_dense)
        for part in parts:
            if layer.name == "output" or not hasattr(part, "kernel"):
                continue
            w = array(part.kernel).astype("float64")
            # Heads and their axes belong together.
            rows = 16 if w.ndim == 3 else w.shape[0]
            u, s, vh = np.linalg.svd(w.reshape(rows, -1), full_matrices=False)
            part.kernel.assign(((u[:, :5] * s[:5]) @ vh[:5]).reshape(w.shape))
    assert_close(outputs(low_rank, x), outputs(truncated, x), 1e-4)
    low_rank.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(loaded, x), outputs(low_rank, x))


@pytest.mark.slow
def test_a_converted_transformer_is_trained_on():
    low_rank = dlrt.convert(transformer(), rank=5)
    low_rank.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-2)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = sentences()
    history = low_rank.fit(x, x["target"], batch_size=8, epochs=12, verbose=0)
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]
    assert set(dlrt.accounting.ranks(low_rank).values()) == {5}


@pytest.mark.parametrize("back", [dlrt.to_dense, dlrt.merge])
def test_a_low_rank_transformer_predicts_the_same_in_other_forms(back, tmp_path):
    model, x = transformer(rank=4, embedding_rank=3), sentences()
    other = back(model)
    assert_close(outputs(other, x), outputs(model, x), 2e-5)
    # Decoding token by token calls its layers by name.
    memory, mask = network.encode(other.get_layer, 1, x["source"])
    projected = network.project_memory(other.get_layer, 1, memory)
    caches = network.empty_caches(other.get_layer, 1, batch_size=16, length=6)
    scores, _ = network.decode_next(
        other.get_layer, 1, x["target"][:, :3], projected, mask, caches, 0
    )
    np.testing.assert_allclose(
        array(scores), outputs(model, x)[:, :3], rtol=1e-4, atol=1e-4
    )
    other.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(loaded, x), outputs(other, x))
