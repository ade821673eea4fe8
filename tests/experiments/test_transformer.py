"""The transformer runs: what they write, how they go on, and what they refuse."""

import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from run_folders import (
    ROOT,
    failure,
    fill_disk,
    finish,
    interrupt_second_epoch,
    only_run,
    refused_without_checkpoint,
    rows_of,
    start,
    wait_for_an_epoch,
    workbook,
)

import dlrt
from dlrt.callbacks import read_history, read_table
from dlrt_names.log_schema import TRANSLATIONS
from evaluation.collection import collect
from evaluation.transformer_runs import networks
from experiments import transformer
from experiments.runs.phases import Phase
from experiments.translation import config, task
from experiments.translation.decoding import Translator
from experiments.translation.text import encode_pairs, score
from experiments.translation.tokenizers import START, load_vocabularies

DIM = 16
MAX_LENGTH = 24
SMALL = (
    *("--dim", DIM, "--layers", 1, "--heads", 2, "--feed-forward", 32),
    *("--vocab-size", 60, "--max-length", MAX_LENGTH, "--batch-size", 32),
    # Runs of few steps, which warm up to a fraction of the usual rate.
    *("--learning-rate-factor", 15),
)
NAMES = [
    *(f"encoder_1_self_attention/{part}" for part in ("query", "key", "value")),
    "encoder_1_self_attention/output",
    *(f"encoder_1_feed_forward_{number}" for number in (1, 2)),
    *(
        f"decoder_1_{kind}_attention/{part}"
        for kind in ("self", "cross")
        for part in ("query", "key", "value", "output")
    ),
    *(f"decoder_1_feed_forward_{number}" for number in (1, 2)),
    "output",
]


def make_pairs():
    words = [
        [("o gato", "the cat"), ("a menina", "the girl"), ("o rei", "the king")],
        [("vê", "sees"), ("quer", "wants"), ("tem", "has"), ("lê", "reads")],
        [("um", "one"), ("dois", "two"), ("três", "three"), ("sete", "seven")],
        [("livros", "books"), ("peixes", "fish"), ("mapas", "maps")],
        [("hoje", "today"), ("agora", "now"), ("sempre", "always")],
    ]
    pairs = [("", "")]
    for choices in words:
        pairs = [
            (f"{one} {source}".strip(), f"{other} {target}".strip())
            for one, other in pairs
            for source, target in choices
        ]
    order = np.random.default_rng(0).permutation(len(pairs))
    return [pairs[index] for index in order]


def write_part(folder, part, pairs):
    for language, side in (("pt", 0), ("en", 1)):
        lines = "".join(f"{pair[side]}\n" for pair in pairs)
        (folder / f"{part}.{language}").write_text(lines, encoding="utf-8")


def write_corpus(folder):
    folder.mkdir()
    pairs = make_pairs()
    write_part(folder, "test", pairs[:20])
    write_part(folder, "validation", pairs[20:50])
    write_part(folder, "train", pairs[50:])
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("text") / "small")


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


def words_of(subcommand, corpus, logs, *settings):
    words = [subcommand, "--corpus", corpus, *SMALL, "--log-dir", logs, *settings]
    return [str(word) for word in words]


def run(*arguments):
    """Runs a subcommand in this process; returns the exit status."""
    return transformer.main([*words_of(*arguments), "--verbose", "0"])


TIMES = ("seconds", "training seconds", "scoring seconds", "tokens/second")


def assert_same_run(directory, other):
    """Both runs have the same rows and the same translations, and no leftovers."""
    rows, expected = rows_of(directory), rows_of(other)
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert row.keys() == wanted.keys()
        for name in row.keys() - set(TIMES):
            same = row[name] == wanted[name]
            assert same or row[name] == pytest.approx(wanted[name], rel=1e-5), name
    one, two = (read_table(workbook(path), TRANSLATIONS) for path in (directory, other))
    assert one == two
    assert not list(directory.rglob(".*"))


def masked_scores(model, pairs):
    """Mean loss and accuracy over the tokens of pairs, from the model's scores."""
    target_in = np.roll(pairs.target, 1, axis=1)
    target_in[:, 0] = START
    target_in *= np.pad(pairs.target[:, 1:] != 0, [(0, 0), (1, 0)], constant_values=1)
    scores = model.predict({"source": pairs.source, "target": target_in}, verbose=0)
    scores = scores.astype("float64")
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    real = pairs.target != 0
    picked = np.take_along_axis(logs, pairs.target[..., None], -1)[..., 0]
    right = scores.argmax(-1) == pairs.target
    return -picked[real].mean(), right[real].mean()


class TestRuns:
    @pytest.mark.slow
    def test_reference(self, corpus, logs, capsys):
        assert run("reference", corpus, logs, "-e", 2, "--score-interval", 0) == 0
        directory = only_run(logs)
        assert directory.name == f"transformer-reference-small-d{DIM}-seed0"
        assert workbook(directory).name == f"dense-transformer-1x{DIM}-small.xlsx"
        rows, configuration = read_history(workbook(directory))
        assert [row["epoch"] for row in rows] == [1, 2]
        assert rows[1]["val_loss"] < rows[0]["val_loss"]
        assert rows[0]["test_bleu"] is None
        # What the rows say is what the saved model and the saved tokenizers do.
        test, validation = make_pairs()[:20], make_pairs()[20:50]
        vocabularies = load_vocabularies(directory)
        model = keras.saving.load_model(directory / "best.keras")
        pairs = encode_pairs(validation, vocabularies, MAX_LENGTH)
        loss, accuracy = masked_scores(model, pairs)
        assert rows[1]["val_loss"] == pytest.approx(loss, rel=1e-4)
        assert rows[1]["val_accuracy"] == pytest.approx(accuracy, rel=1e-4)
        translator = Translator(model, vocabularies, max_length=MAX_LENGTH)
        found = translator([pair[0] for pair in test])
        scores = score(found, [pair[1] for pair in test])
        assert rows[1]["test_bleu"] == pytest.approx(scores.bleu)
        assert rows[1]["test_chrf"] == pytest.approx(scores.chrf)
        assert configuration["bleu_signature"] == scores.bleu_signature
        assert configuration["train_pairs"] == len(make_pairs()) - 50
        assert configuration["warm_up_steps"] == configuration["steps_per_epoch"]
        assert f"chrF {scores.chrf:.2f}" in capsys.readouterr().out
        written = json.loads((directory / "scores.json").read_text())
        assert written["epoch"] == 2
        assert written["test_chrf"] == pytest.approx(scores.chrf)

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_fixed_rank_with_other_settings(self, corpus, logs):
        status = run(
            *("fixed-rank", corpus, logs, "-e", 2, "-s", 5, "--embedding-rank", 3),
            *("--integrator", "kls", "--dropout", "0", "--steps-per-epoch", 3),
            *("--warm-up-steps", 5, "--learning-rate-factor", "0.5"),
            *("--score-interval", 1, "--beams", 2, "--seed", 3),
        )
        assert status == 0
        rows, configuration = read_history(workbook(only_run(logs)))
        ranks = {name: 5 for name in NAMES}
        ranks |= {"source_embedding": 3, "target_embedding": 3}
        for row in rows:
            assert {name: row[f"rank {name}"] for name in ranks} == ranks
            assert row["test_bleu"] is not None
            assert 0 < row["compression"] < 1
        # After 6 steps, with a peak at the fifth that is no larger than the usual one.
        expected = 0.5 * DIM**-0.5 * 7**-0.5 * (5 / config.WARM_UP_STEPS) ** 0.5
        assert rows[1]["learning rate"] == pytest.approx(expected)
        assert configuration["beams"] == 2
        model = keras.saving.load_model(only_run(logs) / "last.keras")
        assert dlrt.accounting.ranks(model) == ranks

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_rank_adaptive(self, corpus, logs):
        tolerance = ("-t", "0.4", "-s", 12, "-m", 12)
        assert run("rank-adaptive", corpus, logs, "-e", 3, *tolerance) == 0
        directory = only_run(logs)
        rows, configuration = read_history(workbook(directory))
        ranks = [[row[f"rank {name}"] for name in NAMES] for row in rows]
        assert max(ranks[-1]) <= 12
        assert len(set(ranks[-1])) > 1
        assert rows[-1]["compression"] > rows[0]["compression"]
        steps = configuration["steps_per_epoch"]
        assert configuration["truncation_schedule"]["truncation_start"] <= steps
        sample = read_table(workbook(directory), "translations")
        assert [row["epoch"] for row in sample] == [1] * 8 + [2] * 8 + [3] * 8
        validation = make_pairs()[20:50]
        for row in sample:
            assert (row["source"], row["reference"]) in validation

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_the_evaluation_knows_the_networks(self, corpus, logs):
        for subcommand, rank in (("reference", ()), ("fixed-rank", ("-s", 4))):
            assert run(subcommand, corpus, logs, "-e", 1, *rank) == 0
        collection = collect([logs])
        assert collection.problems == ()
        dense, low_rank = networks(collection.transformers)
        assert (dense.method, low_rank.method) == ("dense", "fixed")
        assert (low_rank.rank, low_rank.dim, low_rank.heads) == (4, DIM, 2)
        assert low_rank.setting.data == "small"


class TestContinuing:
    adaptive = ("-e", 2, "-s", 8, "-t", "0.3", "--run-name", "run")

    @pytest.mark.slow
    def test_interrupted_run_ends_as_an_uninterrupted_one(
        self, corpus, tmp_path, monkeypatch, capsys
    ):
        one, two = tmp_path / "a", tmp_path / "b"
        assert run("rank-adaptive", corpus, one, *self.adaptive) == 0

        interrupt_second_epoch(monkeypatch)
        assert run("rank-adaptive", corpus, two, *self.adaptive) == 130
        monkeypatch.undo()
        said = capsys.readouterr().err
        assert re.search(r"Continue with: \S+ -m experiments.transformer ", said)
        assert len(rows_of(two / "run")) == 2
        assert run("rank-adaptive", corpus, two, *self.adaptive, "--resume") == 0
        assert_same_run(two / "run", one / "run")
        ranks = [row["rank output"] for row in rows_of(one / "run")]
        assert ranks != [8, 8]

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_killed_run_ends_as_an_uninterrupted_one(self, corpus, tmp_path):
        settings = ("-s", 4, "-e", 8, "--steps-per-epoch", 7, "--run-name", "run")
        words = {
            name: words_of("fixed-rank", corpus, tmp_path / name, *settings)
            for name in "ab"
        }
        whole, killed = (start("transformer", words[name]) for name in "ab")
        directory = tmp_path / "b" / "run"
        wait_for_an_epoch(directory)
        killed.kill()
        killed.wait()
        assert 1 <= len(rows_of(directory)) < 8
        resumed = finish("transformer", [*words["b"], "--resume"])
        assert resumed.returncode == 0, resumed.stderr
        assert whole.wait() == 0
        assert_same_run(directory, tmp_path / "a" / "run")

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_more_time_and_more_epochs(self, corpus, logs, capsys):
        settings = ("-s", 4, "--run-name", "run", "--score-interval", 0)
        directory = logs / "run"
        # Less than an epoch takes: the run ends with the first.
        short = (*settings, "-e", 2, "--minutes", "0.0001")
        assert run("fixed-rank", corpus, logs, *short) == 0
        (first,), configuration = read_history(workbook(directory))
        assert first["test_bleu"] is not None
        assert run("fixed-rank", corpus, logs, *short, "--resume") == 0
        assert rows_of(directory) == [first]
        assert run("fixed-rank", corpus, logs, *settings, "-e", 3, "--resume") == 0
        rows, continued = read_history(workbook(directory))
        assert rows[0] == first
        assert len(rows) == 3
        assert continued["warm_up_steps"] == configuration["warm_up_steps"]
        assert (continued["minutes"], continued["epochs"]) == (None, 3)

        capsys.readouterr()
        other = (
            (("-e", 2), "--epochs"),
            (("-e", 3, "--seed", 1), "'seed'"),
            (("-e", 3, "--dropout", "0.2"), "'dropout'"),
            (("-e", 3, "--vocab-size", 61), "'vocab_size'"),
            (("-e", 3, "--max-length", 30), "'max_length'"),
        )
        for change, part in other:
            words = (*settings, "--resume", *change)
            line = failure(capsys, run, "fixed-rank", corpus, logs, *words)
            assert part in line
        words = ("fixed-rank", corpus, logs, *settings, "-e", 4, "--resume")
        refused_without_checkpoint(capsys, run, directory, *words)
        (directory / "source.spm").write_bytes(b"none")
        line = failure(capsys, run, "fixed-rank", corpus, logs, *settings, "--resume")
        assert "source.spm" in line
        assert len(rows_of(directory)) == 3


class TestProcesses:
    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_loss_that_is_no_number(self, corpus, logs):
        settings = ("--learning-rate-factor", "1e30", "--warm-up-steps", 1)
        words = words_of("reference", corpus, logs, "-e", 2, *settings)
        process = finish("transformer", words)
        assert process.returncode == 3, process.stderr
        assert "at epoch 1, step" in process.stderr
        assert "Traceback" not in process.stderr
        assert "try a smaller --learning-rate-factor" in process.stderr
        assert rows_of(only_run(logs)) == []

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_disk_that_fills_up(self, corpus, logs):
        settings = ("-s", 4, "-e", 1000, "--steps-per-epoch", 3, "--score-interval", 0)
        words = words_of("fixed-rank", corpus, logs, *settings, "--run-name", "run")
        directory = logs / "run"
        fill_disk("transformer", words, directory)
        assert "translation" in read_table(workbook(directory), "translations")[0]
        # With room again, the run goes on from what was saved.
        again = (*settings, "--run-name", "run", "--resume", "--minutes", "0.0001")
        assert run("fixed-rank", corpus, logs, *again) == 0

    @pytest.mark.tensorflow_only
    @pytest.mark.parametrize(
        ("name", "kind", "dim"),
        [
            ("reference", "reference", 128),
            ("fix_rank", "fixed-rank", 128),
            ("dlrt", "rank-adaptive", 128),
            ("big_fix_rank", "fixed-rank", 512),
            ("big_dlrt", "rank-adaptive", 512),
        ],
    )
    def test_scripts(self, name, kind, dim):
        script = ROOT / "run_scripts" / f"transformer_{name}.sh"
        environment = os.environ | {"PYTHON": sys.executable, "EPOCHS": "0"}
        for words, parts in (
            (["--help"], [f"experiments.transformer {kind} "]),
            (["--heads", "7", "-e", "1"], ["--heads 7", f"--dim {dim}"]),
            ([], ["--epochs 0"]),
        ):
            process = subprocess.run(
                ["sh", script, *words], env=environment, capture_output=True, text=True
            )
            assert process.returncode == (0 if words == ["--help"] else 2)
            output = process.stdout + process.stderr
            assert all(part in output for part in parts), output

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_a_script_trains(self, corpus, logs, tmp_path):
        script = ROOT / "run_scripts" / "transformer_reference.sh"
        words = words_of("reference", corpus, logs, "--verbose", 2)[1:]
        environment = os.environ | {"PYTHON": sys.executable, "EPOCHS": "1"}
        process = subprocess.run(
            ["sh", script, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        assert "BLEU" in process.stdout
        assert "\ntranslating " in process.stdout
        (row,) = rows_of(only_run(logs))
        assert row["tokens/second"] > 0
        assert only_run(logs).name == f"transformer-reference-small-d{DIM}-seed0"


BAD_OPTIONS = [
    (("fixed-rank", "-s", "0"), ("--rank", "0", "between 1 and 16")),
    (("fixed-rank", "-s", "17"), ("--rank", "17", "between 1 and 16")),
    (("fixed-rank", "--embedding-rank", "17"), ("--embedding-rank", "17")),
    (("fixed-rank", "-t", "0.1"), ("-t",)),
    (("fixed-rank", "--integrator", "euler"), ("--integrator", "euler", "kls")),
    (("rank-adaptive", "--integrator", "kls"), ("--integrator", "augmented_bug")),
    (("rank-adaptive", "-t", "0"), ("--tolerance", "(0, 1)")),
    (("rank-adaptive", "-t", "nan"), ("--tolerance", "nan")),
    (("rank-adaptive", "-m", "1"), ("--max-rank", "1")),
    (("rank-adaptive", "-m", "17"), ("--max-rank", "17", "16")),
    (("rank-adaptive", "-s", "9", "-m", "8"), ("--max-rank", "--rank", "9")),
    (
        ("rank-adaptive", "--embedding-rank", "9", "-m", "8"),
        ("--max-rank", "--embedding-rank", "9"),
    ),
    (("reference", "-s", "3"), ("-s",)),
    (("reference", "--dim", "15", "--heads", "3"), ("--dim", "even", "15")),
    (("reference", "--heads", "3"), ("--heads 3", "--dim 16")),
    (("reference", "--heads", "0"), ("--heads", "at least 1")),
    (("reference", "--layers", "0"), ("--layers", "at least 1")),
    (("reference", "--feed-forward", "0"), ("--feed-forward", "at least 1")),
    (("reference", "--dropout", "1"), ("--dropout", "[0, 1)")),
    (("reference", "--dropout", "nan"), ("--dropout", "nan")),
    (("reference", "--preset", "huge"), ("--preset", "huge", "big")),
    (("reference", "-e", "0"), ("--epochs", "at least 1")),
    (("reference", "--steps-per-epoch", "0"), ("--steps-per-epoch", "at least 1")),
    (("reference", "--minutes", "0"), ("--minutes", "positive")),
    (("reference", "--minutes", "inf"), ("--minutes", "positive")),
    (("reference", "--batch-size", "0"), ("--batch-size", "at least 1")),
    (("reference", "--batch-tokens", "9"), ("--batch-size", "--batch-tokens")),
    (("reference", "--warm-up-steps", "0"), ("--warm-up-steps", "at least 1")),
    (("reference", "--learning-rate-factor", "nan"), ("--learning-rate-factor",)),
    (("reference", "--vocab-size", "0"), ("--vocab-size", "at least 1")),
    (("reference", "--vocab-size", "9"), ("vocab_size", "9", "room")),
    (("reference", "--max-length", "1"), ("--max-length", "at least 2")),
    (("reference", "--max-length", "2"), ("at most 2 tokens", "none")),
    (("reference", "--score-interval", "-1"), ("--score-interval", "at least 0")),
    (("reference", "--beams", "0"), ("--beams", "at least 1")),
    (("reference", "--seed", "-1"), ("--seed", "-1")),
    (("reference", "--run-name", "a/b"), ("--run-name", "a/b")),
    (("reference", "--corpus", "none-such"), ("none-such", "a path that exists")),
    (("reference", "--layers", "9999"), ("--layers", "at most 1000")),
    (("reference", "--beams", "9999"), ("--beams", "at most 1000")),
    (("reference", "--max-length", "9999"), ("--max-length", "at most 4096")),
    (("reference", "--vocab-size", "9" * 30), ("--vocab-size", "at most")),
    (("reference", "--score-interval", "9" * 30), ("--score-interval", "at most")),
    (("reference", "--feed-forward", "9" * 9), ("--feed-forward 999999999", "GiB")),
    (("fixed-rank", "--dim", "99998", "--heads", "2"), ("--dim 99998", "8.0 GiB")),
    (("reference", "--resume"), ("--resume", "transformer-reference-small-d16-seed0")),
    (("train-them-all",), ("train-them-all", "rank-adaptive")),
]


@pytest.mark.tensorflow_only
class TestBadInput:
    @pytest.mark.parametrize(("words", "parts"), BAD_OPTIONS)
    def test_options(self, corpus, logs, capsys, words, parts):
        line = failure(capsys, run, words[0], corpus, logs, *words[1:])
        assert all(part in line for part in parts), line
        assert not logs.exists()

    def test_text(self, tmp_path, logs, capsys):
        def spoil(name, act):
            folder = write_corpus(tmp_path / name)
            act(folder)
            line = failure(capsys, run, "reference", folder, logs)
            assert name in line
            return line

        def add_line(folder):
            with open(folder / "train.pt", "a") as file:
                file.write("mais um\n")

        assert "lines" in spoil("uneven", add_line)
        line = spoil("empty", lambda folder: write_part(folder, "train", []))
        assert "train" in line
        line = spoil("missing", lambda folder: (folder / "test.en").unlink())
        assert "test.en" in line
        line = spoil("binary", lambda f: (f / "test.en").write_bytes(b"\xff\n" * 20))
        assert "UTF-8" in line
        assert not logs.exists()

    def test_batches_beyond_memory(self, corpus, logs, capsys, monkeypatch):
        monkeypatch.setattr(task, "MOST_WEIGHTS", 1000)
        line = failure(capsys, run, "reference", corpus, logs)
        assert "`--batch-size` must be smaller" in line and "may have 1,000" in line
        assert not logs.exists()

    def test_runs_that_exist(self, corpus, logs, capsys):
        (logs / "run").mkdir(parents=True)
        line = failure(capsys, run, "reference", corpus, logs, "--run-name", "run")
        assert "--run-name run" in line
        (logs / "file").touch()
        line = failure(capsys, run, "reference", corpus, logs / "file" / "logs")
        assert "--log-dir" in line


@pytest.mark.tensorflow_only
class TestParts:
    @pytest.mark.parametrize("subcommand", config.DEFAULTS)
    def test_help_tells_defaults(self, subcommand, capsys):
        with pytest.raises(SystemExit) as stop:
            config.parse([subcommand, "--help"])
        assert stop.value.code == 0
        assert "default: 512, big: 2048" in " ".join(capsys.readouterr().out.split())

    def test_presets_give_way_to_single_sizes(self):
        small = config.resolve("fixed-rank", {})
        assert (small.dim, small.layers, small.heads, small.feed_forward) == (
            *(128, 4, 8),
            512,
        )
        big = config.resolve("fixed-rank", {"preset": "big", "layers": 2})
        assert (big.dim, big.layers, big.heads, big.feed_forward) == (512, 2, 8, 2048)
        assert big.rank == 50
        assert config.resolve("fixed-rank", {"dim": 16, "heads": 2}).rank == 16
        assert config.resolve("rank-adaptive", {"max_rank": 20}).rank == 20
        by_tokens = config.resolve("reference", {"batch_tokens": 500})
        assert (by_tokens.batch_size, by_tokens.batch_tokens) == (None, 500)

    def test_defaults_that_depend_on_the_data(self):
        sizes = [config.default_vocab_size(name) for name in ("phrases", "pt_en")]
        assert sizes == [1000, 8000]
        steps = [config.default_warm_up_steps(steps) for steps in (1, 7999, 10**6)]
        assert steps == [1, 3999, 4000]

    def test_truncations_end_before_the_run(self):
        for epochs, steps in ((1, 1), (1, 8), (2, 5), (100, 900)):
            schedule = Phase("adaptive", epochs, adaptive=True).truncation(steps)
            start, stop = (schedule[f"truncation_{end}"] for end in ("start", "stop"))
            assert 0 <= start < stop <= max(1, epochs * steps)

    def test_names_of_files_are_plain(self):
        odd = config.resolve("reference", {"corpus": "my text/ü"})
        assert odd.base_name == "transformer-reference-my_text_ü-d128-seed0"
        assert "/" not in odd.network
