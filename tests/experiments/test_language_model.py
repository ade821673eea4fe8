"""Compression runs of the language model, its words, and what it refuses."""

import contextlib
import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import slow
from run_folders import failure, interrupt_second_epoch, rows_of, workbook

from dlrt.callbacks import read_history, read_table
from experiments import compression
from experiments.images import compression_config, compression_task
from experiments.images.config import NETWORKS
from experiments.runs import results
from experiments.runs.image_data import Data
from experiments.words import network, text
from experiments.words.network import build
from experiments.words.vocabulary import Vocabulary, words_of

pytestmark = pytest.mark.tensorflow_only

NAME = "low-rank-lstm-mine-compress-svd-ratio1.01-seed0"
DENSE = "lstm-dense-reference-mine-seed0"


def write(path, seed=0):
    """Sentences in which the second word tells the third one."""
    rng = np.random.default_rng(seed)
    pairs = (("cat", "sleeps"), ("dog", "barks"), ("bird", "sings"))
    chosen = rng.integers(3, size=1200)
    path.write_text("".join(f"The {' '.join(pairs[i])}.\n" for i in chosen))


def run(folder, *settings):
    """Runs a compression in this process; returns the exit status."""
    words = ["-n", "lstm", "--dataset", folder / "mine.txt", "--batch-size", 8]
    words += ["--log-dir", folder / "runs", "--verbose", 0, "--ratio", 1.01, *settings]
    return compression.main([str(word) for word in words])


@pytest.fixture(scope="module")
def small():
    """The network in a small width, which learns fast, for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        fast = NETWORKS["lstm"] | {"learning_rate": 0.03}
        patch.setitem(NETWORKS, "lstm", fast)
        patch.setattr(network, "build", lambda n, **kw: build(n, units=16, **kw))
        yield


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """A folder with a text and the runs of one command."""
    folder = tmp_path_factory.mktemp("text")
    write(folder / "mine.txt")
    settings = ("--method", "svd", "--dense-epochs", 4, "--train", "--test", "-e", 2)
    with (
        open(folder / "output.txt", "w") as output,
        contextlib.redirect_stdout(output),
    ):
        assert run(folder, *settings) == 0
    return folder


class TestVocabulary:
    def test_words_of_a_line(self):
        assert words_of("“Don't,” she said: 3_000 <unk>s, naïve—yes...") == [
            *("“", "don't", ",", "”", "she", "said", ":", "3", "_", "000", "<unk>"),
            *("s", ",", "naïve", "—", "yes", ".", ".", "."),
        ]

    def test_most_frequent_words(self):
        lines = ("b a b", "c <unk> <unk> <unk>", "d a")
        vocabulary = Vocabulary.of(lines, 5)
        assert vocabulary.words == ("<unk>", "<eos>", "a", "b", "c")
        np.testing.assert_array_equal(
            vocabulary.encode(["A d b", "<unk> x"]), [2, 0, 3, 1, 0, 0, 1]
        )
        assert len(Vocabulary.of(lines, 100)) == 6

    def test_fingerprint(self):
        same = Vocabulary.of(("a b a",), 9).fingerprint
        assert Vocabulary.of(("a", "b", "a"), 9).fingerprint == same
        assert Vocabulary.of(("a b b",), 9).fingerprint != same


class TestChunks:
    def test_every_word_is_to_be_told_from_those_before(self):
        ids = np.arange(80, dtype="int32")
        inputs, targets = text.chunks(ids, "it")
        assert inputs.shape == targets.shape == (2, text.CHUNK)
        np.testing.assert_array_equal(targets.ravel(), ids[:70])
        np.testing.assert_array_equal(inputs.ravel(), [79, *ids[:69]])

    def test_evaluation_batches_are_as_large_as_memory_allows(self):
        arrays = (np.zeros((1, 35), "int32"),) * 2
        assert Data("x", "x", 10_000, *[arrays] * 3).evaluation_batch == 47
        images = (np.zeros((1, 28, 28)), np.zeros(1))
        assert Data("x", "x", 10, *[images] * 3).evaluation_batch == 2000

    @pytest.mark.slow
    def test_share_of_the_lines(self, folder):
        data = text.load(folder / "mine.txt", 5, 0.5)
        assert data.vocabulary.words == ("<unk>", "<eos>", ".", "the", "bird")
        assert len(data.train[0]) == 540 * 5 // 35
        assert len(data.val[0]) == 30 * 5 // 35


class TestNetwork:
    def test_size(self):
        """By hand: Zaremba's small network has 200 units."""
        model = build(5000)
        cell = 4 * (2 * 200 * 200 + 200)
        assert model.count_params() == 5000 * 200 + 2 * cell + 200 * 5000 + 5000
        assert model.output_shape == (None, 35, 5000)

    def test_no_word_depends_on_later_ones(self):
        model = build(20, units=4)
        x = np.random.default_rng(0).integers(20, size=(1, 35))
        changed = x.copy()
        changed[:, 20:] = (x[:, 20:] + 1) % 20
        one, two = (np.asarray(model(ids, training=False)) for ids in (x, changed))
        np.testing.assert_array_equal(one[:, :20], two[:, :20])
        assert (np.abs(one - two)[:, 20:].max(-1) > 0).all()

    def test_penalty_of_all_kernels(self):
        model = build(20, units=4, weight_decay=0.1)
        kernels = [x for x in model.weights if x.name.endswith("kernel")]
        assert len(kernels) == 5
        expected = 0.05 * sum(float(np.sum(np.square(x))) for x in kernels)
        assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
class TestRuns:
    def test_log_and_models(self, folder):
        directory = folder / "runs" / NAME
        rows, configuration = read_history(workbook(directory))
        assert [row["phase"] for row in rows] == ["compressed", *["fine-tuned"] * 2]
        assert rows[-1]["val_crossentropy"] < rows[0]["val_crossentropy"]
        assert rows[-1]["test_loss"] == pytest.approx(rows[-1]["test_crossentropy"])
        assert configuration["train_chunks"] == 1080 * 5 // 35
        assert configuration["words"] == 10
        assert configuration["vocabulary"] == 5000
        assert configuration["attack"] is configuration["val_size"] is None
        layers = read_table(workbook(directory), "layers")
        assert "output" in [row["name"] for row in layers]
        model = keras.saving.load_model(directory / "best.keras")
        assert model.count_params() == rows[-1]["parameters prediction"]
        words = (directory / "vocabulary.txt").read_text().splitlines()
        assert words[:4] == ["<unk>", "<eos>", ".", "the"]
        assert model.output_shape == (None, 35, len(words))

    def test_learns_the_words(self, folder):
        """Of five words, one is drawn from three and the others are known."""
        rows = rows_of(folder / "runs" / DENSE)
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
        assert rows[-1]["test_accuracy"] > 0.75
        assert results.perplexity(rows[-1]["test_crossentropy"]) < 3

    def test_tests(self, folder):
        tests = json.loads((folder / "runs" / NAME / "tests.json").read_text())
        assert list(tests) == ["dense", "compressed", "fine-tuned"]
        rows = rows_of(folder / "runs" / NAME)
        for name, row in (("compressed", rows[0]), ("fine-tuned", rows[-1])):
            found = tests[name]["test_perplexity"]
            assert found == pytest.approx(math.exp(row["test_crossentropy"]), rel=1e-4)
        assert all("attacked_accuracy" not in found for found in tests.values())
        assert tests["compressed"]["parameters"] < tests["dense"]["parameters"]

    def test_summary(self, folder):
        output = (folder / "output.txt").read_text()
        last = json.loads((folder / "runs" / NAME / "tests.json").read_text())
        assert "it is trained first" in output
        assert (
            "data set       mine (154 training, 8 validation, 8 test chunks)" in output
        )
        assert f"test perplexity {last['fine-tuned']['test_perplexity']:.1f}" in output
        assert "ms for 8 chunks" in output

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("method", "more"),
        [
            ("dlrt", ("--train", "-e", 1)),
            *slow(("alds", ("--allocation", "sensitivity"))),
        ],
    )
    def test_methods(self, method, more, folder):
        assert run(folder, "--method", method, *more, "--run-name", method) == 0
        rows = rows_of(folder / "runs" / method)
        assert rows[0]["parameters prediction"] <= MODEL_SIZE / 1.01
        assert np.isfinite(rows[-1]["test_crossentropy"])

    @pytest.mark.slow
    def test_interrupted_run_ends_as_an_uninterrupted_one(self, folder, monkeypatch):
        settings = ("--method", "svd", "--train", "-e", 2, "--run-name", "cut")
        interrupt_second_epoch(monkeypatch)
        assert run(folder, *settings) == 130
        monkeypatch.undo()
        assert run(folder, *settings, "--resume") == 0
        expected, found = (rows_of(folder / "runs" / name) for name in (NAME, "cut"))
        assert [row["epoch"] for row in found] == [0, 1, 2]
        for row, wanted in zip(found, expected, strict=True):
            assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-4)

    def test_other_text_of_the_same_name(self, folder, tmp_path, capsys):
        """A network of other words is not taken, and refused if it is named."""
        config = compression_config.parse(["-n", "lstm"], "x").dense_run()
        config = replace(config, dataset="mine", log_dir=folder / "runs", epochs=4)
        data = text.load(folder / "mine.txt", 5000)
        best = compression_task.find_newest(config, data).best
        assert best.parent.name == DENSE
        lines = (folder / "mine.txt").read_text()
        (tmp_path / "mine.txt").write_text(lines.replace("cat", "cow"))
        assert (
            compression_task.find_newest(config, text.load(tmp_path / "mine.txt", 5000))
            is None
        )
        line = failure(capsys, run, tmp_path, "-l", best)
        assert "`--load-model` must be for the words of the text" in line


# Embedding, two recurrent layers and the output, of ten words and 16 units.
MODEL_SIZE = 160 + 2 * 4 * (2 * 16 * 16 + 16) + 170


@pytest.mark.slow
class TestWrongInput:
    @pytest.mark.parametrize(
        ("settings", "part"),
        [
            (("--augment", "0"), "`--augment` must be left out with -n lstm"),
            (("--image-size", "8x8"), "`--image-size` must be left out with -n lstm"),
            (("--attack", "0.1"), "`--attack` must be left out with -n lstm"),
            (("--transfer", "x", "--train"), "`--transfer` must be left out"),
            (("--val-size", "0.1"), "`--val-size` must be left out with -n lstm"),
            (("--vocabulary", "2"), "`--vocabulary` must be at least 3"),
            (("-n", "cnn", "--vocabulary", "9"), "must be left out with -n cnn"),
            (("--dataset", "nowhere"), "or a path that exists"),
            (("--dataset-size", "0.1"), "at least 35 words in each part"),
        ],
    )
    def test_is_named(self, settings, part, folder, capsys):
        before = sorted(path.name for path in (folder / "runs").iterdir())
        assert part in failure(capsys, run, folder, *settings)
        assert sorted(path.name for path in (folder / "runs").iterdir()) == before

    def test_text_that_is_wrong(self, folder, tmp_path, capsys):
        path = tmp_path / "mine.txt"
        path.write_bytes(b"")
        assert "at least 20 lines with text" in failure(capsys, run, tmp_path)
        path.write_bytes(b"\xff\xfea\0")
        assert "is not valid UTF-8" in failure(capsys, run, tmp_path)
        assert not (tmp_path / "runs").exists()

    def test_model_for_other_words(self, folder, tmp_path, capsys):
        build(12).save(tmp_path / "other.keras")
        line = failure(capsys, run, folder, "-l", tmp_path / "other.keras")
        assert "chunks of shape (35,) in 10 classes" in line


def test_defaults():
    config = compression_config.parse(["-n", "lstm"], "x")
    assert config.budget == ("ratio", 1.5)
    assert (config.vocabulary, config.batch_size) == (5000, 32)
    rate = NETWORKS["lstm"]["learning_rate"]
    assert config.learning_rate == pytest.approx(rate / 10)
    dense = config.dense_run()
    assert (dense.vocabulary, dense.batch_size, dense.epochs) == (5000, 32, 10)
    assert dense.learning_rate == rate
    images = compression_config.parse([], "x")
    assert images.budget == ("ratio", 4.0)
    assert (images.attack, images.batch_size) == (0.1, 128)


def test_perplexity_is_a_number_whatever_the_loss():
    assert results.perplexity(math.log(50)) == pytest.approx(50)
    assert results.perplexity(1e6) == pytest.approx(1e300)
