"""Workbooks that people touch: what they add stays, and stands in nobody's way."""

import io
import zipfile
from xml.dom import minidom

import openpyxl
import pytest
from conftest import slow
from openpyxl.chart import LineChart, Reference
from openpyxl.comments import Comment
from openpyxl.formatting.rule import CellIsRule
from openpyxl.styles import Font, PatternFill

from dlrt.callbacks import HistoryLog, read_history, read_table
from dlrt.history import workbook as _workbook

SETTINGS = {"seed": 3, "rank": 4}
HISTORY = "history"
YELLOW = PatternFill("solid", start_color="FFFF00")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.xlsx"


def append(log, *epochs, **more):
    for epoch in epochs:
        log.add_rows("samples", [{"text": f"sample {epoch}"}])
        log.append(epoch, 0.5, {"loss": 1 / epoch, "rank/hidden": 4} | more)


def chart(sheet):
    drawn = LineChart()
    drawn.add_data(Reference(sheet, min_col=3, min_row=1, max_row=30))
    return drawn


def add_sheets(workbook):
    notes = workbook.create_sheet("Notes", 0)
    notes["A1"] = "what I think"
    notes["A1"].font = Font(bold=True)
    notes["B7"] = "=2+3"
    # It looks like a sheet of the log.
    diary = workbook.create_sheet("Diary", 0)
    diary.append(["day", "remark"])
    diary.append(["Monday", "steep"])
    diary["A1"].font = Font(bold=True)
    diary.freeze_panes = "B2"
    other = workbook.create_sheet("by epoch")
    other.append(["epoch", "remark"])
    other.append(["3-5", "steep"])
    workbook.create_chartsheet("picture").add_chart(chart(workbook["history"]))


def check_sheets(workbook):
    assert workbook.sheetnames[:2] == ["Diary", "Notes"]
    assert workbook["Diary"]["B2"].value == "steep"
    assert workbook["Notes"]["A1"].value == "what I think"
    assert workbook["Notes"]["B7"].value == "=2+3"
    assert workbook["by epoch"]["A2"].value == "3-5"
    assert len(workbook["picture"]._charts) == 1


def add_chart(workbook):
    workbook["history"].add_chart(chart(workbook["history"]), "H5")


def check_chart(workbook):
    (found,) = workbook["history"]._charts
    assert "$C$1:$C$30" in found.series[0].val.numRef.f


def add_column(workbook):
    history = workbook["history"]
    column = history.max_column + 1
    history.cell(1, column, "remark")
    history.cell(3, column, "see my notes")
    history.cell(4, column, "=C4*100")
    history["AZ1"] = "far away"
    history["AZ5"] = "not even a heading"
    history["AZ60"] = "later"


def check_column(workbook):
    history = workbook["history"]
    cells = {c.value: c.coordinate for row in history.iter_rows() for c in row}
    column = cells["remark"].rstrip("1")
    assert cells["see my notes"] == f"{column}3"
    assert cells["=C4*100"] == f"{column}4"
    assert cells["far away"] == "AZ1"
    assert cells["not even a heading"] == "AZ5"
    assert cells["later"] == "AZ60"


def add_in_between(workbook):
    history = workbook["history"]
    history.insert_cols(3)
    history["C1"] = "mine"
    history["C2"] = "first"
    workbook["configuration"]["C5"] = "a good one"
    workbook["samples"]["D2"] = "funny"


def check_in_between(workbook):
    assert workbook["history"]["C1"].value == "mine"
    assert workbook["history"]["C2"].value == "first"
    assert workbook["configuration"]["C5"].value == "a good one"
    assert workbook["samples"]["D2"].value == "funny"


def add_in_front(workbook):
    for name in ("history", "configuration", "samples"):
        sheet = workbook[name]
        sheet.insert_cols(1)
        sheet.insert_rows(1, 2)
        sheet["A1"] = "my run"
        sheet["A3"] = "remark"
        sheet["A3"].font = Font(bold=True)
        sheet["A4"] = f"{name} in front"


def check_in_front(workbook):
    for name in ("history", "configuration", "samples"):
        column = [workbook[name].cell(row, 1).value for row in range(1, 5)]
        assert column == ["my run", None, "remark", f"{name} in front"]


def add_below(workbook):
    history = workbook["history"]
    end = history.max_row
    history.cell(end + 1, 1, "the mean")
    history.cell(end + 2, 3, "=AVERAGE(C2:C4)")
    history.cell(end + 4, 1, "so long")
    history.cell(end + 4, 2, "and thanks")
    configuration = workbook["configuration"]
    configuration.cell(configuration.max_row + 2, 1, "a remark on all this")
    configuration.append(["verdict", "a good one"])


def check_below(workbook):
    history = workbook["history"]
    values = {c.value: c.coordinate for row in history.iter_rows() for c in row}
    assert {"the mean", "=AVERAGE(C2:C4)", "so long", "and thanks"} <= set(values)
    pairs = [row[:2] for row in workbook["configuration"].values]
    assert ("a remark on all this", None) in pairs
    assert ("verdict", "a good one") in pairs


def add_looks(workbook):
    history = workbook["history"]
    history["C3"].fill = YELLOW
    history["C3"].comment = Comment("look at this", "me")
    history.row_dimensions[3].height = 40
    history.column_dimensions["B"].hidden = True
    history.auto_filter.ref = "A1:D4"
    rule = CellIsRule(operator="lessThan", formula=["0.4"], fill=YELLOW)
    history.conditional_formatting.add("C2:C99", rule)


def check_looks(workbook):
    history = workbook["history"]
    assert history["C3"].fill.start_color.rgb == "00FFFF00"
    assert history["C3"].comment.text == "look at this"
    assert history.row_dimensions[3].height == 40
    assert history.column_dimensions["B"].hidden
    assert history.auto_filter.ref == "A1:D4"
    assert len(history.conditional_formatting) == 1


def add_all(workbook):
    for add, _ in ADDITIONS[:-3]:
        add(workbook)


def check_all(workbook):
    for _, check in ADDITIONS[:-3]:
        check(workbook)


ADDITIONS = [
    (add_sheets, check_sheets),
    (add_chart, check_chart),
    (add_column, check_column),
    (add_looks, check_looks),
    (add_below, check_below),
    (add_in_front, check_in_front),
    (add_in_between, check_in_between),
    (add_all, check_all),
]


def check_package(path):
    """Every part is XML that can be read, and is named where it must be."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        for name in names:
            if name.endswith((".xml", ".rels")):
                document = minidom.parseString(archive.read(name))
                cells = document.getElementsByTagName("c")
                places = [c.getAttribute("r") for c in cells if c.hasAttribute("r")]
                assert len(places) == len(set(places))
                rows = document.getElementsByTagName("row")
                numbers = [int(row.getAttribute("r") or 0) for row in rows]
                numbers = [number for number in numbers if number]
                assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("resume", [True, *slow(False)])
@pytest.mark.parametrize(("add", "check"), ADDITIONS)
def test_what_others_add_stays(path, resume, add, check):
    log = HistoryLog(path, SETTINGS)
    append(log, 1, 2, 3)
    before, stored = read_history(path)
    workbook = openpyxl.load_workbook(path)
    add(workbook)
    workbook.save(path)
    # It is in nobody's way ...
    assert read_history(path) == (before, stored)
    # ... and stays where it is, when rows and columns come.
    if resume:
        log = HistoryLog(path, SETTINGS, resume=True)
    append(log, 4)
    append(log, 5, 6, extra=2.5, loss=float("nan"))
    log.add_rows("more", [{"x": 1}])
    append(log, 7)
    log = HistoryLog(path, SETTINGS, resume=True)
    append(log, 8)
    check_package(path)
    check(openpyxl.load_workbook(path))
    rows, configuration = read_history(path)
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert [row["extra"] for row in rows] == [None] * 4 + [2.5] * 2 + [None] * 2
    assert rows[:3] == [row | {"extra": None} for row in before]
    assert {key: configuration[key] for key in SETTINGS} == SETTINGS
    assert [row["text"] for row in read_table(path, "samples")] == [
        f"sample {epoch}" for epoch in range(1, 9)
    ]
    assert read_table(path, "more") == [{"epoch": 7, "x": 1}]
    with pytest.raises(ValueError, match=r"there are 'samples', 'more' besides"):
        read_table(path, "Notes")


def test_what_is_dropped_by_a_continued_run_is_not_what_others_added(path):
    append(HistoryLog(path), 1, 2, 3)
    workbook = openpyxl.load_workbook(path)
    add_column(workbook)
    add_below(workbook)
    workbook.save(path)
    log = HistoryLog(path, resume=True)
    log.on_train_begin()
    log.on_epoch_begin(1)
    assert [row["epoch"] for row in read_history(path)[0]] == [1]
    append(log, 2, 3, 4)
    check_package(path)
    workbook = openpyxl.load_workbook(path)
    check_column(workbook)
    check_below(workbook)
    assert [row["epoch"] for row in read_history(path)[0]] == [1, 2, 3, 4]


@pytest.mark.parametrize("resume", [False, True])
def test_copies_of_sheets_are_of_whoever_made_them(path, resume):
    log = HistoryLog(path, SETTINGS)
    append(log, 1, 2, 3)
    workbook = openpyxl.load_workbook(path)
    copies = {"history (2)": 4, "history_2": 4, "Copy of samples": 4, "samples (2)": 4}
    for name in copies:
        copy = workbook.copy_worksheet(workbook["samples" if "sa" in name else HISTORY])
        copy.title = name
        copy.freeze_panes = "B2"
    workbook.save(path)
    if resume:
        log = HistoryLog(path, SETTINGS, resume=True)
        log.on_train_begin()
        log.on_epoch_begin(1)
        append(log, 2, 3)
    append(log, 4)
    workbook = openpyxl.load_workbook(path)
    assert {name: workbook[name].max_row for name in copies} == copies
    assert _workbook.read_tables(path).keys() == {"samples"}


def test_a_sheet_that_is_like_those_of_the_log_stays(path):
    log = HistoryLog(path, SETTINGS)
    append(log, 1)
    workbook = openpyxl.load_workbook(path)
    copy = workbook.copy_worksheet(workbook["samples"])
    copy.title = "mine"
    copy.freeze_panes = "B2"
    workbook.save(path)
    append(log, 2)
    assert openpyxl.load_workbook(path)["mine"]["B2"].value == "sample 1"


def test_a_value_that_somebody_changed_is_that_of_the_run_again(path):
    log = HistoryLog(path)
    append(log, 1, 2)
    workbook = openpyxl.load_workbook(path)
    workbook["history"]["C2"] = 77
    workbook["history"]["C2"].fill = YELLOW
    workbook.save(path)
    append(log, 3)
    assert [row["loss"] for row in read_history(path)[0]] == [1, 1 / 2, 1 / 3]
    cell = openpyxl.load_workbook(path)["history"]["C2"]
    assert cell.fill.start_color.rgb == "00FFFF00"


def test_a_sheet_of_somebody_else_is_not_written_to(path):
    append(HistoryLog(path), 1)
    workbook = openpyxl.load_workbook(path)
    workbook.create_sheet("Notes")
    workbook.save(path)
    log = HistoryLog(path, resume=True)
    with pytest.raises(ValueError, match=r"`sheet` must not.*'Notes'.*'notes'"):
        log.add_rows("notes", [{"text": 1}])
    append(log, 2)


def test_a_workbook_of_another_program_with_prefixes_and_without_styles(path):
    append(HistoryLog(path), 1, 2)
    workbook = openpyxl.load_workbook(path)
    for sheet in workbook:
        for cell in sheet[1]:
            cell.font = Font()
        sheet.freeze_panes = None
    workbook.create_sheet("Notes")["A1"] = "x"
    workbook["history"]["Z3"] = "x"
    workbook.save(path)
    stream = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            text = old.read(name).decode()
            if name.startswith("xl/w"):
                for tag in ("worksheet", "sheetData", "row", "c", "v", "is", "t"):
                    text = text.replace(f"<{tag}>", f"<x:{tag}>")
                    text = text.replace(f"<{tag} ", f"<x:{tag} ")
                    text = text.replace(f"</{tag}>", f"</x:{tag}>")
                text = text.replace("<x:worksheet xmlns=", "<x:worksheet xmlns:x=")
            new.writestr(name, text)
    path.write_bytes(stream.getvalue())
    log = HistoryLog(path, resume=True)
    append(log, 3)
    assert [row["loss"] for row in read_history(path)[0]] == [1, 1 / 2, 1 / 3]
    assert len(read_table(path, "samples")) == 3
    workbook = openpyxl.load_workbook(path)
    assert workbook["Notes"]["A1"].value == workbook["history"]["Z3"].value == "x"


def test_a_log_costs_the_same_at_every_epoch(path, monkeypatch):
    written = []
    monkeypatch.setattr(
        _workbook.Sheet,
        "_row",
        lambda *arguments, row=_workbook.Sheet._row: (
            written.append(1),
            row(*arguments),
        )[1],
    )
    log = HistoryLog(path)
    counts = []
    for epoch in range(1, 201):
        append(log, epoch)
        counts.append(len(written))
        written.clear()
    assert set(counts[150:]) == {2}
    assert [row["epoch"] for row in read_history(path)[0]] == list(range(1, 201))
