import keras
import numpy as np
import pytest
from conftest import as_program, slow
from gradients import array
from helpers import inputs
from keras import ops

import dlrt
from dlrt.layers import CachedMultiHeadAttention, LowRankMultiHeadAttention

DIM, HEADS, KEY_DIM = 8, 2, 3


def low_rank(rank=2, **arguments):
    return LowRankMultiHeadAttention(HEADS, KEY_DIM, rank=rank, **arguments)


def cached(**arguments):
    return CachedMultiHeadAttention(HEADS, KEY_DIM, **arguments)


LAYERS = pytest.mark.parametrize("make", [low_rank, cached])


# Initialisation and ranks


def test_initial_projections_have_the_scale_of_keras():
    arguments = dict(num_heads=4, key_dim=30, value_dim=15, use_gate=True)
    ours = LowRankMultiHeadAttention(rank=40, **arguments)
    keras_own = keras.layers.MultiHeadAttention(**arguments)
    shape = (None, 3, 60)
    ours.build(shape, shape), keras_own.build(shape, shape)
    for name in ("query", "key", "value", "output", "gate"):
        attribute = "_gate_dense" if name == "gate" else f"{name}_dense"
        kernels = [
            array(getattr(layer, attribute).kernel) for layer in (ours, keras_own)
        ]
        actual, expected = map(np.var, kernels)
        assert actual == pytest.approx(expected, rel=0.1), name


def test_projections_begin_differently():
    layer = low_rank()
    layer.build((None, 4, DIM), (None, 4, DIM))
    bases = [p.factors.u for p in (layer.query_dense, layer.key_dense)]
    assert np.abs(bases[0] - bases[1]).max() > 0.1


def test_every_projection_has_a_rank_of_its_own():
    ranks = {"query": 1, "key": 2, "value": 3, "output": 4, "gate": 5}
    layer = low_rank(ranks, use_gate=True)
    assert layer.ranks == ranks
    layer.build((None, 4, DIM), (None, 4, DIM))
    assert layer.ranks == ranks
    assert layer.get_config()["rank"] == ranks
    del ranks["gate"]
    layer = low_rank(ranks, use_gate=True)
    layer.build((None, 4, DIM), (None, 4, DIM))
    assert layer.ranks == {**ranks, "gate": 1}
    assert layer._gate_dense.rank == 1


@pytest.mark.parametrize(
    "rank, message",
    [
        ({"query": 2}, "`rank` must be an integer, or have one for each of query"),
        ({"query": 2, "key": 2, "value": 2, "output": 2, "extra": 1}, "`rank` must"),
        ({"query": 2, "key": 0, "value": 2, "output": 2}, "`rank` must be a positive"),
        ("2", "`rank` must be a positive integer.*2"),
    ],
    ids=str,
)
def test_bad_ranks(rank, message):
    with pytest.raises(ValueError, match=message):
        low_rank(rank)


def test_values_and_keys_must_be_of_one_length():
    x, other = inputs(2, 4, DIM), inputs(2, 5, DIM)
    with pytest.raises(ValueError, match="`value` and `key` must agree"):
        low_rank()(x, x, other)


@pytest.mark.slow
def test_adaptive_training_gives_every_projection_its_rank():
    x = keras.Input((4, DIM))
    model = dlrt.Model(x, low_rank(6, name="attention")(x, x))
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-2), tolerance=0.25), "mse"
    )
    data = inputs(32, 4, DIM)
    model.fit(data, data[:, ::-1], batch_size=4, epochs=2, verbose=0)
    ranks = dlrt.accounting.ranks(model)
    layer = model.get_layer("attention")
    assert ranks == {f"attention/{name}": rank for name, rank in layer.ranks.items()}
    assert set(layer.ranks) == {"query", "key", "value", "output"}
    assert len(set(ranks.values())) > 1
    # The configuration follows, so that a file can be loaded.
    assert layer.get_config()["rank"] == layer.ranks


# Masks


@pytest.mark.parametrize("causal", [False, True])
def test_masks_that_keras_hands_along_are_used(causal):
    ours, keras_own = low_rank(6), keras.layers.MultiHeadAttention(HEADS, KEY_DIM)
    x, memory = inputs(2, 4, DIM), inputs(2, 4, DIM, seed=1)
    x[0, 3:] = 0
    memory[0, 2:] = 0
    outputs = []
    for layer in (ours, keras_own):
        queries, values = keras.Input((None, DIM)), keras.Input((None, DIM))
        y = layer(
            keras.layers.Masking()(queries),
            keras.layers.Masking()(values),
            use_causal_mask=causal,
        )
        y = keras.layers.GlobalAveragePooling1D()(y)
        outputs.append(keras.Model([queries, values], y))
    for name in ("query", "key", "value", "output"):
        part, other = (getattr(a, f"{name}_dense") for a in (ours, keras_own))
        other.kernel.assign(part.kernel)
    actual, expected = (array(model([x, memory])) for model in outputs)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    # What is masked has no influence.
    alone = array(ours(x[:1, :3], memory[:1, :2], use_causal_mask=causal))
    np.testing.assert_allclose(actual[0], alone[0].mean(axis=0), atol=1e-5)


def test_attention_scores_are_returned():
    layer = low_rank()
    x, memory = inputs(2, 4, DIM), inputs(2, 5, DIM)
    y, scores = layer(x, memory, return_attention_scores=True)
    assert tuple(scores.shape) == (2, HEADS, 4, 5)
    np.testing.assert_allclose(array(scores).sum(axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(array(y), array(layer(x, memory)), atol=1e-5)


# Caches


VARIANTS = {
    "plain": {},
    # Without dropout Keras on JAX takes a way that has no other `value_dim`.
    "value_dim": {"value_dim": 4, "dropout": 0.1},
    "gate": {"use_gate": True},
    "dropout": {"dropout": 0.5},
    "window": {"sliding_window": 3},
    "output_shape": {"output_shape": 5},
    "half precision": {"dtype": "mixed_float16"},
}
QUICK = ("value_dim", "window")
CHUNKS = [(1,) * 6, (6,), (2, 3, 1), (1, 5)]


@LAYERS
@pytest.mark.parametrize(
    "variant",
    [*QUICK, *slow(*(variant for variant in VARIANTS if variant not in QUICK))],
)
def test_chunks_with_a_cache_give_the_whole(make, variant):
    layer = make(**VARIANTS[variant])
    x = inputs(2, 6, DIM)
    layer.build(x.shape, x.shape)
    # Not where JAX lacks the product on the CPU.
    program = (lambda call: call) if variant == "half precision" else as_program
    whole = program(lambda x: layer(x, x, use_causal_mask=True))(x)
    step = program(
        lambda chunk, cache, start: layer(
            chunk, chunk, cache=cache, cache_update_index=start
        )
    )
    atol = 5e-3 if variant == "half precision" else 1e-5
    for lengths in CHUNKS:
        # Room for more tokens than come.
        cache, start, found = layer.empty_cache(batch_size=2, length=8), 0, []
        for length in lengths:
            chunk = x[:, start : start + length]
            y, cache = step(chunk, cache, start)
            found.append(array(y))
            start += length
        np.testing.assert_allclose(
            np.concatenate(found, axis=1), array(whole), atol=atol
        )
        assert y.dtype == whole.dtype


@LAYERS
def test_a_cache_of_a_whole_sequence_is_attended_to_everywhere(make):
    layer = make(value_dim=4, dropout=0.1)
    x, memory, keys = inputs(2, 3, DIM), inputs(2, 5, DIM, seed=1), inputs(2, 5, 7)
    mask = np.array([[[1, 1, 1, 0, 0]], [[1, 1, 1, 1, 1]]], bool)
    whole = layer(x, memory, keys, attention_mask=mask)
    cache = layer.project(memory, keys)
    assert [tuple(part.shape) for part in cache] == [(2, 2, 5, 3), (2, 2, 5, 4)]
    for start in range(3):
        y, same = layer(x[:, start : start + 1], cache=cache, attention_mask=mask)
        np.testing.assert_allclose(array(y)[:, 0], array(whole)[:, start], atol=1e-5)
        for before, after in zip(cache, same, strict=True):
            np.testing.assert_array_equal(array(before), array(after))


@LAYERS
def test_a_mask_narrows_what_a_cache_shows(make):
    layer = make()
    x = inputs(2, 4, DIM)
    mask = np.ones((2, 4, 4), bool)
    mask[0, :, 0] = False
    mask[0, 0, 0] = True
    whole = layer(x, x, attention_mask=mask, use_causal_mask=True)
    cache = layer.empty_cache(2, 4)
    for i in range(4):
        chunk = x[:, i : i + 1]
        y, cache = layer(
            chunk,
            chunk,
            attention_mask=mask[:, i : i + 1],
            cache=cache,
            cache_update_index=i,
        )
        np.testing.assert_allclose(array(y)[:, 0], array(whole)[:, i], atol=1e-5)


@LAYERS
def test_compiled_steps_with_an_index_known_at_run_time(make, compiled):
    layer = make()
    x = inputs(2, 4, DIM)
    whole = array(layer(x, x, use_causal_mask=True))

    @compiled
    def step(token, cache, index):
        return layer(token, token, cache=cache, cache_update_index=index)

    cache = layer.empty_cache(2, 4)
    for i in range(4):
        token = ops.convert_to_tensor(x[:, i : i + 1])
        y, cache = step(token, cache, ops.convert_to_tensor(i, dtype="int32"))
        np.testing.assert_allclose(array(y)[:, 0], whole[:, i], atol=1e-5)


@LAYERS
def test_a_graph_with_a_cache_has_its_shapes(make):
    layer = make(output_shape=5)
    x = keras.Input((1, DIM))
    keys, values = keras.Input((6, HEADS, KEY_DIM)), keras.Input((6, HEADS, KEY_DIM))
    layer(x, x)
    y, cache = layer(x, x, cache=(keys, values), cache_update_index=2)
    assert y.shape == (None, 1, 5)
    assert [part.shape for part in cache] == [keys.shape, values.shape]


@LAYERS
@pytest.mark.parametrize(
    "call, message",
    [
        ({}, "`value` must be given without a `cache`"),
        ({"cache_update_index": 1}, "`value` must be given"),
        ({"value": True, "cache_update_index": 1}, "`cache_update_index` needs a `ca"),
        ({"cache": True, "cache_update_index": 1}, "`value` must be given to update"),
        ({"cache": True, "return_attention_scores": True}, "must be False with a `ca"),
    ],
    ids=str,
)
def test_calls_that_lack_something(make, call, message):
    layer = make()
    x = inputs(2, 1, DIM)
    layer(x, x)
    call = dict(call)
    if "value" in call:
        call["value"] = x
    if "cache" in call:
        call["cache"] = layer.empty_cache(2, 4)
    with pytest.raises(ValueError, match=message):
        layer(x, **call)


@LAYERS
def test_a_window_needs_to_know_where_tokens_are(make):
    layer = make(sliding_window=2)
    x = inputs(2, 4, DIM)
    layer(x, x)
    with pytest.raises(ValueError, match="`cache_update_index` must.*sliding_window=2"):
        layer(x, cache=layer.project(x))


# Flash attention


@LAYERS
@pytest.mark.parametrize("flash", [None, False])
def test_flash_attention_is_a_matter_of_the_machine(make, flash):
    layer = make(flash_attention=flash)
    x = inputs(2, 4, DIM)
    assert tuple(layer(x, x).shape) == x.shape
    assert "flash_attention" not in layer.get_config()


@LAYERS
def test_flash_attention_reaches_the_computation(make):
    with pytest.raises(ValueError, match="Dropout is not supported when flash"):
        make(flash_attention=True, dropout=0.1)
    layer = make(flash_attention=True)
    x = inputs(2, 4, DIM)
    with pytest.raises(ValueError, match="attention scores"):
        layer(x, x, return_attention_scores=True)
