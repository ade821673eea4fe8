"""Further sheets of a log: what they hold, and what a continued run keeps of them."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import killed
import numpy as np
import openpyxl
import pytest

import dlrt
from dlrt.callbacks import HistoryLog, read_history, read_table

X = np.linspace(0.0, 1.0, 24, dtype="float32").reshape(8, 3)
Y = X.sum(axis=1, keepdims=True)
SHEET = "translations"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.xlsx"


class Translations(keras.callbacks.Callback):
    """Hands over two rows an epoch, as a callback before the log would."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def on_epoch_end(self, epoch, logs=None):
        self.log.add_rows(SHEET, sample(epoch + 1))


def sample(epoch):
    return [
        {"source": "um livro", "reference": "a book", "translation": f"book {epoch}"},
        {"source": "duas", "reference": "two", "translation": f"{epoch} two"},
    ]


def fit(log, epochs, initial_epoch=0):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.25), "mse")
    callbacks = [Translations(log), log]
    settings = {"epochs": epochs, "initial_epoch": initial_epoch, "verbose": 0}
    return model.fit(X, Y, callbacks=callbacks, **settings)


def write_epochs(log, *epochs):
    for epoch in epochs:
        log.add_rows(SHEET, sample(epoch))
        log.append(epoch, 0.5, {"loss": 1.0 / epoch})


def expected(*epochs):
    return [{"epoch": epoch} | row for epoch in epochs for row in sample(epoch)]


def epochs_in(path):
    return [row["epoch"] for row in read_history(path)[0]]


def cells_of(path, sheet=SHEET):
    rows = openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True)
    return [list(row) for row in rows]


# --- What is written


def test_a_callback_before_the_log_fills_a_sheet(path):
    fit(HistoryLog(path, {"seed": 1}), epochs=3)
    assert read_table(path, SHEET) == expected(1, 2, 3)
    assert cells_of(path)[0] == ["epoch", "source", "reference", "translation"]
    # What the other sheets hold is not touched.
    rows, configuration = read_history(path)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert list(rows[0])[:3] == ["epoch", "seconds", "loss"]
    assert configuration["seed"] == 1
    sheets = openpyxl.load_workbook(path).sheetnames
    assert sheets == ["history", "configuration", SHEET]


def test_columns_come_in_the_order_of_their_first_use(path):
    log = HistoryLog(path)
    log.add_rows("mixed", [{"b": 1, "a": 2.5}, {"c": None, "b": [1, {"x": True}]}])
    log.add_rows("mixed", ({"a": np.float32(0.5)} for _ in range(1)))
    log.add_rows("empty", [])
    log.append(0, 0.0)
    log.append(1, 0.0)
    log.add_rows("mixed", [{"d": True}])
    log.append(2, 0.0)
    assert cells_of(path, "mixed") == [
        ["epoch", "b", "a", "c", "d"],
        [0, 1, 2.5, "NA", "NA"],
        [0, '[1, {"x": true}]', "NA", "NA", "NA"],
        [0, "NA", 0.5, "NA", "NA"],
        [2, "NA", "NA", "NA", True],
    ]
    rows = read_table(path, "mixed")
    assert rows[1] == {"epoch": 0, "b": [1, {"x": True}], "a": None, "c": None} | {
        "d": None
    }
    assert rows[3]["d"] is True
    assert openpyxl.load_workbook(path).sheetnames[2:] == ["mixed"]


TEXTS = [
    "",
    " ",
    "=SUM(A1:A9)",
    "=",
    "+1",
    "-1",
    "@here",
    "'quoted",
    "20",
    "1e5",
    "NA",
    '"NA"',
    "nan",
    "null",
    "true",
    "[1]",
    "#N/A",
    "_x000D_",
    " at both ends ",
    "a\tb\r\nc",
    "\x00\x07\x1b[0m",
    "\ufffe\ud800",
    "d\u2019\u00e9t\u00e9\u00a0: \u00abo\u00bb\u202f!",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u4f60\u597d \U0001f600",
    "[" * 20_000,
    "9" * 20,
    "9" * 5_000,
]


def test_any_text_survives(path):
    log = HistoryLog(path)
    log.add_rows(SHEET, [{"text": text, text or "none": 1} for text in TEXTS[:20]])
    log.append(1, 0.0, {"note": "NA"})
    log.add_rows(SHEET, [{"text": text} for text in TEXTS])
    log.append(2, 0.0, {"note": ""})
    HistoryLog(path, resume=True).append(3, 0.0)
    rows = read_table(path, SHEET)
    assert [row["text"] for row in rows[20:]] == TEXTS
    assert set(TEXTS[1:20]) < set(rows[0])
    assert [row["note"] for row in read_history(path)[0]] == ["NA", "", None]
    # People read most of them as they are.
    shown = [row[1] for row in cells_of(path)[21:]]
    differ = [text for text, cell in zip(TEXTS, shown, strict=True) if text != cell]
    assert differ == [
        *("", "NA", '"NA"', "nan", "null", "[1]"),
        *("a\tb\r\nc", "\x00\x07\x1b[0m", "\ufffe\ud800", "9" * 20),
    ]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 32_767, 32_767),
        ("x" * 32_768, 32_766),
        ("x" * 10**6, 32_766),
        # Excel counts two of these, and JSON, for the tab, writes two for each.
        ("\U0001f600" * 32_000, 16_383),
        ("\t" * 32_000, 16_379),
    ],
)
def test_a_text_too_long_for_a_cell_is_cut(path, text, kept):
    log = HistoryLog(path)
    log.add_rows(SHEET, [{"text": text}])
    log.append(1, 0.0)
    [row] = read_table(path, SHEET)
    assert row["text"] == text[:kept] + "…" * (kept < len(text))
    [_, [_, cell]] = cells_of(path)
    assert 32_760 <= len(cell.encode("utf-16-le")) / 2 <= 32_767


# --- What is refused


@pytest.mark.parametrize(
    "name",
    ["", "x" * 32, "a/b", "a\\b", "a:b", "[a", "a]", "a*", "a?", "'a", "a'", "a\n", 3],
)
def test_names_that_excel_does_not_allow(path, name):
    log = HistoryLog(path)
    with pytest.raises(ValueError, match=r"`sheet` must have 1 to 31.*Received: "):
        log.add_rows(name, sample(1))


@pytest.mark.parametrize("name", ["history", "configuration", "History"])
def test_the_names_of_the_two_sheets_are_refused(path, name):
    with pytest.raises(ValueError, match=rf"`sheet` must not.*Received: sheet='{name}"):
        HistoryLog(path).add_rows(name, sample(1))


def test_names_that_differ_in_case_only_are_refused(path):
    log = HistoryLog(path)
    log.add_rows("a'b", sample(1))
    log.add_rows("x" * 31, sample(1))
    with pytest.raises(ValueError, match=r"there is \"a'b\".*Received: .*A'B"):
        log.add_rows("A'B", sample(1))
    log.append(1, 0.0)
    log = HistoryLog(path, resume=True)
    with pytest.raises(ValueError, match=r"there is 'x+'.*Received: .*X"):
        log.add_rows("X" * 31, sample(1))
    assert len(read_table(path, "a'b")) == len(read_table(path, "x" * 31)) == 2


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"epoch": 1}, ValueError, "other than 'epoch'.*Received: 'epoch'"),
        ({"": 1}, ValueError, "texts as names.*Received: ''"),
        ({3: 1}, ValueError, "texts as names.*Received: 3"),
        ({"a": object()}, TypeError, f"{SHEET}', column 'a'.*object"),
        ({"a": ["x" * 40_000]}, ValueError, f"{SHEET}', column 'a'.*32767.*40004"),
    ],
)
def test_rows_that_cannot_be_written(path, row, error, message):
    log = HistoryLog(path)
    with pytest.raises(error, match=f"`rows`.*{message}"):
        log.add_rows(SHEET, [{"a": 1}, row])
    # Nothing of them is left behind.
    write_epochs(log, 1)
    assert read_table(path, SHEET) == expected(1)


def test_reading_a_sheet_that_is_not_there(path):
    write_epochs(HistoryLog(path), 1)
    for name in ("other", "history", "configuration", "Translations"):
        with pytest.raises(ValueError, match=rf"`name`.*'{SHEET}'.*name='{name}'"):
            read_table(path, name)
    bare = path.with_name("bare.xlsx")
    HistoryLog(bare).open()
    with pytest.raises(ValueError, match=r"`name`.*is none besides.*name='other'"):
        read_table(bare, "other")
    with pytest.raises(FileNotFoundError):
        read_table(path.with_name("none.xlsx"), SHEET)


def edit(cell, value):
    def change(path):
        workbook = openpyxl.load_workbook(path)
        workbook[SHEET][cell] = value
        workbook.save(path)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit("A1", "time"), "does not begin with 'epoch'"),
        (edit("B1", "epoch"), "columns without a name"),
        (edit("B1", "[1]"), "columns without a name"),
        (edit("A5", 1), "not decrease.*1 follows 2"),
        (edit("A3", "one"), "'one' follows 1"),
        (edit("A2", -1), "-1 follows 0"),
    ],
)
def test_a_damaged_sheet_is_refused(path, damage, message):
    write_epochs(HistoryLog(path), 1, 2)
    damage(path)
    before = path.read_bytes()
    pattern = rf"`path` .*{SHEET}.*{message}.*net\.xlsx"
    with pytest.raises(ValueError, match=pattern):
        read_table(path, SHEET)
    with pytest.raises(ValueError, match=pattern):
        HistoryLog(path, resume=True).open()
    assert path.read_bytes() == before
    assert epochs_in(path) == [1, 2]


# --- Continued and broken runs


def test_resume_keeps_rows_and_drops_those_beyond_the_initial_epoch(path):
    log = HistoryLog(path)
    log.add_rows("start", [{"vocabulary": 8_000}])
    log.append(0, 0.0)
    write_epochs(log, 1, 2, 3, 4)
    log.add_rows("late", [{"x": 1}])
    write_epochs(log, 5)
    fit(HistoryLog(path, resume=True), epochs=4, initial_epoch=2)
    assert read_table(path, SHEET) == expected(1, 2, 3, 4)
    assert read_table(path, "start") == [{"epoch": 0, "vocabulary": 8_000}]
    sheets = openpyxl.load_workbook(path).sheetnames
    assert sheets == ["history", "configuration", "start", SHEET]
    # A finished run is left as it is.
    before = path.read_bytes()
    fit(HistoryLog(path, resume=True), epochs=4, initial_epoch=4)
    assert path.read_bytes() == before


def test_rows_of_an_epoch_that_was_broken_off_are_not_written(path):
    log = HistoryLog(path)
    fit(log, epochs=1)
    log.add_rows(SHEET, sample(2))
    fit(log, epochs=2, initial_epoch=1)
    assert read_table(path, SHEET) == expected(1, 2)


def test_rows_wait_for_the_write_interval(path):
    log = HistoryLog(path, write_interval=float("inf"))
    write_epochs(log, 1, 2)
    assert openpyxl.load_workbook(path).sheetnames == ["history", "configuration"]
    log.flush()
    assert read_table(path, SHEET) == expected(1, 2)


def test_a_copy_saved_by_a_spreadsheet_program_can_be_continued(path):
    log = HistoryLog(path)
    write_epochs(log, 1)
    workbook = openpyxl.load_workbook(path)
    workbook[SHEET]["G9"] = ""
    workbook.create_sheet("Sheet1")
    workbook.save(path)
    log = HistoryLog(path, resume=True)
    write_epochs(log, 2)
    assert read_table(path, SHEET) == expected(1, 2)


def test_a_sheet_that_loses_its_rows_goes_alone(path):
    log = HistoryLog(path, {"seed": 7}, resume=True)
    write_epochs(log, 1, 2)
    log.on_train_begin()
    log.on_epoch_begin(0)
    rows, configuration = read_history(path)
    assert rows == [] and configuration["seed"] == 7
    assert SHEET not in openpyxl.load_workbook(path).sheetnames


def test_rows_that_could_not_be_written_are_written_with_the_next(path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = HistoryLog(path)
    write_epochs(log, 1)
    log.add_rows(SHEET, sample(2))
    with monkeypatch.context() as context:
        context.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            log.append(2, 0.5)
    with pytest.raises(ValueError, match="`epoch`"):
        log.append(1, 0.5)
    assert read_table(path, SHEET) == expected(1)
    log.append(2, 0.5)
    assert read_table(path, SHEET) == expected(1, 2)


KILLED = killed.program(
    before='log.add_rows("translations", [{"translation": "=" * epoch}] * 3)'
)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_killed_process_leaves_the_rows_of_every_finished_epoch(path):
    root = str(Path(dlrt.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    # The second process continues what the first one has left behind.
    for first, at_replace, last in ((1, 4, 3), (4, 3, 5)):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), str(first), str(at_replace)],
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert done.returncode == -signal.SIGKILL
        assert epochs_in(path) == list(range(1, last + 1))
        rows = read_table(path, SHEET)
        texts = [(row["epoch"], row["translation"]) for row in rows]
        assert texts == [(e, "=" * e) for e in range(1, last + 1) for _ in range(3)]


# --- The history of a transformer

RANKS = (
    "encoder_1_self_attention/query",
    "decoder_4_cross_attention/output",
    "decoder_4_feed_forward_2",
    "output",
)


def test_columns_of_a_transformer(path):
    logs = {"accuracy": 0.25, "loss": 3.0, "val_accuracy": 0.2, "val_loss": 4.0}
    logs |= {f"rank/{name}": 30 for name in RANKS}
    logs |= {
        "test_bleu": 12.0,
        "test_chrf": 40,
        "tokens/second": 9_000,
        "compression": 0,
    }
    log = HistoryLog(path)
    log.append(1, 2.0, logs)
    log.append(2, 2.0, logs | {"test_bleu": 12.5})
    assert cells_of(path, "history")[0] == [
        *("epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy"),
        *("test_bleu", "test_chrf", "tokens/second"),
        *(f"rank {name}" for name in RANKS),
        "compression",
    ]
    rows, _ = read_history(path)
    assert [row["test_bleu"] for row in rows] == [12.0, 12.5]
    for row in rows:
        floats = ("loss", "test_bleu", "test_chrf", "tokens/second", "compression")
        assert {type(row[name]) for name in floats} == {float}
        assert {type(row[f"rank {name}"]) for name in RANKS} == {int}
