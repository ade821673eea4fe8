"""`validate` names everything that is wrong."""

import errno
import os
from pathlib import Path

import pytest
from archives import (
    FULL,
    OLD_NAME,
    RANKS,
    SMALL,
    old,
    problems,
    rows_of,
    run,
    settings,
    truncate,
    write,
    write_old,
)

from dlrt.callbacks import read_history
from dlrt_names.log_schema import METRICS
from experiments.archive import archived_logs
from experiments.runs import names

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture
def root(tmp_path):
    return tmp_path / "logs"


# validate


def test_a_sound_archive_has_no_problems(root, capsys):
    row = {"epoch": 0, "seconds": 0.1} | dict.fromkeys(METRICS, 0.1)
    rows = rows_of(names.parse(SMALL))
    write(root / SMALL, "dim8", rows=[row | {"rank hidden_1": 4}, *rows])
    write(root / SMALL, "dim9", epochs=1)
    write(root / RANKS, "rank4")
    write(root / "finishedTestsFullSet" / FULL, "dim8")
    write(root / "wrongTests" / SMALL, "dim8", loss=float("nan"))
    (root / "wrongTests" / SMALL / "reason.txt").write_text("diverged\n")
    assert problems(root, capsys) == []


@pytest.mark.parametrize(
    "damage, text",
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (truncate, "cannot be read as Excel"),
        (lambda path: path.write_text("a,b"), "cannot be read as Excel"),
    ],
)
def test_validate_names_a_workbook_that_cannot_be_read(root, capsys, damage, text):
    path = write(root / SMALL, "dim8")
    damage(path)
    (line,) = problems(root, capsys)
    assert str(path) in line and text in line


def dropped(rows, *columns):
    return [
        {key: value for key, value in row.items() if key not in columns} for row in rows
    ]


@pytest.mark.parametrize(
    "change, row, text",
    [
        (lambda rows: dropped(rows, "val_loss"), None, "no column 'val_loss'"),
        (
            lambda rows: dropped(rows, "rank hidden_1", "rank hidden_2"),
            None,
            "no column 'rank <layer>'",
        ),
        (lambda rows: rows[1:], 2, "epoch 1 must stand here"),
        (lambda rows: [rows[0], rows[2]], 3, "epoch 2 must stand here"),
        (
            lambda rows: [*rows[:2], rows[2] | {"test_loss": float("inf")}],
            4,
            "test_loss must be finite. Received: inf",
        ),
        (
            lambda rows: [rows[0], rows[1] | {"accuracy": "high"}, rows[2]],
            3,
            "accuracy must be a number. Received: 'high'",
        ),
        (
            lambda rows: [rows[0] | {"rank hidden_2": 9}, *rows[1:]],
            2,
            "rank hidden_2 is 9, above the width 8",
        ),
        (lambda rows: [], None, "there is no epoch"),
        (
            lambda rows: [*rows, rows[2] | {"epoch": 4}],
            5,
            "epoch 4 is above the 3 of the name",
        ),
    ],
)
def test_validate_names_what_is_wrong_in_the_rows(root, capsys, change, row, text):
    path = write(root / SMALL, "dim8", rows=change(rows_of(names.parse(SMALL))))
    (line,) = problems(root, capsys)
    where = str(path) if row is None else f"{path}, row {row}"
    assert line.startswith(f"{where}: ")
    assert text in line


@pytest.mark.parametrize(
    "key, value",
    [
        ("epochs", 4),
        ("batch_size", 128),
        ("learning_rate", 0.002),
        ("optimizer", "sgd"),
        ("noise", 0.4),
        ("dataset_size", 0.5),
        ("regularizer", "l2"),
        ("dim_layer", 9),
        ("tolerance", 0.1),
        ("seed", 3),
        ("start_rank", 5),
    ],
)
def test_validate_compares_the_configuration_with_the_name(root, capsys, key, value):
    configuration = settings(names.parse(SMALL), "dim8")
    path = write(root / SMALL, "dim8", configuration=configuration | {key: value})
    (line,) = problems(root, capsys)
    assert line.startswith(f"{path}: ") and f"has {key} {value}" in line


def test_a_layer_narrower_than_the_rank_has_its_full_rank(root, capsys):
    name = "DLRTRank10-11TestDim8-11ep3batch256lr0-001Run0"
    configuration = settings(names.parse(name), "dim8")
    assert configuration["start_rank"] == 8
    write(root / name, "dim8")
    assert problems(root, capsys) == []


@pytest.mark.parametrize(
    "test, source, stem, text",
    [
        (SMALL, "dim8", "dim11", "width of a cell must lie in 8-11"),
        (RANKS, "rank4", "rank5", "rank of a cell must lie in 1-5"),
        (SMALL, "dim8", "rank4", "must be called 'dim<number>.xlsx'"),
        (RANKS, "rank4", "dim8", "must be called 'rank<number>.xlsx'"),
        (SMALL, "dim8", "notes", "must be called 'dim<number>.xlsx'"),
    ],
)
def test_validate_names_a_cell_outside_of_the_grid(
    root, capsys, test, source, stem, text
):
    path = write(root / test, source)
    path = path.rename(path.with_name(f"{stem}.xlsx"))
    (line,) = problems(root, capsys)
    assert line.startswith(f"{path}: ") and text in line


def test_validate_names_what_is_wrong_with_folders(root, capsys):
    write(root / SMALL, "dim8")
    write(root / "finishedTests" / SMALL, "dim8")
    # A test in work may have finished cells elsewhere.
    write(root / "finishedTests" / SMALL, "dim9")
    write(root / "finishedTests" / FULL, "dim8", epochs=2)
    write(root / "wrongTests" / FULL, "dim8")
    (root / "finishedTests" / "somethingElse").mkdir()
    renamed = root / "TestDim8-11ep3batch256lr0.01"
    (root / "finishedTestsFullSet" / FULL).mkdir(parents=True)
    write(root / renamed.name.replace("0.01", "0-01"), "dim8").parents[1].rename(
        renamed
    )
    found = problems(root, capsys)

    def is_named(folder, text):
        return any(line.startswith(f"{folder}: ") and text in line for line in found)

    cell = Path("historyLogs") / "dim8.xlsx"
    twice = f"the same cell of the same run is {root / SMALL / cell}"
    assert is_named(root / "finishedTests" / SMALL / cell, twice)
    assert is_named(root / "finishedTestsFullSet" / FULL, "no workbook")
    assert is_named(root / "finishedTests" / FULL, "belongs to finishedTestsFullSet")
    unfinished = root / "finishedTests" / FULL / "historyLogs" / "dim8.xlsx"
    assert is_named(unfinished, "ends at epoch 2 of 3")
    assert is_named(root / "wrongTests" / FULL, "no reason.txt")
    assert is_named(root / "finishedTests" / "somethingElse", "not of the grammar")
    assert is_named(root / "finishedTests" / "somethingElse", "no workbook")
    assert is_named(renamed, "makes TestDim8-11ep3batch256lr0-01 of it")
    assert len(found) == 8


def test_validate_names_leftovers(root, capsys):
    path = write(root / SMALL, "dim8")
    write(root / SMALL, "dim9", epochs=1)
    temporary = path.with_name(f".dim8.xlsx.{'0' * 16}.tmp")
    fresh = path.with_name(f".dim9.xlsx.{'1' * 16}.tmp")
    checkpoints = [root / SMALL / "checkpoints" / f"dim{d}.keras" for d in (8, 9)]
    checkpoints[0].parent.mkdir()
    for file in (temporary, fresh, *checkpoints, path.with_name("log.csv")):
        file.touch()
    old(temporary)
    found = problems(root, capsys)
    assert [line.split(":")[0] for line in found] == [
        str(temporary),
        str(path.with_name("log.csv")),
        str(checkpoints[0]),
    ]


@pytest.mark.parametrize(
    "text, epochs, rows, problem",
    [
        (
            "DLRTRank20-21TestDim500-501ep3batch256lr0-001Noise20Dataset10Run2",
            3,
            {"rank hidden_1": 170},
            "row 2: rank hidden_1 is 170, above the rank 20 of the name",
        ),
        (RANKS, 3, {"rank hidden_2": 5}, "rank hidden_2 is 5, above the rank 4"),
        (RANKS, 3, {"rank hidden_2": -3}, "is -3, and must be a whole number"),
        (RANKS, 3, {"rank hidden_2": 0}, "is 0, and must be"),
        (RANKS, 3, {"rank hidden_2": 2.5}, "is 2.5, and must be"),
        (FULL, 3, {"rank hidden_1": 5}, "and the name is that of a dense network"),
        (SMALL, 5, {}, "row 5: epoch 4 is above the 3 of the name"),
    ],
)
def test_validate_compares_rows_with_the_name(
    root, capsys, text, epochs, rows, problem
):
    stem = {RANKS: "rank4", FULL: "dim8", SMALL: "dim8"}.get(text, "dim500")
    configuration = settings(names.parse(text), stem)
    write(root / text, stem, epochs=epochs, configuration=configuration, **rows)
    (line,) = problems(root, capsys)
    assert problem in line
    # Neither does a test get such a name.
    other = text.replace("Run", "Run1")
    write(root / other, stem, configuration={}, epochs=epochs, **rows)
    with pytest.raises(SystemExit):
        run(root, "rename", other, text.replace("Run", "Run2"))


@pytest.mark.parametrize(
    "make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("x")]
)
def test_what_is_no_file_ends_no_command(root, capsys, make):
    path = write(root / SMALL, "dim8")
    make(path.with_name("dim10.xlsx"))
    truncate(write(root / SMALL, "dim9"))
    first, second = problems(root, capsys)
    assert first == f"{path.with_name('dim10.xlsx')}: is not a workbook"
    assert "dim9.xlsx: " in second
    assert run(root, "list") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[3:6] == [
        "2",
        "3/6",
        "damaged",
    ]


def test_a_workbook_that_cannot_be_opened_ends_no_command(root, capsys, monkeypatch):
    def refuse(path):
        if path.stem == "dim8":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_history(path)

    write(root / SMALL, "dim8")
    write(root / SMALL, "dim9", epochs=4)
    monkeypatch.setattr(archived_logs, "read_history", refuse)
    first, second = problems(root, capsys)
    assert "dim8.xlsx: it can't be read: Permission denied" in first
    assert "dim9.xlsx, row 5: epoch 4" in second
    # It may be sound, and stays.
    assert run(root, "repair") == 0
    assert (root / SMALL).is_dir()


STRAY = (
    *(".~lock.dim10.xlsx#", "~$dim10.xlsx", ".DS_Store", "Thumbs.db", "desktop.ini"),
    *("._dim10.xlsx", "dim10.xlsx~", "~WRL0005.tmp", "dim10.xlsx.bak", "Icon\r"),
    *("#dim10.xlsx#", "dim10.xlsx.icloud", "dim10.xlsx.crdownload"),
    *("@eaDir", "$RECYCLE.BIN", "lost+found"),
)


def test_files_of_other_programs_are_no_logs(root, tmp_path, capsys):
    def strew(folder):
        for name in STRAY:
            (folder / name).write_text(str(folder))

    logs = write(root / SMALL, "dim8").parent
    strew(logs)
    strew(root / SMALL)
    strew(root)
    strew(write(root / "finishedTests" / SMALL, "dim9").parent)
    assert problems(root, capsys) == []
    assert run(root, "list") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    # A test that moves leaves them behind, and what is left is none.
    assert run(root, "repair") == 0
    assert (logs / ".DS_Store").exists()
    assert problems(root, capsys) == []
    run(root, "list")
    assert capsys.readouterr().out.splitlines()[1].split()[1:4] == [
        *("finishedTests", "2", "2"),
    ]
    target = SMALL.replace("8-11", "1-11")
    assert run(root, "merge", SMALL, target) == 0
    assert run(root, "rename", target, SMALL.replace("8-11", "2-11")) == 0
    write_old(tmp_path)
    strew(tmp_path / OLD_NAME / "historyLogs")
    assert run(tmp_path, "convert", OLD_NAME) == 0
    assert capsys.readouterr().err == ""
