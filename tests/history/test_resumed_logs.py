"""Runs that go on with a log, and workbooks that are none or damaged."""

import keras
import openpyxl
import pytest
from logs import epochs_in, fit, make_model, write_epochs

from dlrt.callbacks import HistoryLog, read_history


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.xlsx"


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
