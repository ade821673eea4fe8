"""The benchmark runs and reports what it says; no times are asserted."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    _adaptive,
    _clock,
    _floor,
    _memory,
    _profile,
    _report,
    _studies,
    convolutions,
)
from benchmarks._networks import DENSE, TWO_FACTOR, Case, network
from dlrt.callbacks import read_history

SMALL = ("--width", "16", "--rank", "3", "--batch", "8", "--rounds", "1")


def run(monkeypatch, output, *arguments):
    argv = ["benchmarks", *arguments, "--output", str(output)]
    monkeypatch.setattr(sys, "argv", argv)
    command.main()


def records(output):
    (path,) = output.glob("*.csv")
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_training_and_prediction(tmp_path, monkeypatch, capsys):
    kinds = [TWO_FACTOR, "parallel_bug", DENSE]
    run(monkeypatch, tmp_path, "training", *SMALL, "--kinds", *kinds)
    run(monkeypatch, tmp_path, "prediction", *SMALL)
    rows = records(tmp_path)
    training = {row["kind"]: row for row in rows if row["measurement"] == "training"}
    assert list(training) == kinds
    median = {kind: float(row["value"]) for kind, row in training.items()}
    for kind, row in training.items():
        assert 0 < float(row["low"]) <= median[kind] <= float(row["high"])
        ratio = median[kind] / median[TWO_FACTOR]
        np.testing.assert_allclose(float(row["to_two_factor"]), ratio)
        assert float(row["floor"]) > 0 and row["unit"] == "ms" and row["cores"]
    predicted = [row["kind"] for row in rows if row["measurement"] == "prediction"]
    assert predicted == [TWO_FACTOR, "low-rank", "merged", DENSE]
    shown = capsys.readouterr().out
    assert "| merged |" in shown and "timings-" in shown


def test_resume_skips_what_is_there(tmp_path, monkeypatch):
    arguments = ("training", *SMALL, "--kinds", TWO_FACTOR)
    run(monkeypatch, tmp_path, *arguments)
    before = records(tmp_path)
    monkeypatch.setattr(command, "measure_training", None)
    run(monkeypatch, tmp_path, *arguments, "--resume")
    assert records(tmp_path) == before


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_convolutions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(convolutions, "RESULTS", tmp_path)
    monkeypatch.setattr(convolutions, "_FILTERS", (4, 6, 6, 8, 8))
    monkeypatch.setattr(convolutions, "_BATCH", 2)
    argv = ["convolutions", "--ranks", "2", "--rounds", "1", "--turn", "0.01"]
    monkeypatch.setattr(sys, "argv", argv)
    convolutions.main()
    dense, *low_rank = records(tmp_path)
    assert [row["kind"] for row in low_rank] == ["two-factor", "fixed", "adaptive"]
    for what in ("parameters", "flops"):
        (count,) = {int(row[what]) for row in low_rank}
        assert 0 < count < int(dense[what])
    assert all(float(row["step ms"]) > 0 for row in low_rank)
    assert "two-factor,2," in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_memory_of_a_process():
    # The weights of the dense network alone, with Adam's slots and the gradient.
    least = 4 * 4 * 3 * 1024**2
    assert _memory.peak_of_training(DENSE, Case(1024, 3, 8)) > least


@pytest.mark.slow
def test_adaptive_run():
    settings = _adaptive.Settings(Case(16, 8, 32), 0.5, 3, number=160)
    outcome = _adaptive.run(settings, rounds=1, dataset="digits")
    assert max(outcome.ranks) < 8
    parts = outcome.compiling + outcome.retracing + outcome.resizing
    assert 0 < parts < outcome.total
    assert outcome.adaptive.min() > 0 and outcome.fixed.min() > 0


@pytest.mark.tensorflow_only
def test_profile():
    case = Case(16, 3, 8)
    found = _profile.operations(network(TWO_FACTOR, case), case)
    # Two factors forward and back for four layers, and the classes.
    products = sum(count for kind, (_, count) in found.items() if "MatMul" in kind)
    assert products == 4 * 6 - 1 + 3
    assert all(milliseconds > 0 for milliseconds, _ in found.values())
    lines = _profile.table({TWO_FACTOR: found, "none": {}}, lines=2).splitlines()
    assert len(lines) == 6 and lines[0] == "| operation | two-factor | none |"


def test_several_steps_a_call():
    case = Case(16, 3, 8, steps_per_execution=4)
    model = network("parallel_bug", case)
    seconds = _clock.training_run(model, case)(6)
    # Two calls, after two for warming up; a figure is that of a single step.
    assert seconds.shape == (2,) and (seconds > 0).all()
    assert int(model.optimizer.iterations) == 4 * 4
    assert case.training == "training, 4 steps a call"


def test_floor_counts():
    case = Case(1000, 10, 100)
    dense = 100 * (4 * 784e3 + 6 * 3 * 1e6 + 6 * 1000 * 10)
    assert _floor.training_flops(DENSE, case) == dense
    factors = 100 * 10 * (4 * 784 + 6 * 1000 + 3 * 6 * 2000 + 6 * 1000)
    assert _floor.training_flops(TWO_FACTOR, case) == factors
    retraction = 10 * 10**2 * (1784 + 3 * 2000)
    assert _floor.training_flops("parallel_bug", case) == factors + retraction
    assert _floor.optimizer_bytes(TWO_FACTOR, case) == 28 * (10 * 7784 + 10000)


def test_slope_and_figure(tmp_path):
    rows = [
        _report.Row("training", width, 20, 256, kind, width**1.5, 0, 0, "ms", floor=1.0)
        for width in (10, 20, 40)
        for kind in (TWO_FACTOR, "parallel_bug", DENSE)
    ]
    points = _report.line(rows, "parallel_bug", "width", rank=20)
    assert [width for width, _ in points] == [10, 20, 40]
    np.testing.assert_allclose(_report.slope(points), 1.5)
    assert _report.draw(rows, tmp_path / "figure.png", "title")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert not _report.draw(rows[:1], tmp_path / "none.png", "title")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["speed"], "measurement must be one of .*speed"),
        (["--width", "10"], "--width and --rank"),
        (["--width", "0", "--rank", "2"], "--width must be at least 1.*0"),
        (["--kinds", "kls"], "--kinds needs"),
        (["--steps-per-execution", "0"], "--steps-per-execution must be at least 1"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, *arguments)
    assert re.search(message, capsys.readouterr().err)


def test_unknown_kind():
    with pytest.raises(ValueError, match="`kind` must be one of .*'sparse'"):
        network("sparse", Case(8, 2))


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_study_trains_what_it_has_not(tmp_path, monkeypatch):
    def train(epochs):
        options = ["dense-reference", "--dataset", "digits", "-d", "8", "-e", epochs]
        path = _studies.train("experiments.mnist_dense", options, "run", tmp_path)
        return [row["epoch"] for row in read_history(path)[0]]

    assert train("1") == [1]
    # More epochs continue the run.
    assert train("2") == [1, 2]
    with pytest.raises(subprocess.CalledProcessError):
        train("none")
    assert "--epochs" in (tmp_path / "run.log").read_text()
    monkeypatch.delattr(subprocess, "run")
    assert train("2") == [1, 2]
