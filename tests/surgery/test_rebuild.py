"""What copies of models keep beside their weights, and layers that have no copy."""

import keras
import numpy as np
import pytest
from conftest import slow
from keras import ops
from surgery.models import fill, inputs, outputs, reload

import dlrt
from dlrt import accounting

TOKENS = np.random.default_rng(0).integers(1, 30, (3, 5), dtype="int32")
X = inputs(5, 16)


def assert_same(copy, model, x):
    expected = outputs(model, x)
    np.testing.assert_allclose(outputs(copy, x), expected, rtol=1e-4, atol=1e-4)


def with_last(layer, shape=(16,), dtype="float32"):
    x = keras.Input(shape, dtype=dtype)
    return fill(keras.Model(x, keras.layers.Dense(12, name="last")(layer(x))))


@keras.saving.register_keras_serializable(package="tests_rebuild")
class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside = keras.layers.Dense(16, name="inside")
        self.attention = keras.layers.MultiHeadAttention(2, 4, name="attention")

    def build(self, shape):
        self.inside.build(shape)
        self.attention.build((shape[0], 1, 16), (shape[0], 1, 16))

    def call(self, x):
        y = self.inside(x)[:, None]
        return self.attention(y, y)[:, 0]


# State that no configuration has


def lora(layer):
    layer.enable_lora(2, lora_alpha=6)
    for name in vars(layer):
        if name.startswith("lora_") and isinstance(
            getattr(layer, name), keras.Variable
        ):
            variable = getattr(layer, name)
            variable.assign(inputs(*variable.shape))


def normalization():
    layer = keras.layers.Normalization()
    layer.adapt(9 + 5 * inputs(50, 16))
    return layer


def conv():
    return keras.Sequential(
        [
            keras.layers.Reshape((4, 4)),
            keras.layers.Conv1D(6, 2, name="inside"),
            keras.layers.Flatten(),
        ]
    )


@pytest.mark.parametrize(
    "make, change",
    [
        (lambda: keras.layers.Dense(16), lora),
        (lambda: keras.layers.EinsumDense("ab,bc->ac", 16), lora),
        *slow(
            (conv, lambda x: lora(x.layers[1])),
            (Block, lambda x: lora(x.inside)),
        ),
        (Block, lambda x: lora(x.attention.query_dense)),
        *slow(
            (Block, lambda x: x.inside.quantize("int8")),
            (Block, lambda x: x.attention.value_dense.quantize("int8")),
        ),
        (normalization, lambda x: None),
    ],
    ids=["dense", "einsum", "conv", "block", "attention", "int8", "int8-2", "adapted"],
)
def test_converting_another_layer_at_full_rank_changes_nothing(make, change):
    layer = make()
    model = keras.Sequential([keras.Input((16,)), layer])
    fill(model) if not isinstance(layer, keras.layers.Normalization) else None
    model.add(keras.layers.Dense(12, name="last"))
    change(layer)
    expected = outputs(model, X)
    copy = dlrt.convert(model, rank=12, layers="last")
    np.testing.assert_allclose(outputs(copy, X), expected, rtol=1e-4, atol=1e-4)
    flags = [[w.trainable for w in m.layers[0].weights] for m in (model, copy)]
    assert flags[0] == flags[1]


def test_lora_in_an_embedding_and_in_a_replaced_block(tmp_path):
    embedding = keras.layers.Embedding(30, 16)
    model = with_last(embedding, (5,), "int32")
    lora(embedding)
    assert_same(dlrt.convert(model, rank=12, layers="last"), model, TOKENS)
    block = Block()
    model = with_last(block)
    lora(block.attention.query_dense)
    copy = dlrt.convert(model, rank=16, layers="inside")
    assert_same(copy, model, X)
    assert_same(reload(copy, tmp_path), model, X)


def freeze_part(model):
    model.get_layer("block").inside.trainable = False


def freeze_variable(model):
    model.get_layer("block").attention.query_dense.bias.trainable = False


def freeze_but_one(model):
    model.get_layer("block").trainable = False
    model.get_layer("inner").trainable = False
    model.get_layer("inner").layers[0].trainable = True


@pytest.mark.parametrize(
    "freeze, layers",
    [
        (freeze_part, "attention|nested|last"),
        (freeze_variable, "last"),
        *slow(
            (freeze_part, "last"),
            (freeze_but_one, "last"),
            (freeze_but_one, "attention|nested|last"),
        ),
    ],
)
def test_what_is_frozen_stays_frozen(freeze, layers):
    x = keras.Input((16,))
    inner = keras.Sequential(
        [keras.layers.Dense(16, name="nested"), keras.layers.Dense(16)], name="inner"
    )
    y = keras.layers.Dense(12, name="last")(inner(Block(name="block")(x)))
    model = keras.Model(x, y)
    freeze(model)
    copy = dlrt.to_dense(dlrt.convert(model, rank=2, layers=layers))
    for name in ("trainable_weights", "non_trainable_weights"):
        shapes = [[tuple(w.shape) for w in getattr(m, name)] for m in (model, copy)]
        assert sorted(shapes[0]) == sorted(shapes[1])
    for each in (model, copy):
        each.get_layer("block").trainable = True
        each.get_layer("inner").trainable = True
    assert len(model.trainable_weights) == len(copy.trainable_weights)


def test_inputs_stay_optional_and_sparse():
    class Maybe(keras.layers.Layer):
        def call(self, x, y=None):
            return x if y is None else x + y

        def compute_output_shape(self, x_shape):
            return x_shape

    x = keras.Input((16,))
    y = keras.Input((16,), optional=True)
    z = keras.Input((16,), sparse=True)
    hidden = keras.layers.Dense(16, name="hidden")(Maybe()(x, y))
    out = keras.layers.Add()([hidden, keras.layers.Dense(16)(z)])
    model = keras.Model([x, y, z], keras.layers.Dense(12, name="last")(out))
    copy = dlrt.convert(model, rank=16, layers="hidden")
    assert_same(copy, model, [X, None, X])
    assert [tensor.sparse for tensor in copy.inputs] == [False, False, True]


# Layers without a configuration to copy them by


class Opaque(keras.layers.Layer):
    """Can't be made from its configuration, and holds more than layers."""

    def __init__(self, units, scale):
        super().__init__(name="opaque")
        self.scale = {"factor": scale, "nothing": None}
        self.inside = keras.layers.Dense(units, name="inside")
        self.more = [keras.layers.Dropout(0.5), keras.layers.Dense(16, name="listed")]

    def build(self, shape):
        self.inside.build(shape)
        self.more[1].build((*shape[:-1], self.inside.units))

    def call(self, x):
        y = self.more[0](self.inside(x))
        return x + self.more[1](y) * self.scale["factor"]


def opaque():
    x = keras.Input((16,))
    y = keras.layers.Dense(16, name="hidden")(Opaque(8, 2.0)(x))
    return fill(keras.Model(x, keras.layers.Dense(12, name="last")(y)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda model: dlrt.convert(model, rank=16, layers="hidden"),
        *slow(
            lambda model: dlrt.compress(model, "svd", {"error": 0}, layers=["hidden"])[
                0
            ],
            lambda model: dlrt.compress(model, "svd", {"error": 0})[0],
            dlrt.decompose,
            dlrt.to_dense,
            dlrt.merge,
        ),
    ],
    ids=["convert", "compress", "compress all", "decompose", "to_dense", "merge"],
)
def test_layers_without_a_copy_do_not_hold_up_others(change):
    model = opaque()
    expected, before = outputs(model, X), model.get_weights()
    with pytest.warns(UserWarning, match="may not be loaded.*'opaque' of type Opaque"):
        copy = change(model)
    np.testing.assert_allclose(outputs(copy, X), expected, atol=1e-5)
    copy.compile(dlrt.optimizers.LowRank("sgd"), "mse")
    copy.fit(X, np.zeros((5, 12)), verbose=0)
    layer = copy.get_layer("opaque")
    assert layer.inside is layer._layers[0]
    layer.inside.quantize("int8")
    layer.trainable = False
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(outputs(model, X), expected)
    assert model.get_layer("opaque").trainable


def test_layers_within_one_without_a_copy_are_left_alone_and_named():
    model = opaque()
    reason = r"is within 'opaque' of type Opaque, which can't be copied.*TypeError"
    with pytest.warns(UserWarning) as warned:
        low_rank = dlrt.convert(model, rank=2)
    assert list(accounting.ranks(low_rank)) == ["hidden"]
    messages = [str(warning.message) for warning in warned]
    assert any("['inside', 'listed']; each is within 'opaque'" in m for m in messages)
    with pytest.warns(UserWarning, match="may not be loaded"):
        _, report = dlrt.compress(model, "svd", {"ratio": 1.1})
    assert "is within 'opaque'" in report.left_alone["inside"]
    for layers in ("inside", ["listed"], lambda layer: layer.name == "inside"):
        with pytest.raises(ValueError, match=f"(inside|listed)' {reason}"):
            dlrt.convert(model, rank=2, layers=layers)
        with pytest.raises(ValueError, match=f"(inside|listed)' {reason}"):
            dlrt.compress(model, "svd", {"ratio": 1.1}, layers=layers)


def test_a_layer_without_any_copy_is_named():
    layer = Opaque(8, 2.0)
    model = with_last(layer)
    layer.scale["factor"] = (number for number in range(3))
    with pytest.raises(ValueError, match="has a layer 'opaque' of type Opaque, which"):
        dlrt.convert(model, rank=2, layers="last")


# Tied weights


@keras.saving.register_keras_serializable(package="tests_rebuild")
class Head(keras.layers.Layer):
    """Scores all tokens by an embedding that it holds and serialises."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding
        self.hidden = keras.layers.Dense(16, name="within")

    def build(self, shape):
        self.hidden.build(shape)

    def call(self, x):
        return self.hidden(x) @ ops.transpose(self.embedding.embeddings)

    def get_config(self):
        embedding = keras.saving.serialize_keras_object(self.embedding)
        return {**super().get_config(), "embedding": embedding}

    @classmethod
    def from_config(cls, config):
        embedding = keras.saving.deserialize_keras_object(config.pop("embedding"))
        return cls(embedding, **config)


def tied(heads=1):
    tokens = keras.Input((5,), dtype="int32")
    embedding = keras.layers.Embedding(30, 16, name="embedding")
    x = keras.layers.Dense(16, name="hidden")(embedding(tokens))
    y = [Head(embedding, name=f"head_{i}")(x) for i in range(heads)]
    return fill(keras.Model(tokens, y[0] if heads == 1 else keras.layers.Add()(y)))


def tied_between_heads():
    """The embedding is no layer of the model itself."""
    x = keras.Input((5, 16))
    embedding = keras.layers.Embedding(30, 16, name="embedding")
    embedding.build((None,))
    y = [Head(embedding, name=name)(x) for name in ("one", "other")]
    y = keras.layers.Dense(16, name="hidden")(keras.layers.Add()(y))
    return fill(keras.Model(x, y))


@pytest.mark.parametrize(
    "layers", ["embedding|within|hidden", *slow("hidden", "embedding", "within")]
)
@pytest.mark.parametrize(
    "make", [tied, lambda: tied(2), tied_between_heads], ids=["head", "heads", "both"]
)
def test_tied_weights_stay_tied(tmp_path, make, layers):
    model = make()
    x = TOKENS if model.inputs[0].dtype == "int32" else inputs(3, 5, 16)
    low_rank = dlrt.convert(model, rank=16, layers=layers)
    back = dlrt.to_dense(low_rank)
    for copy in (low_rank, back):
        assert_same(copy, model, x)
        if make is not tied_between_heads:
            # Keras does not load such a model.
            assert_same(reload(copy, tmp_path), model, x)
    assert back.count_params() == model.count_params()
    holders = [layer for layer in back._flatten_layers() if hasattr(layer, "embedding")]
    assert len({id(layer.embedding) for layer in holders}) == 1


def test_compressed_models_stay_tied(tmp_path):
    model = tied()
    smaller, report = dlrt.compress(model, "svd", {"ratio": 1.2})
    assert smaller.count_params() == report.parameters < model.count_params() / 1.2
    assert_same(reload(smaller, tmp_path), smaller, TOKENS)


@pytest.mark.parametrize("layers", ["last", "shared", "last|shared"])
def test_ties_that_can_not_be_kept_are_refused_by_name(layers):
    shared = keras.layers.Dense(16, name="shared")
    x = keras.Input((4, 16))
    y = keras.layers.TimeDistributed(shared, name="timed")(shared(x))
    model = keras.Model(x, keras.layers.Dense(12, name="last")(y))
    with pytest.raises(ValueError, match="'shared' and 'shared' that share.*kernel"):
        dlrt.convert(model, rank=2, layers=layers)


def test_ties_of_variables_are_refused_by_name():
    class Borrower(keras.layers.Layer):
        def __init__(self, lender=None, **kwargs):
            super().__init__(**kwargs)
            self.kernel = None if lender is None else lender.kernel

        def call(self, x):
            return x @ ops.transpose(self.kernel)

        def get_config(self):
            return {"name": self.name}

    x = keras.Input((16,))
    lender = keras.layers.Dense(8, name="lender")
    y = lender(x)
    y = keras.layers.Dense(12, name="last")(Borrower(lender, name="borrower")(y))
    with pytest.raises(ValueError, match="'borrower'"):
        dlrt.convert(keras.Model(x, y), rank=2, layers="last")


def test_a_layer_in_a_model_and_in_one_within_is_warned_of():
    embedding = keras.layers.Embedding(30, 16, name="embedding")
    tokens = keras.Input((5,), dtype="int32")
    y = keras.layers.Dense(16, name="hidden")(embedding(tokens))
    backbone = keras.Model(tokens, y, name="backbone")
    tokens = keras.Input((5,), dtype="int32")
    y = keras.layers.Dot(-1)([backbone(tokens), embedding(tokens)])
    model = fill(keras.Model(tokens, y))
    with pytest.warns(
        UserWarning, match=r"not load it.*\['embedding'\] are in several"
    ):
        copy = dlrt.convert(model, rank=16, layers="hidden")
    assert_same(copy, model, TOKENS)
