import keras
import numpy as np
import pytest
from gradients import array

from dlrt.layers import LowRankEmbedding
from dlrt.layers.factor import stepping_factors


def built(rows=9, columns=6, rank=3, **arguments):
    layer = LowRankEmbedding(rows, columns, rank=rank, **arguments)
    layer.build()
    return layer


@pytest.mark.parametrize(
    "initializer",
    ["uniform", "glorot_uniform", keras.initializers.RandomNormal(stddev=0.3)],
    ids=["uniform", "glorot_uniform", "normal"],
)
def test_initial_rows_have_the_variance_of_keras(initializer):
    arguments = dict(input_dim=200, output_dim=80, embeddings_initializer=initializer)
    low_rank = LowRankEmbedding(rank=30, **arguments)
    dense = keras.layers.Embedding(**arguments)
    x = np.arange(200)
    actual, expected = np.var(array(low_rank(x))), np.var(array(dense(x)))
    assert actual == pytest.approx(expected, rel=0.05)


def test_rows_are_those_of_the_table():
    layer = built()
    u, s, v = layer.factors
    table = u @ s @ v.T
    np.testing.assert_allclose(array(layer.embeddings), table, atol=1e-6)
    for x in ([[1, 8, 1]], [0, 3], [[[2]]]):
        np.testing.assert_allclose(array(layer(np.array(x))), table[x], atol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_indices_of_any_type_are_found(dtype, policy):
    # 2049 is no number of float16.
    rows = 200 if dtype == "uint8" else 3000
    layer = built(rows, 4, rank=4, dtype=policy)
    x = np.array([0, 1, rows - 1] if dtype == "uint8" else [0, 2049, 2999])
    found = array(layer(keras.ops.convert_to_tensor(x.astype(dtype))))
    np.testing.assert_allclose(found, array(layer.embeddings)[x], atol=1e-3)


def sentences(embedding, then):
    tokens = keras.Input((None,), dtype="int32")
    return keras.Model(tokens, then(embedding(tokens)))


@pytest.mark.parametrize("mask_zero", [True, False])
def test_zeros_are_masked_as_by_keras(mask_zero):
    low_rank = LowRankEmbedding(9, 6, rank=6, mask_zero=mask_zero)
    dense = keras.layers.Embedding(9, 6, mask_zero=mask_zero)
    x = np.array([[1, 5, 0, 0], [3, 2, 7, 0]])
    models = []
    for layer in (low_rank, dense):
        models.append(sentences(layer, keras.layers.GlobalAveragePooling1D()))
    dense.embeddings.assign(low_rank.embeddings)
    actual, expected = (array(model(x)) for model in models)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    kept = array(low_rank.embeddings)[[1, 5]].mean(axis=0)
    assert np.allclose(actual[0], kept, atol=1e-6) == mask_zero


def test_a_row_that_comes_up_twice_has_the_sum_of_its_gradients():
    model = sentences(built(dtype="float32"), keras.layers.GlobalAveragePooling1D())
    model.compile(keras.optimizers.SGD(1.0), "mse")
    layer = model.layers[1]
    before = layer.factors.u.copy()
    # The plain step moves the rows that have gradients, and no others.
    with stepping_factors():
        model.train_on_batch(np.array([[4, 4, 4]]), np.zeros((1, 6)))
    moved = np.any(layer.u.numpy() != before, axis=1)
    assert moved.nonzero()[0].tolist() == [4]


@pytest.mark.parametrize("name", ["input_dim", "output_dim"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_sizes_must_be_positive_integers(name, value):
    arguments = {"input_dim": 9, "output_dim": 6, name: value}
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer"):
        LowRankEmbedding(rank=2, **arguments)
