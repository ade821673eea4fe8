"""The LeNet-5 runs: what they write, how they go on, and what they refuse."""

import keras
import numpy as np
import pytest
from run_folders import (
    failure,
    interrupt_second_epoch,
    only_run,
    refused_without_checkpoint,
    rows_of,
    workbook,
)

import dlrt
from dlrt.callbacks import read_history
from experiments import lenet5
from experiments.images import networks

LAYERS = ["conv_1", "conv_2", "dense_1", "output"]
SMALL = ("--dataset", "digits", "--dataset-size", "0.2", "--batch-size", "32")


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


def run(subcommand, logs, *settings):
    """Runs a subcommand in this process; returns the exit status."""
    words = [subcommand, *SMALL, "--log-dir", logs, "--verbose", 0, *settings]
    return lenet5.main([str(word) for word in words])


def ranks_of(row):
    return [row[f"rank {name}"] for name in LAYERS]


class TestNetwork:
    def test_size_is_the_published_one_and_the_biases(self):
        model = networks.build("lenet5", (28, 28, 1), 10)
        assert model.count_params() == 430_500 + 580
        assert networks.full_ranks(model) == dict(
            zip(LAYERS, (20, 50, 500, 10), strict=True)
        )

    def test_layers_with_ranks_are_low_rank(self):
        ranks = {"conv_1": 4, "dense_1": 7}
        model = networks.build("lenet5", (28, 28, 1), 10, ranks)
        assert dlrt.accounting.ranks(model) == ranks
        assert isinstance(model, dlrt.Model)
        assert isinstance(model.get_layer("conv_2"), keras.layers.Conv2D)
        assert np.isfinite(model(np.ones((2, 28, 28, 1), "float32"))).all()


class TestRuns:
    @pytest.mark.slow
    # On the second backend, the run that is continued does for the others.
    @pytest.mark.tensorflow_only
    def test_dense_reference(self, logs, capsys):
        assert run("dense-reference", logs, "-e", 2) == 0
        directory = only_run(logs)
        assert directory.name == "lenet5-dense-reference-digits-seed0"
        assert workbook(directory).name == "dense-lenet5-digits.xlsx"
        rows, configuration = read_history(workbook(directory))
        assert [row["epoch"] for row in rows] == [1, 2]
        assert rows[1]["loss"] < rows[0]["loss"]
        assert configuration["learning_rate"] == 1e-3
        assert configuration["experiment"] == "images"
        best = max(rows, key=lambda row: row["val_accuracy"])
        found = capsys.readouterr().out
        assert f"test accuracy {100 * best['test_accuracy']:.2f} %" in found

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_fixed_ranks_of_each_layer(self, logs):
        settings = ("-e", 1, "-s", "3,4,5,60", "--optimizer", "sgd", "--seed", 2)
        assert run("fixed-rank", logs, *settings) == 0
        (row,), configuration = read_history(workbook(only_run(logs)))
        assert ranks_of(row) == [3, 4, 5, 10]
        # Two factors a layer, or the kernel where that is less, and the biases.
        kernels = 3 * (25 + 20) + 4 * (500 + 50) + 5 * (800 + 500) + 500 * 10
        assert row["parameters prediction"] == kernels + 580
        assert configuration["ranks"] == "3,4,5,60"
        assert configuration["learning_rate"] == 0.05
        model = keras.saving.load_model(only_run(logs) / "best.keras")
        assert dlrt.accounting.ranks(model)["output"] == 10

    @pytest.mark.slow
    @pytest.mark.tensorflow_only
    def test_rank_adaptive(self, logs):
        settings = ("-e", 3, "-t", "0.4", "-s", 30, "-m", 25)
        assert run("rank-adaptive", logs, *settings) == 0
        rows, configuration = read_history(workbook(only_run(logs)))
        assert max(ranks_of(rows[0])) <= 25
        assert sum(ranks_of(rows[-1])) < sum(ranks_of(rows[0]))
        assert "singular values/conv_1" in rows[-1]
        steps = configuration["train_images"] // 32 + 1
        assert configuration["truncation_schedule"]["truncation_stop"] <= 3 * steps

    @pytest.mark.slow
    def test_interrupted_run_ends_as_an_uninterrupted_one(
        self, tmp_path, monkeypatch, capsys
    ):
        settings = ("-e", 3, "-t", "0.3", "--run-name", "run")
        one, two = tmp_path / "a", tmp_path / "b"
        assert run("rank-adaptive", one, *settings) == 0
        interrupt_second_epoch(monkeypatch)
        assert run("rank-adaptive", two, *settings) == 130
        monkeypatch.undo()
        assert "experiments.lenet5" in capsys.readouterr().err
        assert run("rank-adaptive", two, *settings, "--resume") == 0
        expected, rows = rows_of(one / "run"), rows_of(two / "run")
        assert len(rows) == len(expected) == 3
        for row, wanted in zip(rows, expected, strict=True):
            assert ranks_of(row) == ranks_of(wanted)
            assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
        # More epochs go on with it, fewer are refused.
        assert run("rank-adaptive", two, "-e", 4, *settings[2:], "--resume") == 0
        assert len(rows_of(two / "run")) == 4
        line = failure(capsys, run, "rank-adaptive", two, *settings, "--resume")
        assert "--epochs" in line
        words = ("rank-adaptive", two, "-e", 5, *settings[2:], "--resume")
        refused_without_checkpoint(capsys, run, two / "run", *words)


@pytest.mark.tensorflow_only
class TestWrongInput:
    @pytest.mark.parametrize(
        ("subcommand", "settings", "part"),
        [
            ("fixed-rank", ("-s", "3,4"), "`--ranks` must be one number, or 4"),
            ("fixed-rank", ("-s", "0"), "positive integers"),
            ("fixed-rank", ("-s", "three"), "positive integers"),
            ("rank-adaptive", ("-t", "1"), "`--tolerance` must lie in (0, 1)"),
            ("rank-adaptive", ("-m", "1"), "`--max-rank` must be at least 2"),
            ("rank-adaptive", ("--integrator", "kls"), "kls"),
            ("dense-reference", ("-s", "3"), "-s"),
            ("dense-reference", ("--learning-rate", "nan"), "--learning-rate"),
            ("dense-reference", ("--val-size", "0"), "--val-size"),
            ("dense-reference", ("--dataset-size", "1.5"), "--dataset-size"),
            ("dense-reference", ("-e", "0"), "--epochs"),
            ("dense-reference", ("--momentum", "0.9"), "come with `--optimizer sgd`"),
            ("dense-reference", ("--resume",), "needs a run to continue"),
        ],
    )
    def test_is_named(self, subcommand, settings, part, logs, capsys):
        assert part in failure(capsys, run, subcommand, logs, *settings)
        assert not logs.exists() or not list(logs.iterdir())
