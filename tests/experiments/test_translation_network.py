"""The transformer: its two graphs, its masks, and what files keep of it."""

import keras
import numpy as np
import pytest
from conftest import slow
from keras import ops

import dlrt
from experiments.translation import config, network, warm_up

SIZES = {
    "dim": 16,
    "layers": 2,
    "heads": 2,
    "feed_forward": 32,
    "dropout": 0.1,
    "source_size": 20,
    "target_size": 24,
}


def make(**changes):
    keras.utils.set_random_seed(0)
    return network.build(network.Architecture(**SIZES, **changes))


def tokens(rows=3, source=7, target=6):
    rng = np.random.default_rng(0)
    return {
        "source": rng.integers(1, 20, (rows, source), dtype="int32"),
        "target": rng.integers(1, 24, (rows, target), dtype="int32"),
    }


KINDS = {
    "dense": {},
    "low-rank": {"rank": 5},
    "low-rank embeddings": {"rank": 5, "embedding_rank": 4},
}


@pytest.mark.parametrize("kind", ["low-rank", *slow("dense", "low-rank embeddings")])
def test_cached_decoding_gives_the_scores_of_the_whole(kind):
    model, x = make(**KINDS[kind]), tokens()
    x["source"][0, 4:] = 0
    whole = model(x)
    layer, count = model.get_layer, network.num_layers(model)
    memory, mask = network.encode(layer, count, x["source"])
    projected = network.project_memory(layer, count, memory)
    caches = network.empty_caches(layer, count, batch_size=3, length=6)
    for position in range(6):
        scores, caches = network.decode_next(
            layer,
            count,
            ops.convert_to_tensor(x["target"][:, position : position + 1]),
            projected,
            mask,
            caches,
            position,
        )
        np.testing.assert_allclose(
            scores[:, 0], whole[:, position], rtol=1e-4, atol=1e-4
        )


def test_scores_depend_on_no_later_token_and_on_no_padding():
    model, x = make(rank=5), tokens()
    scores = ops.convert_to_numpy(model(x))
    later = {**x, "target": x["target"].copy()}
    later["target"][:, 4:] = 1
    np.testing.assert_allclose(model(later)[:, :4], scores[:, :4], atol=1e-5)
    padded = {name: np.pad(part, [(0, 0), (0, 3)]) for name, part in x.items()}
    np.testing.assert_allclose(model(padded)[:, :6], scores, atol=1e-5)
    assert not np.allclose(model(later)[:, 5], scores[:, 5], atol=1e-3)


def test_ranks_are_bounded_by_what_a_projection_can_have():
    model = make(rank=20, max_rank=30)
    ranks = dlrt.accounting.ranks(model)
    assert ranks["encoder_1_self_attention/query"] == 16
    assert ranks["output"] == 16
    assert len(ranks) == 2 * 6 + 2 * 10 + 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["low-rank embeddings", *slow("dense", "low-rank")])
def test_a_saved_network_is_the_same(kind, tmp_path):
    model, x = make(**KINDS[kind]), tokens()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_positions_are_sines_and_cosines():
    layer = network.Positions()
    encodings = ops.convert_to_numpy(layer(np.zeros((1, 5, 8), "float32")))[0]
    np.testing.assert_allclose(encodings[3, 0], np.sin(3), rtol=1e-5)
    np.testing.assert_allclose(encodings[3, 4], np.cos(3), rtol=1e-5)
    np.testing.assert_allclose(encodings[3, 1], np.sin(3 / 10_000**0.25), rtol=1e-5)
    one = layer(np.zeros((1, 1, 8), "float32"), start=3)
    np.testing.assert_allclose(one[0, 0], encodings[3], rtol=1e-5)


def test_the_learning_rate_rises_and_falls():
    schedule = warm_up.WarmUp(dim=64, warm_up_steps=100)
    rates = [float(schedule(step)) for step in (0, 49, 99, 399)]
    peak = 64**-0.5 * 100**-0.5
    np.testing.assert_allclose(rates, [peak / 100, peak / 2, peak, peak / 2], rtol=1e-4)


def test_a_short_warm_up_makes_no_larger_learning_rate():
    def peak(steps):
        given = {"dim": 64, "warm_up_steps": steps, "learning_rate_factor": 0.5}
        rate = warm_up.learning_rate(config.resolve("reference", given))
        return float(rate(steps - 1))

    np.testing.assert_allclose(peak(10), 0.5 * 64**-0.5 * 4000**-0.5, rtol=1e-5)
    np.testing.assert_allclose(peak(4000), peak(10), rtol=1e-5)
    np.testing.assert_allclose(peak(16_000), peak(10) / 2, rtol=1e-5)


@pytest.mark.slow
def test_low_rank_kernels_start_with_no_larger_singular_values_than_dense_ones():
    sizes = {**SIZES, "dim": 64, "feed_forward": 256}
    keras.utils.set_random_seed(0)
    dense, low_rank = (
        network.build(network.Architecture(**sizes, rank=rank)) for rank in (None, 3)
    )
    for block in ("encoder_1_feed_forward_1", "decoder_2_feed_forward_2"):
        kernel = np.asarray(dense.get_layer(block).kernel)
        largest = np.linalg.svd(kernel, compute_uv=False)[0]
        factors = low_rank.get_layer(block).factors
        np.testing.assert_allclose(np.diag(factors.s), largest, rtol=0.1)
