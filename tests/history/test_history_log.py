import errno
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import killed
import numpy as np
import openpyxl
import pytest

import dlrt
from dlrt.callbacks import HistoryLog, read_history
from dlrt.history import environment, history_log

X = np.linspace(0.0, 1.0, 24, dtype="float32").reshape(8, 3)
Y = X.sum(axis=1, keepdims=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.xlsx"


def make_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.25), "mse", metrics=["mae"])
    return model


def fit(model, log, epochs, initial_epoch=0, callbacks=()):
    return model.fit(
        X,
        Y,
        validation_data=(X, Y),
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[*callbacks, log],
    )


def write_epochs(log, *epochs):
    for epoch in epochs:
        log.append(epoch, 0.5, {"loss": 1.0 / epoch})


def epochs_in(path):
    return [row["epoch"] for row in read_history(path)[0]]


def header_of(path):
    sheet = openpyxl.load_workbook(path)["history"]
    return [cell.value for cell in sheet[1]]


def files_in(path):
    return sorted(file.name for file in path.parent.iterdir())


class TestSet(keras.callbacks.Callback):
    """Adds what a callback that comes before the log would add."""

    __test__ = False

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"test_loss": 0.5, "test_mae": 0.25, "data/share": 0.125}


def start_python(code, *arguments):
    root = str(Path(dlrt.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


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


def test_several_fits_with_one_log(path):
    model, log = make_model(), HistoryLog(path)
    fit(model, log, epochs=2)
    fit(model, log, epochs=5, initial_epoch=2)
    assert epochs_in(path) == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"`initial_epoch`.*at least 5.*=0"):
        fit(model, log, epochs=3)
    assert epochs_in(path) == [1, 2, 3, 4, 5]


def test_resume_drops_rows_beyond_the_initial_epoch_and_appends(path):
    settings = {"rank": 4, "widths": (5, 5), "rate": 2.0, "nested": {"a": 1, "b": 2}}
    log = HistoryLog(path, settings)
    log.append(0, 0.0, {"loss": 9.0})
    write_epochs(log, 1, 2, 3, 4)
    same = {"nested": {"b": 2, "a": 1}, "rate": 2, "widths": [5, 5], "rank": 4}
    for start, stop in ((2, 4), (4, 5)):
        log = HistoryLog(path, same, resume=True)
        fit(make_model(), log, epochs=stop, initial_epoch=start)
    rows, stored = read_history(path)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["loss"] for row in rows[:3]] == [9.0, 1.0, 0.5]
    assert rows[2]["val_loss"] is None
    assert rows[3]["val_loss"] is not None
    assert stored["resumed 2"]["keras version"] == keras.__version__
    assert "resumed 3" not in stored


def test_resume_with_nothing_to_continue_creates(path):
    fit(make_model(), HistoryLog(path, resume=True), epochs=1)
    assert epochs_in(path) == [1]
    assert "resumed 1" not in read_history(path)[1]


def test_resume_of_a_finished_run_changes_nothing(path):
    fit(make_model(), HistoryLog(path), epochs=2)
    before = path.read_bytes()
    fit(make_model(), HistoryLog(path, resume=True), epochs=2, initial_epoch=2)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 5, "flag": True}, "'rank', 4 is stored. Received: 5"),
        ({"rank": 4}, "'flag', True is stored. Received: nothing"),
        ({"rank": 4, "flag": True, "x": 1}, "'x', nothing is stored. Received: 1"),
        ({"rank": 4, "flag": 1}, "'flag', True is stored. Received: 1"),
        ({"rank": "4", "flag": True}, "'rank', 4 is stored. Received: '4'"),
    ],
)
def test_resume_with_another_configuration_is_refused(path, given, message):
    write_epochs(HistoryLog(path, {"rank": 4, "flag": True}), 1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"`configuration` .*net\.xlsx.*{message}"):
        HistoryLog(path, given, resume=True).open()
    assert path.read_bytes() == before


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def empty(path):
    path.write_bytes(b"")


def edit(sheet, cell, value):
    def change(path):
        workbook = openpyxl.load_workbook(path)
        if cell is None:
            del workbook[sheet]
        else:
            workbook[sheet][cell] = value
        workbook.save(path)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "cannot be read as Excel"),
        (empty, "cannot be read as Excel"),
        (edit("history", None, None), "no sheet 'history'"),
        (edit("configuration", None, None), "no sheet 'configuration'"),
        (edit("history", "A1", "time"), "does not begin with"),
        (edit("history", "C1", "epoch"), "columns without a name"),
        (edit("history", "B1", None), "does not begin with"),
        (edit("history", "A3", 1), "1 follows 1"),
        (edit("history", "A3", "two"), "'two' follows 1"),
        (edit("history", "A3", 1.5), "1.5 follows 1"),
        (edit("configuration", "A1", "name"), "other columns"),
        (edit("configuration", "A3", "rank"), "keys twice"),
    ],
)
def test_a_damaged_or_foreign_workbook_is_refused(path, damage, message):
    write_epochs(HistoryLog(path, {"rank": 4}), 1, 2)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"`path` .*{message}.*net\.xlsx"):
        HistoryLog(path, {"rank": 4}, resume=True).open()
    with pytest.raises(ValueError, match=message):
        read_history(path)
    assert path.read_bytes() == before


def test_reading_a_file_that_does_not_exist(path):
    with pytest.raises(FileNotFoundError, match=r"net\.xlsx"):
        read_history(path)


def test_a_copy_saved_by_a_spreadsheet_program_can_be_continued(path):
    log = HistoryLog(path, {"rank": 4})
    write_epochs(log, 1, 2)
    workbook = openpyxl.load_workbook(path)
    workbook["history"]["A9"] = ""
    workbook["history"].column_dimensions["J"].width = 30
    workbook.save(path)
    write_epochs(log, 3)
    assert epochs_in(path) == [1, 2, 3]


def test_a_run_whose_log_was_taken_over_stops_writing(path):
    first = HistoryLog(path)
    write_epochs(first, 1)
    second = HistoryLog(path, resume=True)
    third = HistoryLog(path, resume=True)
    second.open()
    third.open()
    write_epochs(second, 2, 3)
    before = path.read_bytes()
    for other in (first, third):
        with pytest.raises(FileExistsError, match=r"another run.*net\.xlsx"):
            write_epochs(other, 2)
    assert path.read_bytes() == before


# --- Failures and kills


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_keeps_the_earlier_file(path, monkeypatch, function):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = HistoryLog(path)
    write_epochs(log, 1)
    before = path.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(os, function, fail)
        with pytest.raises(OSError, match=r"No space left.*net\.xlsx") as caught:
            write_epochs(log, 2)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert files_in(path) == ["net.xlsx"]
    write_epochs(log, 2)
    assert epochs_in(path) == [1, 2]


LIMITED = """
import copy, resource, sys
from pathlib import Path
from dlrt.callbacks import HistoryLog

log = HistoryLog(sys.argv[1], write_interval=600)
for epoch in range(1, 1500):
    log.append(epoch, 0.5, {"loss": 1 / epoch})
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    log.flush()
except OSError as error:
    # As another process gets it: made anew from what it says of itself.
    print(copy.copy(error))
"""


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_file_that_grows_too_large(tmp_path, path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = start_python(LIMITED, path)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    reason = f"The log cannot be written: {os.strerror(errno.EFBIG)}"
    assert out == f"{OSError(errno.EFBIG, reason, str(path))}\n"
    assert epochs_in(path) == [1]
    assert files_in(path) == ["net.xlsx", "scratch"]
    assert not any(scratch.iterdir())


@pytest.mark.parametrize("below", ["net.xlsx", "deeper/net.xlsx"])
def test_a_directory_that_cannot_be_made(tmp_path, below):
    (tmp_path / "file").write_text("")
    log = HistoryLog(tmp_path / "file" / below)
    with pytest.raises(NotADirectoryError, match=r"cannot be written.*net\.xlsx"):
        fit(make_model(), log, epochs=1)


def test_leftovers_of_this_log_are_removed_and_no_others(path):
    write_epochs(HistoryLog(path), 1)
    own = path.with_name(".net.xlsx.0123456789abcdef.tmp")
    others = [".net2.xlsx.0123456789abcdef.tmp", ".net.xlsx.mine.tmp", "net.tmp"]
    for name in (own.name, *others):
        path.with_name(name).write_text("")
    with pytest.raises(FileExistsError):
        HistoryLog(path).open()
    assert own.exists()
    HistoryLog(path, resume=True).open()
    assert files_in(path) == sorted(["net.xlsx", *others])


KILLED = killed.program({"seed": 1})


@pytest.mark.tensorflow_only
def test_a_killed_process_leaves_every_finished_epoch(path):
    # Killed from outside, wherever it happens to be in a loop of writes ...
    with start_python(KILLED, path, 1, 0) as process:
        finished = 0
        for line in process.stdout:
            finished = int(line)
            if finished == 30:
                process.kill()
    assert process.returncode == -signal.SIGKILL
    rows, _ = read_history(path)
    assert [row["epoch"] for row in rows] in (
        list(range(1, finished + 1)),
        list(range(1, finished + 2)),  # Written, but not reported any more.
    )
    last = rows[-1]["epoch"]
    # ... and at the worst moment, when the new file is to take the old one's place.
    with start_python(KILLED, path, last + 1, 6) as process:
        reported = [int(line) for line in process.stdout]
    assert process.returncode == -signal.SIGKILL
    assert reported == list(range(last + 1, last + 6))
    assert epochs_in(path) == list(range(1, last + 6))
    assert len(files_in(path)) > 1
    log = HistoryLog(path, {"seed": 1}, resume=True)
    fit(make_model(), log, epochs=last + 6, initial_epoch=last + 5)
    assert epochs_in(path) == list(range(1, last + 7))
    assert files_in(path) == ["net.xlsx"]


RACING = """
import sys
from dlrt.callbacks import HistoryLog

print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    try:
        HistoryLog(f"{sys.argv[1]}/{number}.xlsx", {"racer": sys.argv[2]}).open()
    except FileExistsError:
        continue
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_of_two_processes_one_gets_the_name(tmp_path):
    racers = [start_python(RACING, tmp_path, name) for name in ("a", "b")]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [[int(line) for line in racer.communicate()[0].split()] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sorted(won[0] + won[1]) == list(range(40))
    for name, numbers in zip("ab", won, strict=True):
        for number in numbers:
            _, stored = read_history(tmp_path / f"{number}.xlsx")
            assert stored["racer"] == name
    assert len(list(tmp_path.iterdir())) == 40
