"""What lies between the text of a translation and tensors."""

import io
import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

from experiments.translation import tokenizers
from experiments.translation.batches import (
    EvaluationBatches,
    TrainingBatches,
    group_by_length,
    source_batches,
    widths,
)
from experiments.translation.text import (
    encode_pairs,
    encode_sources,
    lengths,
    score,
)
from experiments.translation.tokenizers import (
    END,
    PADDING,
    START,
    UNKNOWN,
    Vocabularies,
    load_vocabularies,
    train_vocabularies,
)

ROOT = Path(__file__).resolve().parents[2]
MAX_LENGTH = 20


class SentencePair(NamedTuple):
    source: str
    target: str


def make_pairs():
    subjects = [
        ("o gato", "the cat"),
        ("a menina", "the girl"),
        ("meu irmão", "my brother"),
        ("ninguém", "nobody"),
    ]
    verbs = [("vê", "sees"), ("não compreende", "does not understand")]
    objects = [
        ("a casa", "the house"),
        ("o coração da montanha", "the heart of the mountain"),
        ("três livros", "three books"),
    ]
    clauses = [
        SentencePair(*map(" ".join, zip(*parts, strict=True)))
        for parts in itertools.product(subjects, verbs, objects)
    ]
    long = [
        SentencePair(f"{a.source}, e {b.source}.", f"{a.target}, and {b.target}.")
        for a, b in itertools.pairwise(clauses)
    ]
    short = [SentencePair("sim", "yes"), SentencePair("não", "no")]
    return [*clauses, *long, *short]


PAIRS = make_pairs()


@pytest.fixture(scope="module")
def vocabularies():
    return train_vocabularies(PAIRS, 120)


@pytest.fixture(scope="module")
def encoded(vocabularies):
    return encode_pairs(PAIRS, vocabularies, MAX_LENGTH)


def contents(batches):
    """Everything in the batches, comparable."""
    return [
        tuple(
            np.asarray(part).tolist() for part in (x["source"], x["target"], y, weights)
        )
        for x, y, weights in (batches[i] for i in range(len(batches)))
    ]


def sources_of(batch):
    return frozenset(map(tuple, batch[0]))


def sentences(batches):
    """The source sentences, by their ids, in the order of the batches."""
    return [
        tuple(row[row != PADDING].tolist())
        for x, _, _ in (batches[i] for i in range(len(batches)))
        for row in x["source"]
    ]


@pytest.mark.tensorflow_only
class TestTokenizer:
    def test_text_survives(self, vocabularies):
        for side, tokenizer in zip(
            SentencePair._fields,
            (vocabularies.source, vocabularies.target),
            strict=True,
        ):
            text = [getattr(pair, side) for pair in PAIRS]
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert {i for row in ids for i in row} <= set(range(4, tokenizer.size))
            assert tokenizer.size <= 120

    def test_decoding_stops_at_the_end(self, vocabularies):
        tokenizer = vocabularies.target
        (ids,) = tokenizer.encode(["the cat sees"])
        rows = [
            [START, *ids, END, *ids],
            [PADDING, *ids[:1], PADDING, *ids[1:], PADDING],
            [END],
            [],
        ]
        assert tokenizer.decode(rows) == ["the cat sees", "the cat sees", "", ""]
        assert tokenizer.decode(np.array([[START, *ids, END]])) == ["the cat sees"]

    def test_what_is_not_in_the_training_text(self, vocabularies):
        (ids,) = vocabularies.source.encode(["o gato 漢"])
        assert ids[-1] == UNKNOWN
        # Text can't pass for what frames it.
        (ids,) = vocabularies.source.encode(["<s> </s> <pad>"])
        assert not {PADDING, START, END} & set(ids)
        assert vocabularies.source.encode([""]) == [[]]
        assert vocabularies.source.encode([]) == []

    def test_short_text_fills_no_large_vocabulary(self):
        tokenizer = tokenizers.train(["sim sim", "não"], 8000)
        assert tokenizer.size < 40
        assert tokenizer.decode(tokenizer.encode(["sim não"])) == ["sim não"]

    def test_long_sentences_are_training_text(self):
        tokenizer = tokenizers.train(["abc " * 3000, "x"], 100)
        assert UNKNOWN not in tokenizer.encode(["abc"])[0]

    def test_same_text_same_tokenizer_and_silence(self, vocabularies, capfd):
        again = tokenizers.train([pair.source for pair in PAIRS], 120)
        assert again.fingerprint == vocabularies.source.fingerprint
        assert again.fingerprint != vocabularies.target.fingerprint
        assert capfd.readouterr() == ("", "")

    def test_save_and_load(self, vocabularies, tmp_path):
        vocabularies.save(tmp_path)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["source.spm", "target.spm"]
        loaded = load_vocabularies(tmp_path)
        loaded.check(vocabularies.fingerprints)
        text = [pair.source for pair in PAIRS]
        assert loaded.source.encode(text) == vocabularies.source.encode(text)

    def test_other_tokenizers_are_refused(self, vocabularies):
        swapped = Vocabularies(vocabularies.source, vocabularies.source)
        with pytest.raises(ValueError, match="target tokenizer doesn't belong"):
            swapped.check(vocabularies.fingerprints)
        with pytest.raises(ValueError, match="source tokenizer doesn't belong"):
            vocabularies.check({})

    @pytest.mark.parametrize("damage", ["empty", "text", "cut", "other ids"])
    def test_files_that_are_none(self, vocabularies, tmp_path, damage):
        model = vocabularies.source.model
        content = {
            "empty": b"",
            "text": b"o gato\na menina\n",
            "cut": model[: len(model) // 2],
            "other ids": _model_with_other_ids(),
        }[damage]
        path = tmp_path / "source.spm"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"source\.spm: .*SentencePiece model"):
            tokenizers.load(path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"source\.spm"):
            load_vocabularies(tmp_path)

    def test_bad_input(self, vocabularies):
        tokenizer = vocabularies.source
        with pytest.raises(ValueError, match="`sentences`.*'o gato'"):
            tokenizer.encode("o gato")
        with pytest.raises(ValueError, match="`rows`"):
            tokenizer.decode([[4, tokenizer.size]])
        with pytest.raises(ValueError, match="`rows`"):
            tokenizer.decode([[-1]])
        with pytest.raises(ValueError, match="`sentences`"):
            tokenizers.train([" ", ""], 100)
        with pytest.raises(ValueError, match="`sentences`"):
            train_vocabularies([], 100)
        for size in (-1, 0, 6):
            with pytest.raises(ValueError, match=f"`vocab_size`.*Received: {size}"):
                tokenizers.train([pair.source for pair in PAIRS], size)


def _model_with_other_ids():
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([pair.source for pair in PAIRS]),
        model_writer=model,
        vocab_size=30,
        minloglevel=2,
    )
    return model.getvalue()


@pytest.mark.tensorflow_only
class TestEncoding:
    def test_rows(self, vocabularies, encoded):
        kept = [
            pair
            for pair in PAIRS
            if len(vocabularies.source.encode([pair.source])[0]) < MAX_LENGTH
            and len(vocabularies.target.encode([pair.target])[0]) < MAX_LENGTH
        ]
        assert 0 < encoded.left_out == len(PAIRS) - len(kept)
        assert encoded.source.shape == (len(kept), MAX_LENGTH)
        assert encoded.source.dtype == encoded.target.dtype == np.int32
        for rows, tokenizer, side in (
            (encoded.source, vocabularies.source, "source"),
            (encoded.target, vocabularies.target, "target"),
        ):
            assert (rows == END).sum(axis=1).tolist() == [1] * len(kept)
            assert tokenizer.decode(rows) == [getattr(pair, side) for pair in kept]

    def test_longest(self, vocabularies):
        pair = PAIRS[0]
        longest = 1 + max(
            len(vocabularies.source.encode([pair.source])[0]),
            len(vocabularies.target.encode([pair.target])[0]),
        )
        assert len(encode_pairs([pair], vocabularies, longest)) == 1
        with pytest.raises(ValueError, match="`pairs`.*Received: 1, none"):
            encode_pairs([pair], vocabularies, longest - 1)

    def test_sources_are_cut(self, vocabularies):
        text = [pair.source for pair in PAIRS]
        whole = vocabularies.source.encode(text)
        sources = encode_sources(text, vocabularies.source, 6)
        for row, ids in zip(sources, whole, strict=True):
            assert row[row != PADDING].tolist() == [*ids[:5], END]

    def test_source_batches(self, vocabularies):
        text = [pair.source for pair in PAIRS]
        sources = encode_sources(text, vocabularies.source, MAX_LENGTH)
        batches = list(source_batches(sources, 10))
        found = {}
        for chosen, ids in batches:
            assert ids.shape[1] in widths(MAX_LENGTH)
            found |= dict(zip(chosen.tolist(), ids, strict=True))
        assert [len(ids) for _, ids in batches] == [10, 10, 10, 10, 9]
        assert sorted(found) == list(range(len(text)))
        for index, ids in found.items():
            expected = sources[index]
            assert ids[ids != PADDING].tolist() == expected[expected != 0].tolist()

    def test_bad_input(self, vocabularies):
        with pytest.raises(ValueError, match="`max_length`.*Received: 1"):
            encode_pairs(PAIRS, vocabularies, 1)
        with pytest.raises(ValueError, match="`max_length`.*Received: 0"):
            encode_sources(["sim"], vocabularies.source, 0)
        with pytest.raises(ValueError, match="`sentences`"):
            encode_sources([], vocabularies.source, 8)
        with pytest.raises(ValueError, match="`pairs`.*Received: 0"):
            encode_pairs([], vocabularies, 8)


@pytest.mark.tensorflow_only
class TestByLength:
    def test_widths(self):
        assert widths(20) == [8, 12, 16, 20]
        assert widths(18) == [8, 12, 16, 18]
        assert widths(8) == [8]
        assert widths(5) == [5]

    @pytest.mark.parametrize("size", [{"batch_size": 7}, {"batch_tokens": 90}])
    def test_every_sentence_once_and_few_shapes(self, size):
        rng = np.random.default_rng(3)
        lengths = rng.integers(1, 41, 500)
        shapes = []
        for seed in (None, 0, 1):
            shuffle = None if seed is None else np.random.default_rng(seed)
            batches = group_by_length(lengths, 40, **size, rng=shuffle)
            chosen = np.concatenate([batch.chosen for batch in batches])
            assert sorted(chosen.tolist()) == list(range(500))
            for batch in batches:
                assert lengths[batch.chosen].max() <= batch.width
                assert batch.width in widths(40)
            *full, _ = batches
            for batch in full:
                expected = size.get("batch_size") or 90 // batch.width
                assert len(batch.chosen) == expected
            shapes.append([(len(batch.chosen), batch.width) for batch in batches])
        assert shapes[0] == shapes[1] == shapes[2]
        assert len(set(shapes[0])) <= len(widths(40)) + 1

    def test_a_batch_has_a_sentence(self):
        batches = group_by_length(np.array([30, 3]), 40, batch_tokens=10)
        assert [(len(chosen), width) for chosen, width in batches] == [(1, 8), (1, 32)]

    def test_a_small_text_is_one_batch(self):
        ((chosen, width),) = group_by_length(np.array([9, 3, 1]), 40, batch_size=64)
        assert (chosen.tolist(), width) == ([2, 1, 0], 12)

    def test_bad_input(self):
        lengths = np.array([3])
        with pytest.raises(ValueError, match="Either `batch_size` or `batch_tokens`"):
            group_by_length(lengths, 8)
        with pytest.raises(ValueError, match="Either `batch_size` or `batch_tokens`"):
            group_by_length(lengths, 8, 4, 64)
        with pytest.raises(ValueError, match="`batch_size`.*Received: 0"):
            group_by_length(lengths, 8, 0)
        with pytest.raises(ValueError, match="`batch_tokens`.*Received: -3"):
            group_by_length(lengths, 8, batch_tokens=-3)


class TestTrainingBatches:
    def test_a_batch(self, encoded):
        batches = TrainingBatches(encoded, 0, batch_size=6)
        for index in range(len(batches)):
            x, y, weights = batches[index]
            assert sorted(x) == ["source", "target"]
            assert x["source"].shape == x["target"].shape == y.shape == weights.shape
            assert {a.dtype for a in (*x.values(), y)} == {np.dtype("int32")}
            assert weights.dtype == np.float32
            np.testing.assert_array_equal(weights, y != 0)
            for source, before, after in zip(*x.values(), y, strict=True):
                assert source[source != 0][-1] == END
                ids = after[after != 0]
                assert ids[-1] == END
                np.testing.assert_array_equal(before[before != 0], [START, *ids[:-1]])

    def test_pairs_stay_together(self, encoded):
        batches = TrainingBatches(encoded, 0, batch_size=6)
        translations = {
            tuple(source[source != 0]): tuple(target[target != 0])
            for source, target in zip(encoded.source, encoded.target, strict=True)
        }
        for index in range(len(batches)):
            x, y, _ = batches[index]
            for source, target in zip(x["source"], y, strict=True):
                assert translations[tuple(source[source != 0])] == tuple(
                    target[target != 0]
                )

    @pytest.mark.parametrize("size", [{"batch_size": 6}, {"batch_tokens": 100}])
    def test_epochs(self, encoded, size):
        batches = TrainingBatches(encoded, 0, **size)
        epochs = []
        for epoch in range(3):
            batches.begin_epoch(epoch)
            assert len(batches) == batches.steps_per_pass
            assert len(set(sentences(batches))) == len(encoded)
            assert {
                (len(y), y.shape[1])
                for _, y, _ in (batches[i] for i in range(len(batches)))
            } == set(batches.shapes)
            epochs.append(contents(batches))
        # Neither do batches hold the same sentences, nor do they come in one order.
        for one, other in itertools.combinations(epochs, 2):
            assert {sources_of(b) for b in one} != {sources_of(b) for b in other}
            assert [len(b[0][0]) for b in one] != [len(b[0][0]) for b in other]
        other = TrainingBatches(encoded, 0, **size)
        other.begin_epoch(2)
        assert contents(other) == epochs[2]
        other.begin_epoch(0)
        assert contents(other) == epochs[0]
        assert contents(TrainingBatches(encoded, 1, **size)) != epochs[0]

    @pytest.mark.parametrize("steps", [1, 4, 25])
    def test_steps_per_epoch(self, encoded, steps):
        passes = TrainingBatches(encoded, 5, batch_size=6)
        expected = []
        for number in range(8):
            passes.begin_epoch(number)
            expected += contents(passes)
        batches = TrainingBatches(encoded, 5, batch_size=6, steps_per_epoch=steps)
        found = []
        for epoch in range(len(expected) // steps):
            batches.begin_epoch(epoch)
            assert len(batches) == steps
            found += contents(batches)
        assert found == expected[: len(found)]
        assert batches.padding() == passes.padding()
        assert batches.shapes == passes.shapes

    @pytest.mark.tensorflow_only
    @pytest.mark.parametrize("steps", [None, 4])
    def test_tensorflow_gets_the_same(self, encoded, steps):
        batches = TrainingBatches(encoded, 2, batch_tokens=100, steps_per_epoch=steps)
        fast = batches.for_fit()
        assert int(fast.cardinality()) == len(batches)
        for epoch in (0, 1, 5, 1):
            batches.begin_epoch(epoch)
            for found, index in zip(fast, range(len(batches)), strict=True):
                keras.tree.assert_same_structure(found, batches[index])
                for one, other in zip(
                    keras.tree.flatten(found),
                    keras.tree.flatten(batches[index]),
                    strict=True,
                ):
                    np.testing.assert_array_equal(one, other)
                    assert one.dtype == other.dtype

    def test_padding(self, encoded):
        batches = TrainingBatches(encoded, 0, batch_size=6)
        slots = full_source = full_target = 0
        for index in range(len(batches)):
            x, y, _ = batches[index]
            slots += y.size
            full_source += np.count_nonzero(x["source"])
            full_target += np.count_nonzero(y)
        padding = batches.padding()
        assert padding["padding_source"] == pytest.approx(1 - full_source / slots)
        assert padding["padding_target"] == pytest.approx(1 - full_target / slots)
        mean = (padding["padding_source"] + padding["padding_target"]) / 2
        assert padding["padding"] == pytest.approx(mean)
        one_batch = TrainingBatches(encoded, 0, batch_size=len(encoded))
        assert 0 < padding["padding"] < one_batch.padding()["padding"]

    def test_bad_input(self, encoded):
        with pytest.raises(ValueError, match="Either `batch_size` or `batch_tokens`"):
            TrainingBatches(encoded, 0)
        with pytest.raises(ValueError, match="`steps_per_epoch`.*Received: 0"):
            TrainingBatches(encoded, 0, batch_size=4, steps_per_epoch=0)

    @pytest.mark.slow
    def test_a_fit_that_goes_on_ends_the_same(self, vocabularies, encoded):
        validation = EvaluationBatches(encoded)

        def fit(model, first, last):
            batches = TrainingBatches(encoded, 0, batch_size=8, steps_per_epoch=3)
            history = model.fit(
                batches.for_fit(),
                validation_data=validation.for_fit(),
                initial_epoch=first,
                epochs=last,
                callbacks=[batches.follow()],
                shuffle=False,
                verbose=0,
            )
            return history.history["loss"], history.history["val_loss"]

        def build():
            keras.utils.set_random_seed(0)
            source = keras.Input((None,), dtype="int32", name="source")
            target = keras.Input((None,), dtype="int32", name="target")
            sizes = vocabularies.source.size, vocabularies.target.size
            mean = keras.layers.Embedding(sizes[0], 4)(source)
            mean = keras.ops.mean(mean, axis=1, keepdims=True)
            x = keras.layers.Embedding(sizes[1], 4)(target) + mean
            y = keras.layers.Dense(sizes[1])(x)
            model = keras.Model({"source": source, "target": target}, y)
            model.compile(
                keras.optimizers.SGD(0.5),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            )
            return model

        whole = build()
        losses = fit(whole, 0, 4)
        halves = build()
        first, second = fit(halves, 0, 2), fit(halves, 2, 4)
        for one, other, both in zip(first, second, losses, strict=True):
            np.testing.assert_allclose(one + other, both, rtol=1e-5)
        by_hand = build()
        batches = TrainingBatches(encoded, 0, batch_size=8, steps_per_epoch=3)
        for epoch in range(4):
            batches.begin_epoch(epoch)
            for index in range(3):
                x, y, weights = batches[index]
                by_hand.train_on_batch(x, y, weights)
        for model in (whole, halves):
            for one, other in zip(
                model.get_weights(), by_hand.get_weights(), strict=True
            ):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class TestEvaluationBatches:
    def test_order_and_contents(self, encoded):
        batches = EvaluationBatches(encoded, 16)
        found = [batches[i] for i in range(len(batches))]
        breadths = [y.shape[1] for _, y, _ in found]
        assert breadths == sorted(breadths)
        assert [len(y) for _, y, _ in found[:-1]] == [16] * (len(found) - 1)
        assert len(set(sentences(batches))) == len(encoded)
        assert sum(weights.sum() for _, _, weights in found) == sum(
            lengths(encoded.target)
        )

    @pytest.mark.tensorflow_only
    def test_tensorflow_gets_the_same(self, encoded):
        batches = EvaluationBatches(encoded, 16)
        for found, index in zip(batches.for_fit(), range(len(batches)), strict=True):
            for one, other in zip(
                keras.tree.flatten(found),
                keras.tree.flatten(batches[index]),
                strict=True,
            ):
                np.testing.assert_array_equal(one, other)

    def test_bad_input(self, encoded):
        with pytest.raises(ValueError, match="`batch_size`.*Received: 0"):
            EvaluationBatches(encoded, 0)


@pytest.mark.tensorflow_only
class TestScores:
    def test_perfect(self):
        text = [pair.target for pair in PAIRS]
        scores = score(text, text)
        assert scores.bleu == pytest.approx(100)
        assert scores.chrf == pytest.approx(100)
        assert "tok:13a" in scores.bleu_signature
        assert "nc:6|nw:0" in scores.chrf_signature
        assert "version:" in scores.bleu_signature

    def test_known_value(self):
        # Precisions 5/6, 3/5, 1/4 and, smoothed, 1/6; no penalty for its length.
        scores = score(["the cat sat on the mat"], ["the cat is on the mat"])
        expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25
        assert scores.bleu == pytest.approx(expected)

    def test_order_matters_and_lists_are_scored_as_one(self):
        hypotheses = ["the cat sees the house", "nobody sees three books"]
        assert score(hypotheses, hypotheses[::-1]).bleu < 50
        # The mean of 100 and 0 would be 50.
        mixed = score(hypotheses, [hypotheses[0], "x"])
        assert 0 < mixed.bleu < 100
        assert mixed.bleu != pytest.approx(50, abs=1)

    def test_empty_hypotheses(self):
        assert score([""], ["the cat"])[:2] == (0, 0)
        scores = score(
            ["", "the cat sees the house"], ["yes", "the cat sees the house"]
        )
        assert 0 < scores.bleu < 100

    def test_bad_input(self):
        for hypotheses, references in (([], []), (["a"], []), (["a"], ["a", "b"])):
            with pytest.raises(ValueError, match="`hypotheses` and `references`"):
                score(hypotheses, references)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python without any package."""
    folder = tmp_path_factory.mktemp("bare")
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True)
    return folder / "bin" / "python"


@pytest.mark.tensorflow_only
class TestExtra:
    @pytest.mark.parametrize(
        ("extra", "missing"),
        [
            ("run", "openpyxl"),
            ("cp", "openpyxl tensorly"),
            ("translation", "openpyxl sacrebleu sentencepiece"),
            (
                "dev",
                "openpyxl sacrebleu sentencepiece ai_edge_litert jax mypy onnxruntime "
                "pytest ruff tensorly tf2onnx xdist hypothesis importlinter",
            ),
        ],
    )
    def test_scripts_name_what_a_given_python_lacks(
        self, bare, tmp_path, extra, missing
    ):
        (tmp_path / "run_scripts").mkdir()
        shutil.copy(ROOT / "requirements.txt", tmp_path)
        shutil.copy(ROOT / "run_scripts" / "_env.sh", tmp_path / "run_scripts")
        script = tmp_path / "run_scripts" / "script.sh"
        script.write_text(f'dlrt_extra={extra}\n. "{script.parent}/_env.sh"\n')
        done = subprocess.run(
            ["sh", str(script)],
            env={"PYTHON": str(bare), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        listed, message = done.stderr.splitlines()
        assert listed.startswith("tensorflow keras numpy")
        assert listed.endswith(missing)
        assert "lacks these packages" in message

    def test_programs_name_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sentencepiece", None)
        with pytest.raises(ImportError, match=r"pip install -e \.\[translation\]"):
            tokenizers.train(["sim"], 20)
        monkeypatch.setitem(sys.modules, "sacrebleu", None)
        monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
        with pytest.raises(ImportError, match=r"pip install -e \.\[translation\]"):
            score(["yes"], ["yes"])
