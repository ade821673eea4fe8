"""Which layers are converted."""

import keras
import pytest
from conftest import label, slow
from keras import ops
from surgery.models import (
    KEEP,
    assert_close,
    convolutional,
    data_for,
    inputs,
    low_rank_layers,
    nested,
    outputs,
    sequential,
    shared,
    shared_across_models,
    with_embedding,
    with_heads,
    with_shared_model,
)

import dlrt
from dlrt.layers import (
    LowRankConv1D,
    LowRankConv2D,
    LowRankDense,
    LowRankEinsumDense,
    LowRankEmbedding,
    LowRankMultiHeadAttention,
)


def test_default_leaves_the_last_layer_and_those_that_would_grow():
    model = sequential()
    assert set(low_rank_layers(dlrt.convert(model, rank=3))) == {"first", "second"}
    # 7 (20 + 16) < 20 16, but 7 (16 + 12) > 16 12.
    assert set(low_rank_layers(dlrt.convert(model, rank=7))) == {"first"}
    single = keras.Sequential([keras.Input((20,)), keras.layers.Dense(20, name="only")])
    assert set(low_rank_layers(dlrt.convert(single, rank=2))) == {"only"}


HEADS = {
    "to_heads": LowRankEinsumDense,
    "from_heads": LowRankEinsumDense,
    "self": LowRankMultiHeadAttention,
    "ellipsis": LowRankEinsumDense,
}
CONVOLUTIONS = {
    "plane": LowRankConv2D,
    "strides": LowRankConv2D,
    "dilated": LowRankConv2D,
    "causal": LowRankConv1D,
}
HIDDEN = {"hidden": LowRankDense}


@pytest.mark.parametrize(
    "make, layers, expected",
    [
        (with_heads, None, HEADS),
        (with_heads, ".*", {**HEADS, "last": LowRankDense}),
        (with_embedding, None, HIDDEN),
        (
            with_embedding,
            ".*",
            {"embedding": LowRankEmbedding, **HIDDEN, "last": LowRankDense},
        ),
        (convolutional, None, CONVOLUTIONS),
    ],
)
def test_types_follow_the_layers_of_keras(make, layers, expected):
    found = low_rank_layers(dlrt.convert(make(), rank=3, layers=layers))
    assert {name: type(layer) for name, layer in found.items()} == expected


def test_default_leaves_a_last_einsum_layer():
    x = keras.Input((4, 20))
    y = keras.layers.Dense(20, name="first")(x)
    y = keras.layers.EinsumDense("abc,cd->abd", (4, 20), name="last")(y)
    low_rank = dlrt.convert(keras.Model(x, y), rank=3)
    assert set(low_rank_layers(low_rank)) == {"first"}


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


@pytest.mark.parametrize(
    "layers, message",
    [
        (["first", "no"], r"names no layer.*\['no'\]"),
        ("no", "selects no layer.*'no'.*'first'"),
        # Names are matched in full.
        ("fir", "selects no layer"),
        ([], "selects no layer"),
        (lambda layer: False, "selects no layer"),
    ],
    ids=label,
)
def test_nothing_to_convert(layers, message):
    with pytest.raises(ValueError, match=message):
        dlrt.convert(sequential(), rank=2, layers=layers)


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


BOUND = {"kernel_constraint": "non_neg"}


@pytest.mark.parametrize(
    "layer, shape",
    [
        (keras.layers.Dense(20, **BOUND), (20,)),
        (keras.layers.EinsumDense("abc,cd->abd", (4, 20), **BOUND), (4, 20)),
        (keras.layers.MultiHeadAttention(2, 5, **BOUND), (4, 20)),
        (keras.layers.Embedding(20, 10, embeddings_constraint="non_neg"), (4,)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_constraints_of_kernels_are_refused(layer, shape):
    x = keras.Input(shape)
    arguments = (x, x) if isinstance(layer, keras.layers.MultiHeadAttention) else (x,)
    model = keras.Model(x, layer(*arguments))
    with pytest.raises(ValueError, match=r"has a `\w+_constraint`, which"):
        dlrt.convert(model, rank=2, **KEEP)


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
