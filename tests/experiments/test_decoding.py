"""Greedy and beam search against searches in plain Python."""

import keras
import numpy as np
import pytest
from conftest import slow
from keras import ops

import dlrt
from experiments.translation import decoding, network
from experiments.translation.search import BeamSearch, GreedySearch
from experiments.translation.tokenizers import (
    END,
    PADDING,
    START,
    UNKNOWN,
    train_vocabularies,
)

KINDS = {
    "dense": {},
    "low-rank": {"rank": 5},
    "low-rank embeddings": {"rank": 5, "embedding_rank": 4},
}


def make(target_size=12, seed=0, end=0.0, **changes):
    """A network whose translations vary, and end more often the larger `end` is."""
    keras.utils.set_random_seed(seed)
    sizes = {
        "dim": 16,
        "layers": 2,
        "heads": 2,
        "feed_forward": 32,
        "dropout": 0.1,
        "source_size": 20,
        "target_size": target_size,
    }
    model = network.build(network.Architecture(**{**sizes, **changes}))
    rng = np.random.default_rng(seed)
    for name in ("source_embedding", "target_embedding"):
        layer = model.get_layer(name)
        if isinstance(layer, keras.layers.Embedding):
            layer.embeddings.assign(rng.normal(0, 1, layer.embeddings.shape))
        else:
            layer.s.assign(10 * layer.s)
    bias = rng.normal(0, 0.3, target_size)
    bias[END] += end
    bias[[PADDING, START]] += 2.0
    model.get_layer("output").bias.assign(bias)
    return model


def sources(rows=5, width=7):
    rng = np.random.default_rng(3)
    ids = np.zeros((rows, width), np.int32)
    for row in ids:
        length = rng.integers(1, width)
        row[:length] = rng.integers(UNKNOWN, 20, length)
        row[length] = END
    return ids


def limit(source, max_length):
    return min(max_length, 2 * int(np.count_nonzero(source)) + 10)


def log_likelihoods(model, source, prefixes):
    """Of the tokens after prefixes of one length, `(prefixes, target_size)`."""
    target = np.array([[START, *prefix] for prefix in prefixes])
    scores = model({"source": np.tile(source, (len(prefixes), 1)), "target": target})
    return ops.convert_to_numpy(ops.log_softmax(scores[:, -1]))


def plain_greedy(model, source, max_length):
    ids = []
    while len(ids) < limit(source, max_length) and END not in ids:
        (likely,) = log_likelihoods(model, source, [ids])
        ids.append(END + int(np.argmax(likely[END:])))
    return ids


def penalized(likelihood, length, alpha):
    return likelihood / ((5 + length) / 6) ** alpha


def plain_beam_search(model, source, max_length, beams, alpha):
    """A search that goes on until `beams` hypotheses have ended."""
    open_ones, finished = [((), 0.0)], []
    for _ in range(limit(source, max_length)):
        more = log_likelihoods(model, source, [ids for ids, _ in open_ones])
        longer = [
            ((*ids, token), likelihood + row[token])
            for (ids, likelihood), row in zip(open_ones, more, strict=True)
            for token in range(END, len(row))
        ]
        longer.sort(key=lambda one: -one[1])
        finished += [one for one in longer[:beams] if one[0][-1] == END]
        open_ones = [one for one in longer if one[0][-1] != END][:beams]
        if len(finished) >= beams:
            break
    if not finished:
        return list(open_ones[0][0])
    best = max(finished, key=lambda one: penalized(one[1], len(one[0]), alpha))
    return list(best[0])


def trimmed(rows):
    """Rows without padding, which may be at their ends only."""
    rows = [row.tolist() for row in rows]
    sentences = [[i for i in row if i != PADDING] for row in rows]
    for row, sentence in zip(rows, sentences, strict=True):
        assert row[: len(sentence)] == sentence
        assert START not in sentence
        assert END not in sentence[:-1]
    return sentences


def greedy(model, source, max_length, cached=True):
    return decode(GreedySearch(model, max_length, cached), source)


def beam_search(model, source, max_length, beams, alpha=0.6):
    return decode(BeamSearch(model, max_length, beams, alpha), source)


def decode(search, source):
    return trimmed(decoding.decode(search, decoding.compile_search(search), source))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["low-rank", *slow("dense", "low-rank embeddings")])
def test_greedy_search_is_a_plain_loop_with_and_without_cache(kind):
    model, source = make(seed=1, end=-0.5, **KINDS[kind]), sources(3)
    expected = [plain_greedy(model, row, 6) for row in source]
    assert greedy(model, source, 6) == expected
    assert greedy(model, source, 6, cached=False) == expected
    assert len(set(map(tuple, expected))) > 1


@pytest.mark.slow
def test_sentences_end_at_the_end_or_at_their_limit():
    source = sources()
    ended = greedy(make(end=100.0), source, 64)
    assert [list(ids) for ids in ended] == [[END]] * len(source)
    endless = greedy(make(end=-100.0), source, 64)
    assert [len(ids) for ids in endless] == [limit(row, 64) for row in source]
    endless = greedy(make(end=-100.0), source, 4)
    assert [len(ids) for ids in endless] == [4] * len(source)


@pytest.mark.slow
def test_one_beam_is_greedy_search():
    source = sources()
    for end in (0.0, 1.5):
        model = make(end=end, layers=1)
        assert beam_search(model, source, 14, 1) == greedy(model, source, 14)


@pytest.mark.parametrize(
    ("end", "alpha"), [(1.5, 0.6), *slow((0.0, 0.6), (1.5, 0.0), (1.5, 3.0))]
)
def test_beam_search_is_a_plain_one(end, alpha):
    model, source = make(end=end, layers=1), sources(2)
    expected = [plain_beam_search(model, row, 7, 3, alpha) for row in source]
    assert beam_search(model, source, 7, 3, alpha) == expected


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, *slow(0.0)])
def test_enough_beams_find_the_best_of_all_translations(alpha):
    model = make(target_size=6, end=0.5, layers=1)
    source, longest = sources(2), 3
    expected = []
    for row in source:
        values = {}
        open_ones = {(): 0.0}
        for length in range(1, longest + 1):
            more = log_likelihoods(model, row, list(open_ones))
            longer = {
                (*ids, token): likelihood + next_ones[token]
                for (ids, likelihood), next_ones in zip(
                    open_ones.items(), more, strict=True
                )
                for token in range(END, 6)
            }
            for ids, likelihood in longer.items():
                if ids[-1] == END:
                    values[ids] = penalized(likelihood, length, alpha)
            open_ones = {ids: value for ids, value in longer.items() if ids[-1] != END}
        assert len(values) == 1 + 3 + 9
        expected.append(list(max(values, key=values.get)))
    assert beam_search(model, source, longest, 27, alpha) == expected


PAIRS = [
    ("o gato dorme", "the cat sleeps"),
    ("a casa é azul", "the house is blue"),
    ("eu vejo a casa e o gato", "i see the house and the cat"),
    ("sim", "yes"),
    ("o gato vê a casa azul", "the cat sees the blue house"),
]


@pytest.fixture(scope="module")
def vocabularies():
    return train_vocabularies(PAIRS, 60)


def model_for(vocabularies, **changes):
    return make(
        source_size=vocabularies.source.size,
        target_size=vocabularies.target.size,
        **changes,
    )


@pytest.mark.slow
@pytest.mark.parametrize("beams", [2, *slow(1)])
def test_text_is_translated_in_its_order(vocabularies, beams):
    model = model_for(vocabularies)
    sentences = [source for source, _ in PAIRS] + ["", "gato " * 30]
    translator = decoding.Translator(
        model, vocabularies, max_length=16, beams=beams, batch_size=3
    )
    together = translator(sentences)
    assert together == [translator([sentence])[0] for sentence in sentences]
    assert len(set(together)) > 3
    assert translator([]) == []


@pytest.mark.slow
def test_a_model_is_the_same_after_translation(vocabularies):
    """What trains and adapts it must not notice that it was used."""
    model = model_for(vocabularies, rank=4)
    x = {"source": sources(), "target": sources()}
    model(x)
    weights = model.get_weights()
    layers = dlrt.accounting.low_rank_layers(model)
    before = [layer.outermost_models() for layer in layers]
    decoding.Translator(model, vocabularies, max_length=8)(["o gato"])
    assert [layer.outermost_models() for layer in layers] == before
    assert before[0] == [model]
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_wrong_arguments_are_named(vocabularies):
    model = model_for(vocabularies)
    for name, arguments in {
        "max_length": {"max_length": 0},
        "beams": {"max_length": 8, "beams": 0},
        "batch_size": {"max_length": 8, "batch_size": 0},
    }.items():
        with pytest.raises(ValueError, match=f"`{name}` must.*Received: "):
            decoding.Translator(model, vocabularies, **arguments)
