"""Layers within layers and models of a user's own classes, replaced."""

from collections import namedtuple

import keras
import numpy as np
import pytest
from conftest import slow
from keras import ops
from surgery.models import inputs, outputs, reload

import dlrt
from dlrt import accounting
from dlrt.surgery.exchanged import Exchanged

Pair = namedtuple("Pair", ["first", "second"])


@keras.saving.register_keras_serializable(package="tests")
class Block(keras.layers.Layer):
    """Layers as attributes, in lists, dictionaries and tuples, and in two places."""

    def __init__(self, width=12, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.inside = keras.layers.Dense(width, activation="relu", name="inside")
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.more = [
            keras.layers.Dense(14, name="listed"),
            {"sequential": keras.Sequential([keras.layers.Dense(16, name="nested")])},
        ]
        self.pair = Pair(self.more[0], keras.layers.Dense(16, name="named"))

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(1,), initializer="ones")
        last = shape[-1]
        for layer, width in [
            (self.inside, last),
            (self.norm, self.width),
            (self.more[0], self.width),
            (self.more[1]["sequential"], 14),
            (self.pair.second, 16),
        ]:
            layer.build((*shape[:-1], width))

    def call(self, x, training=None):
        y = self.more[0](self.norm(self.inside(x)))
        return x + self.pair.second(self.more[1]["sequential"](y)) * self.scale

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="tests")
class Network(keras.Model):
    def __init__(self, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth
        self.blocks = [Block(name=f"block_{i}") for i in range(depth)]
        self.dropout = keras.layers.Dropout(0.5)
        self.never_called = keras.layers.Dense(5, name="never_called")
        self.last = keras.layers.Dense(3, name="last")

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x)
        return self.last(self.dropout(x))

    def get_config(self):
        return {"depth": self.depth, "name": self.name}


def subclassed(depth=1):
    model = Network(depth, name="network")
    model(inputs(2, 16))
    return model


def functional():
    x = keras.Input((16,))
    return keras.Model(x, keras.layers.Dense(3, name="last")(Block(name="block")(x)))


MODELS = pytest.mark.parametrize("make", [subclassed, *slow(functional)])
X = inputs(5, 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "method"),
    [
        (subclassed, "dlrt"),
        *slow((functional, "alds"), (subclassed, "svd"), (functional, "tucker")),
    ],
)
def test_compressed_models_predict_train_and_load(tmp_path, make, method):
    model = make()
    weights, expected = model.get_weights(), outputs(model, X)
    full, _ = dlrt.compress(model, method, {"error": 0})
    np.testing.assert_allclose(outputs(full, X), expected, atol=1e-4)
    smaller, report = dlrt.compress(model, method, {"ratio": 1.5})
    assert report.parameters <= model.count_params() / 1.5
    assert {"inside", "listed", "nested", "named"} <= {x.name for x in report.layers}
    assert report.left_alone["norm"] == "LayerNormalization layers are not compressed"
    optimizer = keras.optimizers.Adam(0.01)
    smaller.compile(
        dlrt.optimizers.LowRank(optimizer) if method == "dlrt" else optimizer, "mse"
    )
    smaller.fit(X, np.zeros((5, 3)), verbose=0)
    loaded = reload(smaller, tmp_path)
    np.testing.assert_allclose(outputs(loaded, X), outputs(smaller, X), atol=1e-6)
    assert [w.shape for w in loaded.weights] == [w.shape for w in smaller.weights]
    for old, new in zip(
        smaller.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (old, new)))
    loaded.fit(X, np.zeros((5, 3)), verbose=0)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(outputs(model, X), expected)


@pytest.mark.slow
@MODELS
def test_one_by_one_and_by_sensitivity(tmp_path, make):
    """The layers within are trained and measured like any other."""
    targets = np.zeros((len(X), 3), "float32")
    called = []

    def fine_tune(model):
        model.compile("sgd", "mse")
        model.fit(X, targets, verbose=0)
        called.append(model)

    smaller, report = dlrt.compress(
        make(),
        "svd",
        {"ratio": 1.5},
        allocation=dlrt.compression.Sensitivity(loss="mse"),
        data=(X, targets),
        fine_tune=fine_tune,
        one_by_one=True,
    )
    replaced = [layer for layer in report.layers if layer.structure != "dense"]
    assert len(called) == len(replaced) > 1
    assert report.parameters < report.parameters_before
    np.testing.assert_allclose(
        outputs(reload(smaller, tmp_path), X), outputs(smaller, X), atol=1e-6
    )


@MODELS
def test_convert_and_back(tmp_path, make):
    model = make()
    low_rank = dlrt.convert(model, rank=3)
    assert len(accounting.ranks(low_rank)) == 4
    assert accounting.compression(low_rank) > 0.3
    expected = outputs(low_rank, X)
    for change in (dlrt.to_dense, dlrt.merge):
        changed = change(low_rank)
        assert not accounting.low_rank_layers(changed)
        np.testing.assert_allclose(outputs(changed, X), expected, atol=1e-4)
        loaded = reload(changed, tmp_path)
        np.testing.assert_allclose(outputs(loaded, X), expected, atol=1e-4)
    assert dlrt.to_dense(low_rank).count_params() == model.count_params()


def test_what_has_been_compressed_can_be_again(tmp_path):
    smaller, _ = dlrt.compress(subclassed(), "svd", {"ratio": 1.3})
    again, _ = dlrt.compress(smaller, "svd", {"ratio": 1.3})
    assert again.count_params() < smaller.count_params()
    loaded = reload(again, tmp_path)
    np.testing.assert_allclose(outputs(loaded, X), outputs(again, X), atol=1e-6)


def test_layers_in_two_places_stay_one():
    block = dlrt.convert(functional(), rank=2).get_layer("block").layer
    assert isinstance(block.inside, dlrt.layers.LowRankDense)
    assert block.pair.first is block.more[0]
    assert isinstance(block.pair.second, dlrt.layers.LowRankDense)
    nested = block.more[1]["sequential"].layers
    assert isinstance(nested[0], dlrt.layers.LowRankDense)
    # What was replaced is not kept, nor trained.
    assert not any(type(part) is keras.layers.Dense for part in block._flatten_layers())


def test_only_what_is_named_is_replaced():
    model = subclassed(depth=2)
    low_rank = dlrt.convert(model, rank=2, layers="inside")
    assert set(accounting.named_layers(low_rank)) == {
        "network/block_0/inside",
        "network/block_1/inside",
    }
    outside = dlrt.convert(functional(), rank=2, layers="last")
    assert type(outside.get_layer("block")) is Block


@pytest.mark.slow
def test_adaptive_ranks_train_in_models_of_two_gradients():
    low_rank = dlrt.convert(subclassed(), rank=3, layers="inside|listed")
    low_rank.compile(
        dlrt.optimizers.LowRank("adam", integrator="augmented_bug", tolerance=0.5),
        "mse",
    )
    low_rank.fit(X, inputs(5, 3), verbose=0)
    assert np.all(np.isfinite(outputs(low_rank, X)))


@keras.saving.register_keras_serializable(package="tests")
class Masked(keras.Model):
    """Several inputs, a mask and integers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(30, 12, mask_zero=True)
        self.hidden = keras.layers.Dense(20, name="hidden")
        self.attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
        self.pool = keras.layers.GlobalAveragePooling1D()

    def build(self, tokens_shape, context_shape):
        self.embedding.build(tokens_shape)
        self.hidden.build((*tokens_shape, 12))
        self.attention.build((*tokens_shape, 20), context_shape)

    def call(self, tokens, context, training=None):
        x = self.hidden(self.embedding(tokens))
        return self.pool(self.attention(x, context))

    def get_config(self):
        return {"name": self.name}


def test_several_inputs_masks_and_attention(tmp_path):
    model = Masked()
    tokens = np.array([[3, 1, 4, 0], [5, 0, 0, 0]], "int32")
    context = inputs(2, 5, 6)
    expected = ops.convert_to_numpy(model(tokens, context))
    low_rank = dlrt.convert(model, tolerance=1e-6, layers=lambda layer: True)
    assert isinstance(low_rank.layer.embedding, dlrt.layers.LowRankEmbedding)
    assert isinstance(low_rank.layer.attention, dlrt.layers.LowRankMultiHeadAttention)
    for copy in (low_rank, reload(low_rank, tmp_path)):
        got = ops.convert_to_numpy(copy(tokens, context))
        np.testing.assert_allclose(got, expected, atol=1e-4)


@keras.saving.register_keras_serializable("tests")
class Unbuilding(keras.layers.Layer):
    """Has no `build`, but a layer within that has one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = Block()

    def call(self, x):
        return self.block(x)


def test_what_layers_within_build_is_in_the_file(tmp_path):
    inputs = keras.Input((16,))
    model = dlrt.convert(keras.Model(inputs, Unbuilding()(inputs)), rank=2)
    assert dlrt.accounting.low_rank_layers(model)
    loaded = reload(model, tmp_path)
    x = np.ones((2, 16), "float32")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_flops_within_count_once():
    block = 16 * 12 + 12 * 14 + 14 * 16 + 16 * 16
    for model, blocks in ((functional(), 1), (subclassed(depth=2), 2)):
        # Its own scale.
        with pytest.warns(UserWarning, match=r"leaves out .*\(Block\)"):
            assert accounting.flop_count(model) == 2 * (blocks * block + 16 * 3)


class TestErrors:
    def test_no_configuration(self):
        class Opaque(keras.Model):
            def __init__(self, layer):
                super().__init__()
                self.inside = layer

            def call(self, x):
                return self.inside(x)

            def get_config(self):
                return {}

        model = Opaque(keras.layers.Dense(16))
        model(X)
        with pytest.raises(
            ValueError, match="type Opaque.*can't be copied.*get_config"
        ):
            dlrt.compress(model, "svd", {"ratio": 2})

    def test_configuration_of_something_else(self):
        model = Network(depth=2)
        model(X)
        model.depth = 1
        with pytest.raises(ValueError, match="type Network"):
            dlrt.convert(model, rank=2)

    def test_layers_that_are_not_only_called(self):
        @keras.saving.register_keras_serializable(package="tests")
        class Tied(keras.layers.Layer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.inside = keras.layers.Dense(12, name="inside")

            def call(self, x):
                return self.inside(x) @ ops.transpose(self.inside.kernel)

        x = keras.Input((16,))
        model = keras.Model(x, keras.layers.Dense(16, name="last")(Tied()(x)))
        with pytest.raises(ValueError, match="(?s)more with them than call.*kernel"):
            dlrt.compress(model, "svd", {"ratio": 1.5})
        _, report = dlrt.compress(model, "svd", {"ratio": 1.2}, layers="last")
        assert [layer.name for layer in report.layers] == ["last"]
        # A low-rank layer has a kernel.
        expected = outputs(model, X)
        full = dlrt.convert(model, rank=12, layers="inside")
        np.testing.assert_allclose(outputs(full, X), expected, atol=1e-4)

    def test_places(self):
        with pytest.raises(ValueError, match="`replacements`.*'inside'.*'missing'"):
            Exchanged(functional().get_layer("block"), {"missing": None})

    def test_layers_within_those_of_keras(self):
        timed = keras.layers.TimeDistributed(keras.layers.Dense(9, name="inside"))
        x = keras.Input((4, 16))
        model = keras.Model(x, keras.layers.Dense(16, name="outside")(timed(x)))
        with pytest.warns(UserWarning, match="within other.*'time_distributed.*/ins"):
            low_rank = dlrt.convert(model, rank=2)
        assert list(accounting.ranks(low_rank)) == ["outside"]
        with pytest.raises(
            ValueError, match="within other layers.*'time_distributed.*/inside'"
        ):
            dlrt.convert(model, rank=2, layers="inside")

    def test_unbuilt(self):
        with pytest.raises(ValueError, match="`model` must be built"):
            dlrt.compress(Network(), "svd", {"ratio": 2})


def test_what_stays_as_it_is_need_not_be_built_from_shapes():
    @keras.saving.register_keras_serializable(package="tests")
    class Tokens(keras.layers.Layer):
        """Needs integers, which shapes don't say."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inside = keras.layers.Dense(8, name="inside")

        def call(self, tokens):
            return self.inside(ops.one_hot(tokens, 16))

    x = keras.Input((4,), dtype="int32")
    model = keras.Model(x, keras.layers.Dense(12, name="last")(Tokens()(x)))
    low_rank = dlrt.convert(model, rank=8, layers="last")
    tokens = np.array([[3, 1, 4, 0]], "int32")
    np.testing.assert_allclose(
        outputs(low_rank, tokens), outputs(model, tokens), atol=1e-5
    )


# Calls


class Wide(keras.layers.Layer):
    """Holds two layers and can be copied; `call` is that of subclasses."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside = keras.layers.Dense(16, name="inside")
        self.other = keras.layers.Dense(16, name="other")

    def build(self, shape, other_shape=None):
        self.inside.build(shape)
        self.other.build(shape)


@keras.saving.register_keras_serializable(package="tests")
class Optional(Wide):
    def build(self, x_shape, context_shape=None):
        super().build(x_shape)

    def call(self, x, context=None, training=None, double=False):
        y = self.inside(x) if context is None else self.inside(x) + self.other(context)
        return y * (2 if double else 1) * (3 if training else 1)


@keras.saving.register_keras_serializable(package="tests")
class KeywordOnly(Wide):
    def build(self, x_shape, context_shape):
        super().build(x_shape)

    def call(self, *, x, context, scale=1.0):
        return self.inside(x) + scale * self.other(context)


@keras.saving.register_keras_serializable(package="tests")
class Nested(Wide):
    def build(self, inputs_shape):
        super().build(inputs_shape["a"])

    def call(self, inputs):
        a, (b, _) = inputs["a"], inputs["rest"]
        return {"sum": self.inside(a) + self.other(b), "pair": (a, self.inside(b))}


@keras.saving.register_keras_serializable(package="tests")
class Forwarding(Wide):
    def build(self, x_shape):
        super().build(x_shape)

    def call(self, x, **kwargs):
        return self.inside(x) + self.more(x, **kwargs)

    def more(self, x, context=None):
        return self.other(x if context is None else x + context)


@keras.saving.register_keras_serializable(package="tests")
class Shaped(Wide):
    """Norms, which can't be traced with the sparse tensors that Keras expects."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = keras.layers.RMSNormalization()

    def build(self, x_shape):
        super().build(x_shape)
        self.norm.build(x_shape)

    def call(self, x):
        return self.inside(self.norm(x)) + self.other(x)

    def compute_output_shape(self, x_shape):
        return x_shape


def scaled(x):
    """Keras takes the product for sparse."""
    return x * ops.sqrt(ops.sum(ops.ones_like(x)))


CALLS = {
    "one": (Optional, lambda f, x, c: f(x)),
    "two": (Optional, lambda f, x, c: f(x, c)),
    "keyword": (Optional, lambda f, x, c: f(x, context=c)),
    "keywords": (Optional, lambda f, x, c: f(context=c, x=x)),
    "flags": (Optional, lambda f, x, c: f(x, double=True, training=True)),
    "keyword only": (KeywordOnly, lambda f, x, c: f(x=x, context=c, scale=2.0)),
    "nested": (Nested, lambda f, x, c: f({"a": x, "rest": [c, c]})),
    "forwarded": (Forwarding, lambda f, x, c: f(x, context=c)),
    "shaped": (Shaped, lambda f, x, c: f(scaled(x))),
}


QUICK = ("keywords", "flags", "nested", "shaped")


def values(outputs):
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(outputs)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", *slow("mixed_bfloat16")])
@pytest.mark.parametrize(
    "kind, call",
    [
        pytest.param(*case, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, case in CALLS.items()
    ],
)
def test_every_call_of_a_layer_works_on_its_copy(tmp_path, kind, call, dtype):
    layer = kind(name="block", dtype=dtype)
    x, context = keras.Input((16,)), keras.Input((16,))
    called = call(layer, x, context)
    model = keras.Model([x, context], [*keras.tree.flatten(called), context])
    data = [X, inputs(5, 16)[::-1].copy()]
    smaller, _ = dlrt.compress(model, "svd", {"error": 0.9})
    for changed in (dlrt.convert(model, rank=16, layers="inside|other"), smaller):
        loaded = reload(changed, tmp_path)
        for got, expected in zip(
            values(loaded(data)), values(changed(data)), strict=True
        ):
            np.testing.assert_allclose(got, expected, atol=1e-5)
    full = dlrt.convert(model, rank=16, layers="inside|other")
    tolerance = 1e-4 if dtype == "float32" else 0.1
    for got, expected in zip(values(full(data)), values(model(data)), strict=True):
        np.testing.assert_allclose(got, expected, atol=tolerance, rtol=tolerance)
    # The layer by itself, in other ways than in the model.
    copy = full.get_layer("block")
    assert isinstance(copy, Exchanged) and copy.compute_dtype == layer.compute_dtype
    for other in (call, *(c for k, c in CALLS.values() if k is kind)):
        got, expected = (values(other(f, *data)) for f in (copy, layer))
        for one, two in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, two, atol=tolerance, rtol=tolerance)
    np.testing.assert_array_equal(full.output_shape, model.output_shape)


@keras.saving.register_keras_serializable(package="tests")
class Averaged(Wide):
    """Uses the mask of each of its inputs, and hands one on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, x_shape, context_shape=None):
        super().build(x_shape)

    def call(self, x, context=None, x_mask=None, context_mask=None, mask=None):
        masks = [m for m in (mask, x_mask, context_mask) if m is not None]
        factor = sum(ops.cast(m, "float32") for m in masks)[..., None]
        return self.inside(x) * factor

    def compute_mask(self, x, previous_mask=None):
        return None if previous_mask is None else ops.logical_not(previous_mask)


@pytest.mark.parametrize("several", [False, True])
def test_masks_find_their_way(tmp_path, several):
    tokens = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(30, 16, mask_zero=True)(tokens)
    y = keras.layers.Embedding(30, 16, mask_zero=True)(tokens[:, ::-1])
    y = Averaged(name="block")(x, context=y) if several else Averaged(name="block")(x)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(y))
    data = np.array([[3, 1, 4, 0], [5, 0, 0, 0]], "int32")
    copy = dlrt.convert(model, rank=16, layers="inside")
    for other in (copy, reload(copy, tmp_path)):
        np.testing.assert_allclose(
            outputs(other, data), outputs(model, data), atol=1e-4
        )


@keras.saving.register_keras_serializable(package="tests")
class Attention(keras.layers.MultiHeadAttention):
    """Called in another way, as that of keras-hub."""

    def call(self, query, value, key=None, attention_mask=None, cache=None):
        if cache is not None:
            raise NotImplementedError
        y = self._query_dense(query), self._key_dense(value), self._value_dense(value)
        return self._output_dense(self._compute_attention(*y, attention_mask)[0])


@keras.saving.register_keras_serializable(package="tests")
class Encoder(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # TensorFlow has attributes that begin like this.
        self._self_attention = Attention(2, 8, name="attention")
        self._hidden = keras.layers.Dense(16, name="hidden")

    def build(self, shape):
        self._self_attention.build(shape, shape)
        self._hidden.build(shape)

    def call(self, x):
        return self._hidden(x + self._self_attention(x, value=x))


@pytest.mark.slow
@pytest.mark.parametrize("layers", [None, *slow("attention", ["attention"])])
def test_attention_of_a_class_of_ones_own(tmp_path, layers):
    x = keras.Input((5, 16))
    y = Attention(2, 8, name="outer")(Encoder()(x), x)
    model = keras.Model(x, keras.layers.Dense(3, name="last")(y))
    low_rank = dlrt.convert(model, rank=3, layers=layers)
    projections = ["query", "key", "value", "attention_output"]
    names = [name.split("/")[-1] for name in accounting.named_layers(low_rank)]
    assert sorted(names) == sorted(
        2 * projections + ["hidden"] if layers is None else projections
    )
    full = dlrt.convert(model, rank=16, layers=lambda layer: True)
    data = inputs(3, 5, 16)
    np.testing.assert_allclose(outputs(full, data), outputs(model, data), atol=1e-4)
    for change in (dlrt.to_dense, dlrt.merge):
        copy = reload(change(low_rank), tmp_path)
        np.testing.assert_allclose(
            outputs(copy, data), outputs(low_rank, data), atol=1e-4
        )
