import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from conftest import slow
from run_folders import (
    ROOT,
    failure,
    fill_disk,
    finish,
    only_run,
    refused_without_checkpoint,
    rows_of,
    start,
    wait_for_an_epoch,
    workbook,
)

import dlrt
from dlrt.callbacks import read_history
from experiments import mnist_dense
from experiments.cli import settings
from experiments.mnist import config as _config
from experiments.runs import folders, results, run_callbacks
from experiments.runs.image_data import ShuffledBatches

WIDTH = 24
SMALL = ("--dataset", "digits", "-d", str(WIDTH), "--batch-size", "256")
SHAPES = [(784, WIDTH), *[(WIDTH, WIDTH)] * 3, (WIDTH, 10)]


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


def run(subcommand, logs, *options):
    """Runs a subcommand in this process; returns the exit status."""
    words = words_of(subcommand, logs, "--verbose", 0, *options)
    return mnist_dense.main([str(word) for word in words])


def words_of(subcommand, logs, *options):
    return [subcommand, *SMALL, "--log-dir", logs, *options]


def assert_same_rows(rows, expected):
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        assert row["phase"] == other["phase"]
        for name in row.keys() - {"phase", "seconds"}:
            if other[name] is None:
                assert row[name] is None, name
                continue
            assert row[name] == pytest.approx(other[name], rel=1e-6, abs=1e-6), name


def dense_weights(seed=0):
    rng = np.random.default_rng(seed)
    return [
        array.astype("float32")
        for n, m in SHAPES
        for array in (rng.normal(size=(n, m)) / np.sqrt(n), rng.normal(size=m))
    ]


def dense_model(weights, shapes=SHAPES):
    inputs = x = keras.Input((shapes[0][0],))
    for _, units in shapes[:-1]:
        x = keras.layers.Dense(units, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(shapes[-1][1])(x))
    model.set_weights(weights)
    return model


def write_folder(path, weights, first=0):
    path.mkdir()
    for index in range(4):
        np.save(path / f"w{first + index}.npy", weights[2 * index])
        np.save(path / f"b{first + index}.npy", weights[2 * index + 1])
    np.save(path / "w_out.npy", weights[-2])
    np.save(path / "b_out.npy", weights[-1])
    return path


def write_weights(path, kind, weights):
    """Writes the weights of a dense network in one of the formats."""
    if kind == "keras":
        dense_model(weights).save(path / "net.keras")
        return path / "net.keras"
    if kind == "h5":
        dense_model(weights).save_weights(path / "net.weights.h5")
        return path / "net.weights.h5"
    return write_folder(path / "net", weights, first=int(kind))


def accuracy_after_svd(weights, rank):
    """NumPy's answer to what a pruned network gets right on the test digits."""
    data = dlrt.datasets.load("digits")
    x = data.x_test.reshape(len(data.x_test), -1).astype("float64")
    for index in range(5):
        kernel, bias = weights[2 * index : 2 * index + 2]
        if index < 4:
            u, s, vh = np.linalg.svd(kernel.astype("float64"))
            kernel = (u[:, :rank] * s[:rank]) @ vh[:rank]
        x = x @ kernel + bias
        x = np.maximum(x, 0) if index < 4 else x
    return np.mean(x.argmax(axis=1) == data.y_test)


class TestRuns:
    @pytest.mark.slow
    def test_dense_reference(self, logs, capsys):
        assert run("dense-reference", logs, "--epochs", 2) == 0
        directory = only_run(logs)
        assert directory.name == f"dense-reference-digits-d{WIDTH}-seed0"
        assert workbook(directory).name == f"dense-4x{WIDTH}-digits.xlsx"
        rows, configuration = read_history(workbook(directory))
        assert [row["epoch"] for row in rows] == [1, 2]
        expected = sum(n * m + m for n, m in SHAPES)
        assert all(row["parameters prediction"] == expected for row in rows)
        assert configuration["dataset"] == "digits"
        assert configuration["seed"] == 0
        assert configuration["train_images"] + configuration["val_images"] == 1437
        best = max(rows, key=lambda row: row["val_accuracy"])
        output = capsys.readouterr().out
        assert "digits" in output
        assert f"{100 * best['test_accuracy']:.2f} %" in output
        model = keras.saving.load_model(directory / "best.keras")
        data = dlrt.datasets.load("digits")
        scores = model.predict(data.x_test.reshape(-1, 784), verbose=0)
        accuracy = np.mean(scores.argmax(axis=1) == data.y_test)
        assert accuracy == pytest.approx(best["test_accuracy"], abs=1e-6)
        # One seed, one result; and a name in use gets a number.
        assert run("dense-reference", logs, "--epochs", 2) == 0
        assert_same_rows(rows_of(logs / f"{directory.name}-2"), rows)

    @pytest.mark.slow
    def test_fixed_rank_with_other_settings(self, logs):
        status = run(
            *("fixed-rank", logs, "-e", 1, "-s", 5, "--integrator", "kls"),
            *("--optimizer", "sgd", "--learning-rate", "0.05", "--noise", "0.1"),
            *("--regularizer", "l1l2", "--regularizer-amount", "0.001"),
            *("--val-size", 100, "--dataset-size", "0.5", "--schedule", "constant"),
        )
        assert status == 0
        (row,), configuration = read_history(workbook(only_run(logs)))
        assert [row[f"rank hidden_{i}"] for i in range(1, 5)] == [5] * 4
        assert row["learning rate"] == pytest.approx(0.05)
        assert configuration["val_images"] == 100
        assert configuration["test_images"] == 180
        # The penalty is part of the loss, in training and in evaluation.
        model = keras.saving.load_model(only_run(logs) / "last.keras")
        s = [layer.factors.s for layer in model.layers if hasattr(layer, "factors")]
        penalty = 1e-3 * sum(
            np.linalg.svd(m, compute_uv=False).sum() + (m**2).sum() for m in s
        )
        assert float(sum(model.losses)) == pytest.approx(penalty, rel=1e-4)

    def test_rank_adaptive(self, logs):
        status = run("rank-adaptive", logs, "-e", 1, "-s", 16, "-t", "0.6", "-m", 16)
        assert status == 0
        directory = only_run(logs)
        rows = rows_of(directory)
        ranks = [results.ranks(row) for row in rows]
        assert max(ranks[-1]) < 16
        for row in rows:
            values = row["singular values/hidden_2"]
            assert len(values) == row["rank hidden_2"]
            assert values == sorted(values, reverse=True)
        model = keras.saving.load_model(directory / "last.keras")
        last = [layer.rank for layer in model.layers if hasattr(layer, "rank")]
        assert last == ranks[-1]

    @pytest.mark.parametrize("kind", ["keras", *slow("h5", "0", "1")])
    def test_pruning_keeps_the_largest_singular_values(self, logs, tmp_path, kind):
        weights = dense_weights()
        path = write_weights(tmp_path, kind, weights)
        assert run("train-from-prune", logs, "-a", 0, "-s", 6, "-l", path) == 0
        (row,) = rows_of(only_run(logs))
        assert row["epoch"] == 0
        assert row["phase"] == "pruned"
        expected = accuracy_after_svd(weights, rank=6)
        assert row["test_accuracy"] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_train_from_prune_trains_a_dense_network_once(self, logs, capsys):
        assert run("train-from-prune", logs, "-e", 1, "-s", 6) == 0
        dense = logs / f"dense-reference-digits-d{WIDTH}-seed0"
        pruned = logs / f"train-from-prune-digits-d{WIDTH}-r6-seed0"
        assert {path.name for path in logs.iterdir()} == {dense.name, pruned.name}
        rows, configuration = read_history(workbook(pruned))
        assert [row["epoch"] for row in rows] == [0, 1]
        assert configuration["dense_weights"] == str(dense / "best.keras")
        assert rows[1]["rank hidden_1"] == 6
        # A second one finds it, unless it was trained on other images.
        config = _config.parse(["train-from-prune", *SMALL, "--log-dir", str(logs)])
        assert mnist_dense.find_dense(config).directory == dense
        for options in (("--seed", "1"), ("--dataset-size", "0.5"), ("-d", "25")):
            other = _config.parse(
                ["train-from-prune", *SMALL, "--log-dir", str(logs), *options]
            )
            assert mnist_dense.find_dense(other) is None

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_low_rank_model_is_loaded_at_its_ranks(self, logs, tmp_path):
        assert run("fixed-rank", logs, "-e", 1, "-s", 4, "--run-name", "first") == 0
        best = logs / "first" / "best.keras"
        assert run("fixed-rank", logs, "-l", best, "-a", 0, "--run-name", "again") == 0
        (before,), (after,) = rows_of(logs / "first"), rows_of(logs / "again")
        assert after["phase"] == "loaded"
        assert results.ranks(after) == [4] * 4
        for name in ("val_loss", "val_accuracy", "test_loss", "test_accuracy"):
            assert after[name] == pytest.approx(before[name], rel=1e-5)


@pytest.mark.tensorflow_only
class TestFineTune:
    options = (
        *("-e", 3, "-s", 12, "-t", "0.5", "--patience-ranks", 1),
        *("--fine-tune-epochs", 2, "--run-name", "run"),
    )

    @pytest.mark.slow
    def test_resumed_run_equals_uninterrupted_run(self, tmp_path, monkeypatch, capsys):
        assert run("fine-tune", tmp_path / "a", *self.options) == 0
        expected = rows_of(tmp_path / "a" / "run")
        phases = [row["phase"] for row in expected]
        adaptive = phases.count("adaptive")
        assert phases == ["adaptive"] * adaptive + ["fixed"] * 2
        assert results.ranks(expected[adaptive]) == results.ranks(
            expected[adaptive - 1]
        )
        assert results.ranks(expected[0]) != results.ranks(expected[-1])
        # The second phase has a learning rate of its own.
        assert expected[adaptive]["learning rate"] == pytest.approx(5e-4, rel=1e-3)
        assert (tmp_path / "a" / "run" / "best-adaptive.keras").exists()

        saved = run_callbacks.Checkpoint.on_epoch_end
        # Stopped after a row was written and before its checkpoint, in each phase.
        for stop in (2, adaptive):

            def interrupt(self, epoch, logs=None, stop=stop):
                if epoch + 1 > stop:
                    raise KeyboardInterrupt
                saved(self, epoch, logs)

            monkeypatch.setattr(run_callbacks.Checkpoint, "on_epoch_end", interrupt)
            resume = () if stop == 2 else ("--resume",)
            assert run("fine-tune", tmp_path / "b", *self.options, *resume) == 130
            assert "--resume" in capsys.readouterr().err
        monkeypatch.undo()
        assert run("fine-tune", tmp_path / "b", *self.options, "--resume") == 0
        assert_same_rows(rows_of(tmp_path / "b" / "run"), expected)


class TestProcesses:
    @pytest.fixture(autouse=True)
    def no_second_precision(self, monkeypatch):
        monkeypatch.delenv("EPOCHS", raising=False)

    # How a run goes on is tested on the second backend without processes: LeNet-5's.
    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_killed_run_resumes_as_if_uninterrupted(self, tmp_path):
        options = ("-s", 6, "--run-name", "run", "-e", 12)
        words = {
            name: words_of("fixed-rank", tmp_path / name, *options) for name in "ab"
        }
        whole, killed = (start("mnist_dense", words[name]) for name in "ab")
        directory = tmp_path / "b" / "run"
        wait_for_an_epoch(directory)
        killed.kill()
        killed.wait()
        logged = rows_of(directory)
        assert 1 <= len(logged) < 12
        resumed = finish("mnist_dense", [*words["b"], "--resume"])
        assert resumed.returncode == 0, resumed.stderr
        assert whole.wait() == 0
        rows, configuration = read_history(workbook(directory))
        assert_same_rows(rows, rows_of(tmp_path / "a" / "run"))
        assert "resumed 1" in configuration
        assert not list(directory.rglob(".*"))

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_script_without_mnist(self, logs, tmp_path):
        environment = {
            **os.environ,
            "PYTHON": sys.executable,
            "EPOCHS": "1",
            "KERAS_HOME": str(tmp_path / "no-cache"),
            # Nothing listens there: as on a machine without a network.
            "https_proxy": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
        }
        environment.pop("DLRT_DATA_DIR", None)
        script = ROOT / "run_scripts" / "fixed_rank.sh"
        process = subprocess.run(
            ["sh", script, "-d", "16", "--log-dir", logs],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        (warning,) = [s for s in process.stderr.splitlines() if "DIGITS" in s]
        assert warning.startswith("WARNING: ")
        assert "Traceback" not in process.stderr
        assert "digits" in process.stdout
        directory = only_run(logs)
        assert directory.name == "fixed-rank-digits-d16-r16-seed0"
        (row,), configuration = read_history(workbook(directory))
        assert configuration["dataset"] == "digits"
        assert row["rank hidden_4"] == 16

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_checkpoint_that_cannot_be_written(self, logs):
        words = words_of("fixed-rank", logs, "-s", 16, "-e", 1000, "--run-name", "run")
        directory = logs / "run"
        fill_disk("mnist_dense", words, directory)
        keras.saving.load_model(directory / "last.keras")

    @pytest.mark.slow
    def test_loss_that_is_no_number(self, logs):
        options = ("-s", 4, "-e", 3, "--optimizer", "sgd", "--learning-rate", "1e6")
        process = finish("mnist_dense", words_of("fixed-rank", logs, *options))
        assert process.returncode == 3
        assert "at epoch 1, step" in process.stderr
        assert "Traceback" not in process.stderr
        directory = only_run(logs)
        assert rows_of(directory) == []
        model = keras.saving.load_model(directory / "last.keras")
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


BAD_OPTIONS = [
    (("fixed-rank", "-s", "0"), ("--start-rank", "0", "between 1 and 24")),
    (("fixed-rank", "-s", "25"), ("--start-rank", "25", "between 1 and 24")),
    (("fixed-rank", "-s", "x"), ("--start-rank", "x")),
    (("fixed-rank", "-e", "0"), ("--epochs", "0", "at least 1")),
    (("fixed-rank", "-e", "-3"), ("--epochs", "-3")),
    (("fixed-rank", "--batch-size", "0"), ("--batch-size", "at least 1")),
    (("fixed-rank", "-d", "0"), ("--dim-layer", "at least 1")),
    (("fixed-rank", "--learning-rate", "-1"), ("--learning-rate", "positive")),
    (("fixed-rank", "--learning-rate", "nan"), ("--learning-rate", "nan")),
    (("fixed-rank", "--integrator", "euler"), ("--integrator", "euler", "kls")),
    (("rank-adaptive", "--integrator", "kls"), ("--integrator", "augmented_bug")),
    (("fixed-rank", "--optimizer", "adammm"), ("--optimizer", "adammm", "sgd")),
    (("fixed-rank", "--dataset", "cifar"), ("--dataset", "cifar", "mnist")),
    (("fixed-rank", "--schedule", "steps"), ("--schedule", "cosine")),
    (("fixed-rank", "--dataset-size", "1.5"), ("--dataset-size", "1.5", "(0, 1]")),
    (("fixed-rank", "--noise", "1"), ("--noise", "[0, 1)")),
    (("fixed-rank", "--regularizer-amount", "-1"), ("--regularizer-amount",)),
    (
        ("fixed-rank", "--regularizer-amount", "5"),
        ("`--regularizer-amount` must come",),
    ),
    (("dense-reference", "-d", "99999"), ("--dim-layer 99999", "8.0 GiB", "112.0")),
    (("train-from-prune", "-d", "99999"), ("--dim-layer 99999", "8.0 GiB")),
    (("fixed-rank", "-d", "9" * 30), ("--dim-layer", "at most 2147483647")),
    (("fixed-rank", "-e", "9" * 30), ("--epochs", "at most 500000")),
    (("fine-tune", "--fine-tune-epochs", "9" * 30), ("--fine-tune-epochs", "500000")),
    (("fixed-rank", "--batch-size", "9" * 30), ("--batch-size", "at most")),
    (("fixed-rank", "--run-name", "a" * 300), ("`--run-name`", "255 bytes")),
    (("fixed-rank", "--resume", "--run-name", "no"), ("--resume", "Received: no")),
    (("fixed-rank", "--epoch", "3"), ("--epoch 3. Did you mean --epochs?",)),
    (("fixed-rank", "--val-size", "0"), ("--val-size", "0")),
    (("fixed-rank", "--val-size", "1437"), ("val_size", "1437")),
    (("fixed-rank", "--seed", "-1"), ("--seed", "-1")),
    (("fixed-rank", "--run-name", "a/b"), ("--run-name", "a/b")),
    (("fixed-rank", "--run-name", ".."), ("--run-name", "..")),
    (("fixed-rank", "-a", "0"), ("--train", "--load-model")),
    (("fixed-rank", "-a", "2"), ("--train", "2")),
    (("rank-adaptive", "-t", "0"), ("--tolerance", "(0, 1)")),
    (("rank-adaptive", "-t", "1"), ("--tolerance", "1.0", "(0, 1)")),
    (("rank-adaptive", "-m", "99"), ("--max-rank", "99", "24")),
    (("rank-adaptive", "-s", "9", "-m", "8"), ("--max-rank", "--start-rank", "9")),
    (("fine-tune", "--patience-ranks", "0"), ("--patience-ranks", "at least 1")),
    (("dense-reference", "-s", "3"), ("-s",)),
    (("train-them-all",), ("train-them-all", "rank-adaptive")),
    (("fixed-rank", "--resume"), ("--resume", "fixed-rank-digits-d24-r20-seed0")),
    (("train-from-prune", "--resume"), ("--resume", "train-from-prune")),
    (("fixed-rank", "-l", "missing.keras"), ("--load-model", "missing.keras")),
    (("fixed-rank", "-l", "missing.txt"), ("--load-model", "that exists")),
]


@pytest.mark.tensorflow_only
class TestBadInput:
    @pytest.mark.parametrize(("words", "parts"), BAD_OPTIONS)
    def test_options(self, logs, capsys, words, parts):
        line = failure(capsys, run, words[0], logs, *words[1:])
        assert all(part in line for part in parts), line
        assert not logs.exists()

    def test_weight_files(self, logs, tmp_path, capsys):
        weights = dense_weights()
        shapes = [(784, 20), *[(20, 20)] * 3, (20, 10)]
        narrow = [np.zeros(s, "f4") for n, m in shapes for s in ((n, m), (m,))]
        dense_model(narrow, shapes).save(tmp_path / "narrow.keras")
        dense_model(narrow, shapes).save_weights(tmp_path / "narrow.weights.h5")
        for name in ("broken.keras", "broken.weights.h5"):
            (tmp_path / name).write_bytes(b"PK\x03\x04 not this")
        write_folder(tmp_path / "short", weights)
        (tmp_path / "short" / "b2.npy").unlink()
        write_folder(tmp_path / "gap", weights)
        (tmp_path / "gap" / "w1.npy").unlink()
        pickled = write_folder(tmp_path / "pickled", weights) / "w0.npy"
        np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
        write_folder(tmp_path / "nan", [*weights[:-1], weights[-1] * np.nan])
        (tmp_path / "empty").mkdir()
        for name, part in (
            ("narrow.keras", "784x20"),
            ("narrow.weights.h5", "784x20"),
            ("broken.keras", "can't be read"),
            ("broken.weights.h5", "can't be read"),
            ("short", "b2.npy"),
            ("gap", "w0.npy"),
            ("pickled", "can't be read"),
            ("nan", "finite"),
            ("empty", "w0.npy"),
        ):
            line = failure(
                capsys, run, "train-from-prune", logs, "-s", 4, "-l", tmp_path / name
            )
            assert "--load-model" in line
            assert part in line
            assert name in line
        assert not logs.exists()

    def test_log_directory(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "logs"):
            line = failure(capsys, run, "fixed-rank", path, "-s", 4)
            assert "--log-dir" in line
            assert str(path) in line

    @pytest.mark.slow
    def test_runs_that_exist(self, logs, capsys):
        options = ("-s", 4, "-e", 2, "--run-name", "run")
        assert run("fixed-rank", logs, *options) == 0
        capsys.readouterr()
        before = rows_of(logs / "run")
        line = failure(capsys, run, "fixed-rank", logs, *options)
        assert "--run-name run" in line
        resume = (*options, "--resume")
        line = failure(capsys, run, "fixed-rank", logs, *resume, "--seed", 3)
        assert "'seed'" in line
        assert "3" in line
        assert "0 is stored" in line
        line = failure(capsys, run, "fixed-rank", logs, *resume, "-s", 5)
        assert "'start_rank', 4 is stored" in line
        line = failure(capsys, run, "dense-reference", logs, *resume[2:])
        assert "'subcommand'" in line
        line = failure(capsys, run, "fixed-rank", logs, *resume, "-e", 1)
        assert "--epochs" in line
        assert rows_of(logs / "run") == before
        # More epochs are no other configuration.
        assert run("fixed-rank", logs, *resume, "-e", 3) == 0
        rows, configuration = read_history(workbook(logs / "run"))
        assert rows[:2] == before
        assert len(rows) == 3
        assert configuration["epochs"] == 3
        words = ("fixed-rank", logs, *resume, "-e", 4)
        refused_without_checkpoint(capsys, run, logs / "run", *words)


class TestParts:
    def test_integrators_are_all_there_are(self):
        """The list outside of the registry, and what others have registered."""
        for adaptive in (False, True):
            listed = settings.list_integrators(adaptive)
            with pytest.MonkeyPatch.context() as patch:
                patch.delitem(sys.modules, "dlrt.integrators")
                assert settings.list_integrators(adaptive) == listed
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dlrt.integrators, "names", lambda: ["kls"])
            assert settings.list_integrators(adaptive=False) == ("kls",)
            assert settings.list_integrators(adaptive=True) == ()

    @pytest.mark.parametrize("subcommand", _config.DEFAULTS)
    def test_help_needs_no_keras_and_tells_defaults(self, subcommand, capsys):
        with pytest.raises(SystemExit) as stop:
            _config.parse([subcommand, "--help"])
        assert stop.value.code == 0
        assert "default: 500" in " ".join(capsys.readouterr().out.split())

    def test_wide_networks_of_low_rank(self):
        """Their factors are small, but kernels are looked at when they are saved."""
        config = _config.resolve("fixed-rank", {"dim_layer": 46_000})
        assert config.dim_layer == 46_000
        with pytest.raises(ValueError, match="`--dim-layer` must be smaller"):
            _config.resolve("fixed-rank", {"dim_layer": 47_000})

    def test_default_rank_fits_a_narrow_network(self):
        config = _config.resolve("rank-adaptive", {"dim_layer": 50})
        assert config.start_rank == 50
        config = _config.resolve("rank-adaptive", {"max_rank": 30})
        assert config.start_rank == 30

    def test_mnist_is_split_as_usual(self):
        assert round(_config.Config("fixed-rank").val_size * 60_000) == 10_000

    def test_names_are_claimed_once(self, logs):
        config = _config.resolve("fixed-rank", {"log_dir": logs})
        names = [folders.create(config).name for _ in range(3)]
        base = config.base_name
        assert names == [base, f"{base}-2", f"{base}-3"]
        other = _config.resolve("fixed-rank", {"log_dir": logs, "seed": 11})
        folders.create(other)
        log = folders.Folder(logs / f"{base}-2").log(config.network)
        log.parent.mkdir()
        log.touch()
        (logs / f"{base}-2" / "last.keras").touch()
        assert folders.find(config).name == f"{base}-2"

    def test_batches_depend_on_seed_and_epoch_only(self):
        x = np.arange(10.0)[:, None]
        y = np.arange(10)

        def epoch(seed, number):
            batches = ShuffledBatches(x, y, 4, seed)
            fast = batches.for_fit()
            batches.begin_epoch(number)
            parts = [batches[index] for index in range(len(batches))]
            if fast is not batches:
                for found, expected in zip(fast, parts, strict=True):
                    for one, other in zip(found, expected, strict=True):
                        np.testing.assert_array_equal(one, other)
            assert [len(labels) for _, labels in parts] == [4, 4, 2]
            for images, labels in parts:
                np.testing.assert_array_equal(images[:, 0], labels)
            return [int(label) for _, labels in parts for label in labels]

        assert sorted(epoch(0, 0)) == list(range(10))
        assert epoch(0, 3) == epoch(0, 3)
        assert len({tuple(epoch(s, e)) for s in (0, 1) for e in (0, 1)}) == 4

    def test_settled(self):
        def rows(*ranks):
            return [
                {"epoch": epoch, "rank a": rank, "rank b": 5}
                for epoch, rank in enumerate(ranks, start=1)
            ]

        assert not results.has_settled([], 3, 2)
        assert not results.has_settled(rows(9, 4, 4, 4), 3, 2)
        assert results.has_settled(rows(9, 4, 4, 4, 4), 3, 2)
        assert not results.has_settled(rows(9, 4, 4, 4, 3), 3, 2)
        # Before the first truncation ranks say nothing.
        assert not results.has_settled(rows(9, 9, 9), 2, 2)
        assert results.has_settled(rows(9, 9, 9), 2, 1)

    def test_best_is_the_first_of_equals(self):
        score = results.IMAGES.score
        rows = [{"epoch": i, "val_accuracy": a} for i, a in enumerate((0.1, 0.3, 0.3))]
        assert results.best_row(rows, score)["epoch"] == 1
        assert results.best_row([], score) is None

    @pytest.mark.tensorflow_only
    def test_checkpoint_holds_its_state(self, logs):
        assert run("fixed-rank", logs, "-s", 3, "-e", 1) == 0
        with zipfile.ZipFile(only_run(logs) / "last.keras") as archive:
            state = json.loads(archive.read("experiment.json"))
        assert state["epoch"] == 1
        assert state["capacities"] == dict.fromkeys(
            [f"hidden_{i}" for i in range(1, 5)], 3
        )
