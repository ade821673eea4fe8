import errno
import math
import os
import subprocess
import sys
import time

import keras
import numpy as np
import openpyxl
import pytest
from logs import (
    TestSet,
    X,
    Y,
    epochs_in,
    files_in,
    fit,
    header_of,
    make_model,
    write_epochs,
)

import dlrt
from dlrt.callbacks import HistoryLog, read_history
from dlrt.history import environment, history_log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.xlsx"


# --- What is logged


def test_fit_logs_one_row_an_epoch_with_what_keras_reports(path):
    history = fit(make_model(), HistoryLog(path), epochs=3, callbacks=[TestSet()])
    assert header_of(path) == [
        "epoch",
        "seconds",
        "loss",
        "mae",
        "val_loss",
        "val_mae",
        "test_loss",
        "test_mae",
        "data/share",
        "parameters prediction",
        "parameters training",
        "compression",
        "learning rate",
    ]
    rows, _ = read_history(path)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for name, values in history.history.items():
        assert [row[name] for row in rows] == pytest.approx(values, rel=1e-14)
    for row in rows:
        assert row["parameters prediction"] == 4
        assert row["compression"] == 0.0
        assert row["learning rate"] == 0.25
        assert 0 < row["seconds"] < 60


def test_learning_rate_is_that_of_the_end_of_the_epoch(path):
    model = make_model()
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.5, 0.125])
    model.compile(keras.optimizers.SGD(schedule), "mse")
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[HistoryLog(path)])
    rows, _ = read_history(path)
    assert [row["learning rate"] for row in rows] == [0.5, 0.125, 0.125]


def test_low_rank_layers_have_a_column_each(path):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            dlrt.layers.LowRankDense(8, rank=2, name="hidden"),
            keras.layers.Dense(1),
        ]
    )
    optimizer = dlrt.optimizers.LowRank(
        keras.optimizers.SGD(0.125), integrator="parallel_bug"
    )
    model.compile(optimizer, "mse", metrics=["mae"])
    log = HistoryLog(path)
    fit(model, log, epochs=2, callbacks=[dlrt.callbacks.RankLog()])
    assert header_of(path)[6:] == [
        "rank hidden",
        "parameters prediction",
        "parameters training",
        "compression",
        "learning rate",
    ]
    prediction = 2 * (3 + 8) + 8 + (8 + 1)
    for row in read_history(path)[0]:
        assert row["rank hidden"] == 2
        assert row["parameters prediction"] == prediction
        assert row["parameters training"] == prediction + 2 * 2
        assert row["compression"] == pytest.approx(1 - prediction / (3 * 8 + 8 + 9))
        assert row["learning rate"] == 0.125


def test_compression_of_a_model_that_was_made_smaller_in_another_way(path):
    # Of what it was made from, the model has the given number of parameters only.
    callbacks = [dlrt.callbacks.RankLog(16)]
    log = HistoryLog(path, dense_parameters=16)
    logs = fit(make_model(), log, epochs=1, callbacks=callbacks).history
    assert logs["compression"] == [0.75]
    assert read_history(path)[0][0]["compression"] == 0.75
    logs = fit(make_model(), dlrt.callbacks.RankLog(), epochs=1).history
    assert "compression" not in logs and logs["parameters"] == [4]


def test_ranks_and_counts_come_once_and_from_the_model(path, monkeypatch):
    monkeypatch.setattr(
        history_log.accounting, "ranks", lambda model: {"first": 7, "second": 5}
    )
    logs = {"loss": 1.0, "rank/first": 6.5, "rank/second": 5, "compression": 0.5}
    logs |= {"parameters": 3.0, "learning_rate": 9.0, "accuracy": 0.75}
    HistoryLog(path).append(1, 2.0, logs, make_model())
    assert header_of(path) == [
        "epoch",
        "seconds",
        "loss",
        "accuracy",
        "rank first",
        "rank second",
        "parameters prediction",
        "parameters training",
        "compression",
        "learning rate",
    ]
    [row] = read_history(path)[0]
    assert (row["rank first"], row["rank second"]) == (7, 5)
    assert row["parameters prediction"] == 4
    assert row["learning rate"] == 0.25


def test_a_row_before_training_and_columns_that_come_later(path):
    model = make_model()
    log = HistoryLog(path)
    log.append(0, 1.5, {"val_mae": 0.5}, model)
    assert header_of(path)[:3] == ["epoch", "seconds", "val_mae"]
    fit(model, log, epochs=2)
    first, second, third = read_history(path)[0]
    assert header_of(path)[2:6] == ["loss", "mae", "val_loss", "val_mae"]
    assert (first["epoch"], first["seconds"], first["val_mae"]) == (0, 1.5, 0.5)
    assert first["loss"] is None
    assert second["loss"] > third["loss"] > 0
    sheet = openpyxl.load_workbook(path)["history"]
    assert sheet["C2"].value == "NA"


@pytest.mark.parametrize("now", [5.0, 1e6])
def test_the_first_row_is_written_at_once(path, monkeypatch, now):
    # The clock counts from the start of the machine, which may have been just now.
    monkeypatch.setattr(time, "monotonic", lambda: now)
    write_epochs(HistoryLog(path, write_interval=600), 1, 2)
    assert epochs_in(path) == [1]


def test_rows_wait_for_the_write_interval(path):
    log = HistoryLog(path, write_interval=float("inf"))
    write_epochs(log, 1, 2)
    assert epochs_in(path) == []
    assert [row["epoch"] for row in log.rows] == [1, 2]
    log.flush()
    assert epochs_in(path) == [1, 2]
    # The end of `fit` writes what waits.
    fit(make_model(), log, epochs=4, initial_epoch=2)
    assert epochs_in(path) == [1, 2, 3, 4]
    fresh = HistoryLog(path.with_name("fresh.xlsx"), write_interval=0.0)
    write_epochs(fresh, 1)
    assert epochs_in(fresh.path) == [1]
    with pytest.raises(ValueError, match="write_interval"):
        HistoryLog(path, write_interval=-1.0)


def test_absent_and_non_finite_values(path):
    log = HistoryLog(path)
    log.append(1, 1.0, {"loss": 1.0, "extra": np.float32(2.5)})
    log.append(2, 1.0, {"loss": float("nan"), "new": math.inf})
    log.append(3, 1.0, {"loss": -math.inf, "new": np.array([1.0, 2.0])})
    sheet = openpyxl.load_workbook(path)["history"]
    cells = [[cell.value for cell in row][2:] for row in sheet.iter_rows()]
    assert cells == [
        ["loss", "extra", "new"],
        [1, 2.5, "NA"],
        ["nan", "NA", "inf"],
        ["-inf", "NA", "[1.0, 2.0]"],
    ]
    rows, _ = read_history(path)
    assert math.isnan(rows[1]["loss"])
    assert rows[1]["new"] == math.inf
    assert rows[2]["loss"] == -math.inf
    assert rows[2]["new"] == [1.0, 2.0]
    # A row that was read back is written as it was.
    log = HistoryLog(path, resume=True)
    log.append(4, 1.0, {})
    assert [[c.value for c in row][2:] for row in _history(path).iter_rows()] == [
        *cells,
        ["NA"] * 3,
    ]


def _history(path):
    return openpyxl.load_workbook(path)["history"]


def test_append_refuses_an_epoch_twice_and_names_of_columns(path):
    log = HistoryLog(path)
    write_epochs(log, 1, 2)
    with pytest.raises(ValueError, match=r"`epoch` must be above 2.*epoch=2"):
        log.append(2, 0.5)
    with pytest.raises(ValueError, match=r"`logs` must not .*Received: seconds"):
        log.append(3, 0.5, {"seconds": 1.0})
    assert epochs_in(path) == [1, 2]


# --- The configuration


def test_configuration_round_trip_and_facts_about_the_run(path):
    configuration = {
        "seed": 3,
        "text": "=1+1",
        "empty": "",
        "number as text": "20",
        "lines": "a\r\n\tb",
        "flag": True,
        "nothing": None,
        "widths": [500, 500],
        "nested": {"regularizer": None, "path": "a/b", "infinite": math.inf},
        "rate": 1e-3,
        "undefined": math.inf,
        "large": 2**63,
        "looks like JSON": "[1]",
        "error": "#N/A",
    }
    HistoryLog(path, configuration).open()
    rows, stored = read_history(path)
    assert rows == []
    assert {key: stored[key] for key in configuration} == configuration
    assert stored["keras version"] == keras.__version__
    assert stored["backend"] == keras.backend.backend()
    assert stored["numpy version"] == np.__version__
    assert stored["start time"].endswith("+00:00")
    assert stored["cpu count"] >= 1


@pytest.mark.parametrize(
    ("configuration", "error", "message"),
    [
        ({"model": object()}, TypeError, "'model'.*object"),
        ({3: "x"}, ValueError, "texts as keys.*Received: 3"),
        ({"git commit": "x"}, ValueError, "Received: 'git commit'"),
        ({"resumed 1": "x"}, ValueError, "Received: 'resumed 1'"),
        ({"long": "x" * 40_000}, ValueError, "'long'.*32767.*40000"),
    ],
)
def test_configuration_that_cannot_be_written(path, configuration, error, message):
    with pytest.raises(error, match=f"`configuration`.*{message}"):
        HistoryLog(path, configuration)
    assert not path.exists()


def run_git(directory, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    command = ["git", "-C", str(directory), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_git_commit_and_dirty_flag(tmp_path, monkeypatch):
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert "git commit" not in environment.describe()
    run_git(tmp_path, "init")
    assert "git commit" not in environment.describe()
    (tmp_path / "a").write_text("1")
    run_git(tmp_path, "add", "a")
    run_git(tmp_path, "commit", "-m", "a")
    facts = environment.describe()
    assert len(facts["git commit"]) == 40
    assert facts["git dirty"] is False
    (tmp_path / "a").write_text("2")
    assert environment.describe()["git dirty"] is True
    monkeypatch.setenv("PATH", "")
    assert "git commit" not in environment.describe()


# --- Existing files


@pytest.mark.parametrize("name", ["log.csv", "log", "log.xlsx.bak", ".xlsx"])
def test_path_must_end_in_xlsx(tmp_path, name):
    with pytest.raises(ValueError, match=rf"`path` must end in '.xlsx'.*{name}"):
        HistoryLog(tmp_path / name)


def test_parents_are_created_and_an_existing_file_is_refused(tmp_path):
    path = tmp_path / "a" / "b" / "net.xlsx"
    write_epochs(HistoryLog(path), 1)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"resume=True.*net\.xlsx"):
        fit(make_model(), HistoryLog(path), epochs=1)
    assert path.read_bytes() == before
    assert files_in(path) == ["net.xlsx"]


def test_only_one_of_two_can_create_without_hard_links(path, monkeypatch):
    def link(*arguments):
        raise PermissionError(errno.EPERM, "not supported")

    monkeypatch.setattr(os, "link", link)
    write_epochs(HistoryLog(path), 1)
    with pytest.raises(FileExistsError, match=r"net\.xlsx"):
        HistoryLog(path).open()
    assert epochs_in(path) == [1]
    assert files_in(path) == ["net.xlsx"]
