"""A transformer for translation in low-rank form."""

import keras
import numpy as np
import pytest
from conftest import slow
from helpers import array
from surgery.models import KEEP, assert_close, fill, outputs, reload

import dlrt
from experiments.translation import network


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


@pytest.mark.slow
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
    loaded = reload(low_rank, tmp_path)
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


@pytest.mark.parametrize("back", [*slow(dlrt.to_dense), dlrt.merge])
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
    loaded = reload(other, tmp_path)
    np.testing.assert_array_equal(outputs(loaded, x), outputs(other, x))
