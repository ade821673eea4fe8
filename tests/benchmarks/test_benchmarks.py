"""The benchmark runs and reports what it says; no times are asserted."""

import csv
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    accuracy,
    adaptive_runs,
    compression,
    convolutions,
    decoding,
    finetuning,
    floor,
    memory,
    profile,
    rendering,
    reports,
    studies,
    sweeps,
    teacher,
    timing,
    transformers,
    translation,
)
from benchmarks.networks import DENSE, TWO_FACTOR, Case, make_network
from benchmarks.places import ROOT
from dlrt.callbacks import read_history
from dlrt.datasets import Dataset

SMALL = ("--width", "16", "--rank", "3", "--batch", "8", "--rounds", "1")


def run(monkeypatch, output, *arguments):
    argv = ["benchmarks", *arguments, "--output", str(output)]
    monkeypatch.setattr(sys, "argv", argv)
    command.main()


def records(output):
    (path,) = output.glob("*.csv")
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
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


def test_results_follow_links_and_take_the_place_of_no_pipe(tmp_path):
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    reports.write_csv(link, [{"kind": "dense, or so", "value": 1}])
    assert link.is_symlink()
    assert target.read_text() == 'kind,value\n"dense, or so",1\n'
    os.mkfifo(tmp_path / "timings.png")
    with pytest.raises(OSError, match="place of a pipe"):
        command.Report(tmp_path, "timings", resume=False)


@pytest.mark.slow
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
    assert memory.peak_of_training(DENSE, Case(1024, 3, 8)) > least


@pytest.mark.slow
def test_adaptive_run():
    settings = adaptive_runs.Settings(Case(16, 8, 32), 0.5, 3, number=160)
    outcome = adaptive_runs.run(settings, rounds=1, dataset="digits")
    assert max(outcome.ranks) < 8
    parts = outcome.compiling + outcome.retracing + outcome.resizing
    assert 0 < parts < outcome.total
    assert outcome.adaptive.min() > 0 and outcome.fixed.min() > 0


@pytest.mark.tensorflow_only
def test_profile():
    case = Case(16, 3, 8)
    found = profile.operations(make_network(TWO_FACTOR, case), case)
    # Two factors forward and back for four layers, and the classes.
    products = sum(count for kind, (_, count) in found.items() if "MatMul" in kind)
    assert products == 4 * 6 - 1 + 3
    assert all(milliseconds > 0 for milliseconds, _ in found.values())
    lines = profile.format_table({TWO_FACTOR: found, "none": {}}, lines=2).splitlines()
    assert len(lines) == 6 and lines[0] == "| operation | two-factor | none |"


def test_several_steps_a_call():
    case = Case(16, 3, 8, steps_per_execution=4)
    model = make_network("parallel_bug", case)
    seconds = timing.prepare_training(model, case)(6)
    # Two calls, after two for warming up; a figure is that of a single step.
    assert seconds.shape == (2,) and (seconds > 0).all()
    assert int(model.optimizer.iterations) == 4 * 4
    assert case.training == "training, 4 steps a call"


def test_floor_counts():
    case = Case(1000, 10, 100)
    dense = 100 * (4 * 784e3 + 6 * 3 * 1e6 + 6 * 1000 * 10)
    assert floor.training_flops(DENSE, case) == dense
    factors = 100 * 10 * (4 * 784 + 6 * 1000 + 3 * 6 * 2000 + 6 * 1000)
    assert floor.training_flops(TWO_FACTOR, case) == factors
    retraction = 10 * 10**2 * (1784 + 3 * 2000)
    assert floor.training_flops("parallel_bug", case) == factors + retraction
    assert floor.optimizer_bytes(TWO_FACTOR, case) == 28 * (10 * 7784 + 10000)


def test_slope_and_figure(tmp_path):
    rows = [
        rendering.Row(
            "training", width, 20, 256, kind, width**1.5, 0, 0, "ms", floor=1.0
        )
        for width in (10, 20, 40)
        for kind in (TWO_FACTOR, "parallel_bug", DENSE)
    ]
    points = rendering.select_points(rows, "parallel_bug", "width", rank=20)
    assert [width for width, _ in points] == [10, 20, 40]
    np.testing.assert_allclose(rendering.fit_slope(points), 1.5)
    assert rendering.draw(rows, tmp_path / "figure.png", "title")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert not rendering.draw(rows[:1], tmp_path / "none.png", "title")


SIZE = "--width 10 --rank"
# Wrong words of each command, and what the line says that they end with.
WRONG = {
    command: {
        "speed": "measurement must be one of .*speed",
        "training --width 10": "--width and --rank must be given together",
        f"training {SIZE} 20": "--rank must be at most 10.* Received: 20",
        f"prediction {SIZE} 3 --batch 0": "--batch: must be a whole number from 1",
        f"{SIZE} 3 --steps-per-execution 0": "--steps-per-execution: must be a whole",
        "--width 99999999999 --rank 2": "--width: must be a whole number from 1 to",
        f"{SIZE} 3 --batch 8192 --steps-per-execution 3": "must be at most 16384",
        "--rounds many": "--rounds: must be a whole number from 1 to .*many",
        "--kinds kls": "--kinds needs --width and --rank",
        f"{SIZE} 3 --kinds sparse": "--kinds: invalid choice: 'sparse'",
        f"{SIZE} 3 --output FILE": "--output: must be a folder .* Received: .*FILE",
        f"{SIZE} 3 --output FILE/a": "--output: must be a folder",
        f"{SIZE} 3 --output /dev/full": "--output: must be a folder",
        f"{SIZE} 3 --output FOREIGN": "must have been written by a benchmark: .*csv",
        "--unknown": "unrecognized arguments: --unknown",
    },
    accuracy: {
        "nothing": "studies: invalid choice: 'nothing'",
        "fixed --seeds -1": "--seeds: must be a whole number from 0 to",
        "fixed --seeds 7": "fixed has no setting",
        "fixed --jobs 0": "--jobs: must be a whole number from 1 to",
        "fixed --log-dir FILE": "--log-dir: must be a folder",
    },
    compression: {
        "lenet5 --ratios 1": "--ratios: must be a number above 1",
        "lenet5 --ratios nan": "--ratios: must be a number above 1",
        "lenet5 --epochs 0": "--epochs: must be a whole number from 1 to",
        "lenet5 --attacked x": "--attacked: must be a whole number from 1 to",
        "lenet5 --log-dir FILE": "--log-dir: must be a folder",
    },
    convolutions: {
        "--ranks 0": "--ranks: must be a whole number from 1 to 256",
        "--turn inf": "--turn: must be a number above 0",
        "--rounds 0": "--rounds: must be a whole number from 1 to",
    },
    decoding: {
        "--corpus FILE": "FILE",
        "--sentences 0": "--sentences: must be a whole number from 1 to",
        "--kinds tiny": "--kinds: invalid choice: 'tiny'",
    },
    sweeps: {
        "--dims x": "must be whole numbers.* Received: x",
        "--dims 0": "`--dims` must be at least 1",
        "--epochs 0": "--epochs: must be a whole number from 1 to",
        "--output FILE": "--output: must be a folder",
    },
    transformers: {
        "--turn 0": "--turn: must be a number above 0",
        "--sizes tiny": "--sizes: invalid choice: 'tiny'",
    },
    translation: {
        "nothing": "study: invalid choice: 'nothing'",
        "phrases --minutes -1": "--minutes: must be a number above 0",
        "phrases --threads 0": "--threads: must be a whole number from 1 to",
        "phrases --log-dir FILE": "--log-dir: must be a folder",
    },
}


@pytest.mark.parametrize(
    "module, words, message",
    [
        pytest.param(*case, id=f"{case[0].__name__.split('.')[1]} {case[1]}")
        for case in (
            (module, words, message)
            for module, cases in WRONG.items()
            for words, message in cases.items()
        )
    ],
)
def test_wrong_words_end_with_one_line(
    module, words, message, tmp_path, monkeypatch, capsys
):
    (tmp_path / "FILE").write_text("")
    (tmp_path / "FOREIGN").mkdir()
    name = f"timings-{keras.backend.backend()}.csv"
    (tmp_path / "FOREIGN" / name).write_text("a,b\n1,2\n")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words.split()])
    with pytest.raises(SystemExit) as error:
        module.main()
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and re.search(message, line)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("module", ["benchmarks", "benchmarks.accuracy"])
def test_nothing_is_said_in_front(module):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    shown = subprocess.run(
        [sys.executable, "-m", module, "nothing"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert len(shown.stderr.splitlines()) == 1 and shown.returncode == 2


def test_unknown_kind():
    with pytest.raises(ValueError, match="`kind` must be one of .*'sparse'"):
        make_network("sparse", Case(8, 2))


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_study_trains_what_it_has_not(tmp_path, monkeypatch):
    def train(epochs):
        options = ["dense-reference", "--dataset", "digits", "-d", "8", "-e", epochs]
        path = studies.train("experiments.mnist_dense", options, "run", tmp_path)
        return [row["epoch"] for row in read_history(path)[0]]

    assert train("1") == [1]
    # More epochs continue the run.
    assert train("2") == [1, 2]
    with pytest.raises(subprocess.CalledProcessError):
        train("none")
    assert "--epochs" in (tmp_path / "run.log").read_text()
    monkeypatch.delattr(subprocess, "run")
    assert train("2") == [1, 2]


@pytest.mark.slow
def test_finetuning_starts_all_kinds_from_the_same_matrices(monkeypatch):
    monkeypatch.setattr(finetuning, "_FILTERS", (4,))
    random = np.random.default_rng(0)
    x, y = random.random((64, 28, 28), dtype="float32"), random.integers(0, 10, 64)
    data = Dataset("images", x, y, x, y, 10, "drawn")
    rows = finetuning.measure(data, rank=2, rates=[1e-3], epochs=1)
    assert len(rows) == 3
    assert len({(row["dense"], row["converted"]) for row in rows}) == 1
    assert all(0 <= row["epoch 1"] <= 100 for row in rows)


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("start", [2, 32])
def test_ranks_are_those_of_a_teacher(start):
    for rank, tolerance in ((5, 0.1), (20, 0.05)):
        found = teacher.Student(start, tolerance, seed=0).learn(rank)
        assert found["rank"] == rank
        assert float(found["error"]) < 1e-3


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_ranks_follow_a_teacher():
    student = teacher.Student(2, 0.05, seed=0, targets=3)
    found = [student.learn(rank) for rank in (5, 12, 5)]
    assert [target["rank"] for target in found] == [7, 14, 5]
    assert all(float(target["error"]) < 1e-3 for target in found)
