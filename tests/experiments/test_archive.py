import contextlib
import errno
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import openpyxl
import pytest

from dlrt.callbacks import read_history
from dlrt.history import workbook as _workbook
from dlrt_names.log_schema import METRICS
from experiments.archive import archived_logs, archived_tests, old_csv, old_names
from experiments.archive import command as archive
from experiments.archive import table as _archive_table
from experiments.archive.archived_logs import State
from experiments.archive.archived_tests import Place
from experiments.archive.moves import Refusal
from experiments.runs import log_format, names

pytestmark = pytest.mark.tensorflow_only

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 3
SMALL = "DLRTRank4-5TestDim8-11ep3batch256lr0-001Noise20Dataset10Run2"
FULL = "SGDTestDim8-11ep3batch256lr0-01Reg0-1Run0"
RANKS = "DLRTRank1-5TestDim8-9ep3batch256lr0-001Run0"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "logs"


def rows_of(name, epochs=EPOCHS, **changes):
    ranks = {"rank hidden_1": 4, "rank hidden_2": 3} if name.dlrt else {}
    return [
        {"epoch": epoch, "seconds": 0.5}
        | dict.fromkeys(METRICS, 1 / epoch)
        | ranks
        | changes
        for epoch in range(1, epochs + 1)
    ]


def settings(name, stem):
    return names.settings(name, *names.parse_stem(stem, name))


def write(
    folder, stem, rows=None, epochs=EPOCHS, configuration=None, tables=None, **changes
):
    """Writes a workbook as a sweep does."""
    name = names.parse(folder.name)
    path = folder / "historyLogs" / f"{stem}.xlsx"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows_of(name, epochs, **changes) if rows is None else rows
    if configuration is None:
        configuration = settings(name, stem)
    path.write_bytes(_workbook.render(rows, configuration, tables))
    return path


def sample(epochs, translation="a book"):
    """The rows of a further sheet, two an epoch."""
    return {
        "translations": [
            {"epoch": epoch, "source": source, "translation": translation}
            for epoch in epochs
            for source in ("um livro", "o livro")
        ]
    }


def run(root, subcommand, *words):
    return archive.main([subcommand, "--log-dir", str(root), *map(str, words)])


def problems(root, capsys):
    capsys.readouterr()
    status = run(root, "validate")
    *lines, count = capsys.readouterr().out.splitlines()
    assert status == (1 if lines else 0)
    assert count.split()[0] == str(len(lines))
    return lines


@contextlib.contextmanager
def claimed(folder):
    """Another process has claimed a cell, as one that trains it does."""
    code = (
        "import sys; from pathlib import Path;"
        "from experiments.archive.claims import Claims;"
        "claims = Claims(Path(sys.argv[1]));"
        "print(claims.take(sys.argv[2]), flush=True);"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder.parent, f"{folder.name}/dim8"],
        cwd=Path(archive.__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "True\n"
    yield
    process.communicate("")


def old(path):
    os.utime(path, (time.time() - 3600,) * 2)


# The library


@pytest.mark.parametrize(
    "one, other, same",
    [
        (1 / 6, 0.1666666666666667, True),
        (1, 1.0, True),
        (1e-9, 2e-9, False),
        (0.2, 0.2000001, False),
        (None, 0.2, False),
        ("many", 0.2, False),
        ("adam", "adam", True),
    ],
)
def test_settings_are_compared_with_the_digits_of_a_workbook(one, other, same):
    assert log_format.equal(one, other) is same
    assert log_format.equal(other, one) is same


@pytest.mark.parametrize(
    "text, place", [(SMALL, Place.FINISHED), (FULL, Place.FINISHED_FULL_SET)]
)
def test_a_finished_test_goes_to_the_place_of_its_kind(root, text, place):
    path = write(root / text, "dim8")
    content = path.read_bytes()
    assert archived_tests.choose_place(names.parse(text)) == place
    target = archived_tests.finish(root, root / text)
    assert target == root / place / text
    assert (target / "historyLogs" / "dim8.xlsx").read_bytes() == content
    assert not (root / text).exists()
    assert archived_tests.finish(root, target) == target


@pytest.mark.parametrize("epochs", [0, 2, 4])
def test_a_test_that_is_not_finished_stays(root, epochs):
    write(root / SMALL, "dim8")
    write(root / SMALL, "dim9", epochs=epochs)
    with pytest.raises(ValueError, match="finished.*unfinished"):
        archived_tests.finish(root, root / SMALL)
    assert (root / SMALL).is_dir()


def test_a_test_without_a_workbook_is_not_finished(root):
    (root / SMALL).mkdir(parents=True)
    with pytest.raises(ValueError, match="unfinished"):
        archived_tests.finish(root, root / SMALL)


def test_a_diverged_test_is_not_finished(root):
    write(root / SMALL, "dim8", loss=float("nan"))
    with pytest.raises(ValueError, match="diverged"):
        archived_tests.finish(root, root / SMALL)


def test_cells_are_added_to_a_finished_test(root):
    write(root / SMALL, "dim8")
    target = archived_tests.finish(root, root / SMALL)
    write(root / SMALL, "dim9")
    assert archived_tests.finish(root, root / SMALL) == target
    workbooks = sorted(path.name for path in (target / "historyLogs").iterdir())
    assert workbooks == ["dim8.xlsx", "dim9.xlsx"]
    assert not (root / SMALL).exists()


def test_the_same_cell_twice_is_one(root):
    tables = sample((1, 3))
    write(root / SMALL, "dim8", tables=tables)
    target = archived_tests.finish(root, root / SMALL)
    # The same log, written at another time.
    rows, stored = read_history(target / "historyLogs" / "dim8.xlsx")
    again = write(root / SMALL, "dim8", rows, configuration=stored, tables=tables)
    assert read_history(again) == (rows, stored)
    archived_tests.finish(root, root / SMALL)
    assert not (root / SMALL).exists()


@pytest.mark.parametrize(
    "changes", [{"loss": 0.25}, {"tables": sample((1, 3))}, {"tables": None}]
)
def test_a_cell_with_other_content_is_never_overwritten(root, changes):
    write(root / SMALL, "dim8", tables=sample((1, 3), "one book"))
    target = archived_tests.finish(root, root / SMALL)
    first = (target / "historyLogs" / "dim8.xlsx").read_bytes()
    second = write(
        root / SMALL, "dim8", **{"tables": sample((1, 3), "one book"), **changes}
    )
    content = second.read_bytes()
    write(root / SMALL, "dim9")
    with pytest.raises(Refusal) as error:
        archived_tests.finish(root, root / SMALL)
    assert str(second) in str(error.value)
    assert str(target / "historyLogs" / "dim8.xlsx") in str(error.value)
    assert (target / "historyLogs" / "dim8.xlsx").read_bytes() == first
    assert second.read_bytes() == content
    assert (target / "historyLogs" / "dim9.xlsx").exists()


def test_files_are_moved_one_by_one_between_file_systems(root, monkeypatch):
    def elsewhere(*_):
        raise OSError(18, "Invalid cross-device link")

    write(root / SMALL, "dim8")
    (root / SMALL / "checkpoints").mkdir()
    (root / SMALL / "checkpoints" / "dim9.keras").write_bytes(b"state")
    monkeypatch.setattr(os, "rename", elsewhere)
    monkeypatch.setattr(os, "link", elsewhere)
    monkeypatch.setattr(archived_tests.atomic_file.os, "link", elsewhere)
    target = archived_tests.finish(root, root / SMALL)
    assert read_history(target / "historyLogs" / "dim8.xlsx")[0]
    assert (target / "checkpoints" / "dim9.keras").read_bytes() == b"state"
    assert not (root / SMALL).exists()


def test_a_failed_test_is_kept_with_its_reason(root):
    for number in (1, 2):
        write(root / SMALL, "dim8", loss=float("inf"))
        target = archived_tests.reject(root, root / SMALL, f"diverged {number} times")
        reason = (target / "reason.txt").read_text()
        assert reason == f"diverged {number} times\n"
        assert not (root / SMALL).exists()
    assert sorted(os.listdir(root / "wrongTests")) == [SMALL, f"{SMALL}.2"]
    assert {test.name for test in archived_tests.list_tests(root)} == {
        names.parse(SMALL)
    }


def test_all_tests_are_found_and_single_runs_are_none(root):
    write(root / SMALL, "dim8")
    write(root / "finishedTests" / SMALL.replace("Run2", "Run3"), "dim8")
    write(root / "wrongTests" / SMALL, "dim8")
    (root / ".hidden").mkdir()
    (root / "figures").mkdir()
    strange = root / "strange" / "historyLogs" / "dim8.xlsx"
    strange.parent.mkdir(parents=True)
    strange.touch()
    single = root / "fixed-rank-digits-d24-r20-seed0" / "historyLogs"
    single.mkdir(parents=True)
    (single / "low-rank-4x24-digits.xlsx").touch()
    (root / "README.md").touch()
    found = [(test.place, test.folder.name) for test in archived_tests.list_tests(root)]
    assert found == [
        (Place.ACTIVE, SMALL),
        (Place.ACTIVE, "strange"),
        (Place.FINISHED, SMALL.replace("Run2", "Run3")),
        (Place.WRONG, SMALL),
    ]


def _finish_at_once(root, folder, barrier, results):
    barrier.wait(60)
    try:
        results.put(("moved", str(archived_tests.finish(root, folder))))
    except Refusal as error:
        results.put(("refused", str(error)))
    except Exception as error:
        results.put((type(error).__name__, str(error)))


def test_of_two_processes_one_moves_a_test(root):
    write(root / SMALL, "dim8")
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    arguments = (root, root / SMALL, barrier, results)
    processes = [
        context.Process(target=_finish_at_once, args=arguments) for _ in range(2)
    ]
    for process in processes:
        process.start()
    outcomes = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    target = root / "finishedTests" / SMALL
    assert outcomes["moved"] == str(target)
    # One that began when all was over is told so, too.
    assert set(outcomes) == {"moved", "refused"}
    assert read_history(target / "historyLogs" / "dim8.xlsx")[0]


def test_a_lost_race_is_reported(root, monkeypatch):
    write(root / SMALL, "dim8")
    rename = os.rename

    def late(source, target):
        rename(source, root / "elsewhere")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(Refusal, match="another process"):
        archived_tests.finish(root, root / SMALL)


# list


def test_list_counts_runs_cells_and_epochs(root, capsys):
    write(root / SMALL, "dim8")
    write(root / SMALL, "dim9", epochs=1)
    write(root / SMALL.replace("Run2", "Run3"), "dim8")
    write(root / "finishedTestsFullSet" / FULL, "dim8")
    write(root / "wrongTests" / FULL, "dim9", loss=float("nan"))
    assert run(root, "list") == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == "test place runs cells epochs state size".split()
    table = {tuple(line.split()[:2]): line.split()[2:] for line in lines}
    small = table[SMALL.removesuffix("Run2"), "active"]
    assert small[:3] == ["2-3", "3", "7/9"]
    assert small[3:7] == ["1", "unfinished,", "1", "finished"]
    full = FULL.removesuffix("Run0")
    assert table[full, "finishedTestsFullSet"][:4] == ["0", "1", "3/3", "finished"]
    assert table[full, "wrongTests"][:4] == ["0", "1", "3/3", "diverged"]


def test_ranges_and_sizes_for_people():
    assert _archive_table.format_ranges([3, 0, 1, 7, 2]) == "0-3,7"
    assert _archive_table.format_ranges([]) == ""
    sizes = {0: "0 B", 999: "999 B", 1000: "1 kB", 123456: "123 kB", 2e12: "2e+03 GB"}
    assert {count: _archive_table.format_size(count) for count in sizes} == sizes


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


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


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
    assert first == f"{path.with_name('dim10.xlsx')}: is no workbook"
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


# Runs by themselves

RUNS = {
    "lenet5-fixed-rank-mnist-seed0": ("low-rank-lenet5-mnist", METRICS, {}),
    "evolve-mnist-seed0": ("evolve-mnist", METRICS, {"subcommand": "evolve"}),
    "transformer-reference-ted-d128-seed0": (
        "dense-transformer-4x128-ted",
        ("loss", "accuracy", "val_loss", "val_accuracy", "test_bleu"),
        {"experiment": "transformer"},
    ),
    "language-model": ("low-rank-lstm-words", ("loss", "val_loss", "test_loss"), {}),
    "compressed": ("svd-dense-vgg16-cifar10", METRICS, {"experiment": "compression"}),
}


def write_run(root, name, last=3, first=1, **changes):
    stem, metrics, configuration = RUNS[name]
    path = root / name / "historyLogs" / f"{stem}.xlsx"
    path.parent.mkdir(parents=True)
    rows = [
        {"epoch": epoch, "seconds": 1.0, "phase": "fixed"} | dict.fromkeys(metrics, 0.5)
        for epoch in range(first, last + 1)
    ]
    stored = {"subcommand": "fixed-rank", "epochs": 3} | configuration | changes
    path.write_bytes(_workbook.render(rows, stored))
    for checkpoint in ("last.keras", "best.keras"):
        (root / name / checkpoint).touch()
    return path


def listed(root, capsys):
    capsys.readouterr()
    assert run(root, "list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    return {line[0]: line[1:6] for line in lines}


def test_finished_runs_beside_a_sweep_are_no_problem(root, capsys):
    for name in RUNS:
        write_run(root, name)
    write(root / "finishedTests" / SMALL, "dim8")
    assert problems(root, capsys) == []
    table = listed(root, capsys)
    for name in RUNS:
        assert table[name] == ["active", "-", "1", "3/3", "finished"]
    assert run(root, "repair") == 0
    assert all((root / name).is_dir() for name in RUNS)


@pytest.mark.parametrize(
    "last, changes, state",
    [
        (2, {}, ["2/3", "unfinished"]),
        # Compressed, and not trained any more.
        (0, {"epochs": 0}, ["0/0", "finished"]),
        # Loaded and measured.
        (0, {"train": False}, ["0/0", "finished"]),
        (5, {"fine_tune_epochs": 2}, ["5/5", "finished"]),
        (3, {"fine_tune_epochs": 2}, ["3/5", "unfinished"]),
    ],
)
def test_a_run_knows_how_long_it_is(root, capsys, last, changes, state):
    write_run(root, "compressed", last, first=0, **changes)
    assert listed(root, capsys)["compressed"] == ["active", "-", "1", *state]
    assert problems(root, capsys) == []


def test_a_damaged_run_is_named(root, capsys):
    truncate(write_run(root, "evolve-mnist-seed0"))
    write_run(root, "language-model", first=2)
    write_run(root, "compressed").write_bytes(
        _workbook.render([{"epoch": 1, "seconds": 1.0}], {"subcommand": "compress"})
    )
    found = "\n".join(problems(root, capsys))
    assert "cannot be read as Excel" in found
    assert "epoch 1 must stand here" in found
    assert "has no column 'loss'" in found


# repair


def annotate(path):
    """Does what people do to a workbook."""
    workbook = openpyxl.load_workbook(path)
    workbook["history"]["AZ1"] = "remarks"
    workbook["history"]["AZ3"] = "strange"
    workbook["history"].cell(workbook["history"].max_row + 1, 3, "so far")
    workbook.create_sheet("Notes")["A1"] = "to be shown"
    workbook.save(path)


def test_a_finished_test_that_people_wrote_into_is_finished(root, capsys):
    path = write(root / SMALL, "dim8")
    annotate(path)
    assert problems(root, capsys) == []
    assert run(root, "repair") == 0
    path = root / "finishedTests" / SMALL / "historyLogs" / "dim8.xlsx"
    assert openpyxl.load_workbook(path)["Notes"]["A1"].value == "to be shown"
    # The same cell without it says less, and none of both takes the other's place.
    other = write(root / SMALL, "dim8")
    with pytest.raises(Refusal, match="these files differ"):
        archived_tests.finish(root, root / SMALL)
    assert other.exists()


def test_links_lead_where_they_have_led(root, tmp_path):
    path = write(root / SMALL, "dim8")
    disk = tmp_path / "disk.xlsx"
    path.rename(disk)
    path.symlink_to(os.path.relpath(disk, path.parent))
    assert run(root, "repair") == 0
    target = root / "finishedTests" / SMALL / "historyLogs" / "dim8.xlsx"
    assert target.is_symlink() and target.resolve() == disk
    target.rename(path.with_name("dim8.xlsx") if path.parent.exists() else target)
    wider = SMALL.replace("8-11", "1-11")
    assert run(root, "merge", SMALL, wider) == 0
    target = root / "finishedTests" / wider / "historyLogs" / "dim8.xlsx"
    assert target.is_symlink() and read_history(target)[0]


def test_repair_does_what_is_safe(root, capsys):
    write(root / SMALL, "dim8")
    write(root / FULL, "dim8", epochs=2)
    diverged = SMALL.replace("Run2", "Run3")
    path = write(root / diverged, "dim8", val_loss=float("nan"))
    damaged = SMALL.replace("Run2", "Run4")
    truncate(write(root / damaged, "dim9"))
    misplaced = SMALL.replace("Run2", "Run5")
    write(root / "finishedTestsFullSet" / misplaced, "dim8")
    temporary = path.with_name(f".dim8.xlsx.{'0' * 16}.tmp")
    temporary.touch()
    old(temporary)
    before = sorted(root.rglob("*"))
    assert run(root, "repair", "--dry-run") == 0
    shown = capsys.readouterr().out.splitlines()
    assert sorted(root.rglob("*")) == before
    assert run(root, "repair") == 0
    done = capsys.readouterr().out.splitlines()
    assert shown == [f"would {line}" for line in done]
    assert len(done) == 5
    assert (root / "finishedTests" / SMALL).is_dir()
    assert (root / "finishedTests" / misplaced).is_dir()
    assert (root / FULL).is_dir()
    reason = (root / "wrongTests" / diverged / "reason.txt").read_text()
    assert "row 2: val_loss must be finite. Received: nan" in reason
    reason = (root / "wrongTests" / damaged / "reason.txt").read_text()
    assert "cannot be read as Excel" in reason
    assert not list(root.rglob("*.tmp"))
    assert run(root, "repair") == 0
    assert capsys.readouterr().out == ""
    assert run(root, "validate") == 0


def test_repair_leaves_a_test_alone_that_is_in_use(root, capsys):
    write(root / SMALL, "dim8")
    with claimed(root / SMALL):
        assert run(root, "repair") == 0
        assert (root / SMALL).is_dir()
    assert run(root, "repair") == 0
    assert (root / "finishedTests" / SMALL).is_dir()


def test_repair_goes_on_after_a_conflict(root, capsys):
    write(root / "finishedTests" / SMALL, "dim8")
    write(root / SMALL, "dim8", loss=0.25)
    other = SMALL.replace("Run2", "Run3")
    write(root / other, "dim8")
    assert run(root, "repair") == 1
    assert "these files differ" in capsys.readouterr().err
    assert (root / SMALL / "historyLogs" / "dim8.xlsx").exists()
    assert (root / "finishedTests" / other).is_dir()


# rename and merge


def test_rename_moves_a_test(root, capsys):
    write(root / "finishedTests" / SMALL, "dim9")
    wider = SMALL.replace("8-11", "1-101")
    assert run(root, "rename", SMALL, wider) == 0
    target = root / "finishedTests" / wider
    assert capsys.readouterr().out == f"{target}\n"
    assert (target / "historyLogs" / "dim9.xlsx").exists()
    assert not (root / "finishedTests" / SMALL).exists()


@pytest.mark.parametrize(
    "new, status, message",
    [
        (SMALL.replace("8-11", "9-11"), 2, "width of a cell must lie in 9-11"),
        (SMALL.replace("Run2", "Run3"), 2, "seed 2, and the name 3"),
        ("something", 2, "must have a name such as"),
        (FULL, 1, "there is a test of this name"),
    ],
)
def test_rename_refuses_what_the_logs_deny(root, capsys, new, status, message):
    write(root / SMALL, "dim8")
    write(root / "finishedTestsFullSet" / FULL, "dim8")
    before = sorted(root.rglob("*"))
    if status == 2:
        with pytest.raises(SystemExit) as error:
            run(root, "rename", SMALL, new)
        assert error.value.code == 2
    else:
        assert run(root, "rename", SMALL, new) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(root.rglob("*")) == before


def test_rename_of_an_unknown_or_ambiguous_test_is_wrong_input(root, capsys):
    write(root / SMALL, "dim8")
    write(root / "finishedTests" / SMALL, "dim8")
    for name, message in (("nothing", "must be a folder"), (SMALL, "by its folder")):
        with pytest.raises(SystemExit) as error:
            run(root, "rename", name, FULL)
        assert error.value.code == 2
        assert message in capsys.readouterr().err


def test_merge_makes_one_test_of_ranges_of_widths(root):
    first, second = SMALL, SMALL.replace("8-11", "11-13")
    write(root / first, "dim8")
    write(root / first, "dim9", tables=sample((1, 3)))
    write(root / second, "dim12", epochs=1)
    checkpoint = root / second / "checkpoints" / "dim12.keras"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"state")
    target = SMALL.replace("8-11", "8-13")
    assert run(root, "merge", first, second, target) == 0
    logs = sorted(path.name for path in (root / target / "historyLogs").iterdir())
    assert logs == ["dim12.xlsx", "dim8.xlsx", "dim9.xlsx"]
    merged = root / target / "historyLogs" / "dim9.xlsx"
    assert _workbook.read_tables(merged) == sample((1, 3))
    moved = root / target / "checkpoints" / "dim12.keras"
    assert moved.read_bytes() == b"state"
    assert sorted(os.listdir(root)) == [target]


def test_merge_makes_one_test_of_single_ranks(root, capsys):
    single = [RANKS.replace("1-5", f"{rank}-{rank + 1}") for rank in (2, 3)]
    for name in single:
        write(root / name, "dim8")
    assert run(root, "merge", *single, RANKS) == 0
    logs = sorted(path.name for path in (root / RANKS / "historyLogs").iterdir())
    assert logs == ["rank2.xlsx", "rank3.xlsx"]
    assert sorted(os.listdir(root)) == [RANKS]


def test_merge_takes_cells_of_another_archive(root, tmp_path):
    other = tmp_path / "other"
    write(root / "finishedTests" / SMALL, "dim8")
    write(other / SMALL, "dim9")
    assert run(root, "merge", other / SMALL, SMALL) == 0
    logs = root / "finishedTests" / SMALL / "historyLogs"
    assert sorted(path.name for path in logs.iterdir()) == ["dim8.xlsx", "dim9.xlsx"]
    assert not (other / SMALL).exists()


def test_merge_of_a_test_with_itself_keeps_it(root, tmp_path):
    path = write(root / SMALL, "dim8")
    (tmp_path / "link").symlink_to(root)
    assert run(root, "merge", tmp_path / "link" / SMALL, root / SMALL, SMALL) == 0
    assert read_history(path)[0]


def test_merge_moves_nothing_where_two_cells_differ(root, tmp_path, capsys):
    first = write(root / SMALL, "dim8")
    second = write(tmp_path / "other" / SMALL, "dim8", loss=0.25)
    third = write(tmp_path / "other" / SMALL, "dim9")
    assert run(root, "merge", tmp_path / "other" / SMALL, SMALL) == 1
    message = capsys.readouterr().err
    assert str(first) in message and str(second) in message
    assert second.exists() and third.exists()
    # Neither do two sources that would become one cell of a new test.
    wider = SMALL.replace("8-11", "1-11")
    words = (root / SMALL, tmp_path / "other" / SMALL, wider)
    assert run(root, "merge", *words) == 1
    assert first.exists() and second.exists() and third.exists()
    assert not (root / wider).exists()


@pytest.mark.parametrize(
    "source, target, message",
    [
        (SMALL, SMALL.replace("Run2", "Run3"), "differ only"),
        (SMALL, SMALL.replace("Noise20", "Noise40"), "differ only"),
        (SMALL, SMALL.replace("Rank4-5", "Tol20"), "differ only"),
        (SMALL, SMALL.replace("8-11", "9-20"), "width of a cell must lie in 9-20"),
        (SMALL, SMALL.replace("4-5", "1-5"), "one width or one rank"),
    ],
)
def test_merge_refuses_other_tests(root, capsys, source, target, message):
    path = write(root / source, "dim8")
    with pytest.raises(SystemExit) as error:
        run(root, "merge", source, target)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert path.exists()


def test_rename_and_merge_refuse_a_test_in_use(root, capsys):
    write(root / SMALL, "dim8")
    target = SMALL.replace("8-11", "1-11")
    with claimed(root / SMALL):
        assert run(root, "rename", SMALL, target) == 1
        assert run(root, "merge", SMALL, target) == 1
    assert capsys.readouterr().err.count("a process works on") == 2
    assert (root / SMALL).is_dir()


# convert


@pytest.mark.parametrize(
    "text, modern",
    [
        (SMALL, SMALL),
        ("TestDim1-301ep250batch256lr1e-3", "TestDim1-301ep250batch256lr0-001"),
        ("TestDim1-301ep250batch256lr0.001", "TestDim1-301ep250batch256lr0-001"),
        ("TestDim1-301ep250.0batch256lr1e-03", "TestDim1-301ep250batch256lr0-001"),
        (
            "TestDim1-301ep250batch256lr0-001Noise0.2Dataset0.1Run3",
            "TestDim1-301ep250batch256lr0-001Noise20Dataset10Run3",
        ),
        # In percent already.
        (
            "TestDim1-301ep250batch256lr0.001Noise20.0",
            "TestDim1-301ep250batch256lr0-001Noise20",
        ),
        (
            "TestDim1-301ep250batch256lr0-001Noise0-2",
            "TestDim1-301ep250batch256lr0-001Noise0-2",
        ),
        (
            "TestDim1-301ep250batch256lr0.001Dataset1.0Reg0.1",
            "TestDim1-301ep250batch256lr0-001Reg0-1",
        ),
        (
            "dlrt_rank10-11_sgd_test_dim1-301_ep250_batch256_lr0.001_l1l2reg0.001_run3",
            "DLRTRank10-11SGDTestDim1-301ep250batch256lr0-001L1L2Reg0-001Run3",
        ),
        (
            "DLRT Tol 0.2 Test Dim 1-301 ep 250 batch 256 lr 1e-3 Noise 0.2 Run-3",
            "DLRTTol20TestDim1-301ep250batch256lr0-001Noise20Run3",
        ),
        (
            "DLRT-Rank5-6-Test-Dim1-301-ep250-batch256-lr0-001-Noise20-Run-3",
            "DLRTRank5-6TestDim1-301ep250batch256lr0-001Noise20Run3",
        ),
        (
            "TestDim1-301ep250batch256lr0.001Noise20_3",
            "TestDim1-301ep250batch256lr0-001Noise20Run3",
        ),
        (
            "TestDim1-301ep250batch256lr0.001run3",
            "TestDim1-301ep250batch256lr0-001Run3",
        ),
    ],
)
def test_an_old_name_in_the_present_grammar(text, modern):
    assert old_names.modernize(text) == modern
    assert old_names.modernize(modern) == modern


@pytest.mark.parametrize(
    "text",
    [
        "",
        "results",
        "TestDim1-301ep250",
        "TestDim1-301ep2.5batch256lr0.001",
        "TestDim1-301ep250batch256lr0.001Noise1.0",
        "TestDim301-1ep250batch256lr0.001",
        "TestDim1-301ep250batch256lr1e9999999999999999999",
        "TestDim1-301ep250batch256lr0.001Drop0.5",
    ],
)
def test_a_text_without_meaning_has_no_modern_name(text):
    with pytest.raises(ValueError, match="Received"):
        old_names.modernize(text)


OLD_NAME = "dlrt_rank4-5_test_dim8-11_ep3_batch256_lr1e-3_noise0.2_dataset0.1_run2"
OLD_LOG = """\
loss_train;acc_train;loss_val;acc_val;loss_test;acc_test;rank1;rank2
2.5;0.25;2.25;0.125;2.0;0.5;4;4
1.5;0.5;nan;0.5;1.75;0.625;3;4
1,25;0.75;1.25;0.75;1.5;;2;4
"""


def write_old(root, stem="dim8", text=OLD_LOG):
    path = root / OLD_NAME / "historyLogs" / f"{stem}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_convert_writes_a_test_beside_old_logs(root, capsys):
    write_old(root, text=OLD_LOG.replace("nan", "1.5"))
    write_old(root, "results_dim9")
    before = sorted(root.rglob("*"))
    assert run(root, "convert", "--dry-run", root / OLD_NAME) == 0
    assert capsys.readouterr().out.count("would write") == 2
    assert sorted(root.rglob("*")) == before
    assert run(root, "convert", OLD_NAME) == 0
    logs = root / SMALL / "historyLogs"
    assert sorted(path.name for path in logs.iterdir()) == ["dim8.xlsx", "dim9.xlsx"]
    assert set(before) <= set(root.rglob("*"))
    rows, configuration = read_history(logs / "dim8.xlsx")
    assert rows[0] == {
        "epoch": 1,
        "seconds": None,
        "loss": 2.5,
        "accuracy": 0.25,
        "val_loss": 2.25,
        "val_accuracy": 0.125,
        "test_loss": 2.0,
        "test_accuracy": 0.5,
        "rank hidden_1": 4,
        "rank hidden_2": 4,
    }
    assert rows[2]["loss"] == 1.25 and rows[2]["test_accuracy"] is None
    assert configuration["learning_rate"] == 0.001
    assert configuration["seed"] == 2
    assert configuration["dim_layer"] == 8
    assert configuration["converted from"] == "dim8.csv"
    # What is done is not done again, and said.
    content = (logs / "dim8.xlsx").read_bytes()
    capsys.readouterr()
    assert run(root, "convert", OLD_NAME) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 and all("is there already" in line for line in shown)
    assert (logs / "dim8.xlsx").read_bytes() == content
    logs = archived_tests.ArchivedTest(root / SMALL, Place.ACTIVE).logs()
    assert [log.state for log in logs] == [State.FINISHED, State.DIVERGED]


def test_convert_copies_workbooks_under_old_names(root):
    path = write(root / SMALL, "dim8")
    content = path.read_bytes()
    (root / SMALL).rename(root / OLD_NAME)
    assert run(root, "convert", OLD_NAME) == 0
    copy = root / SMALL / "historyLogs" / "dim8.xlsx"
    assert copy.read_bytes() == content
    assert (root / OLD_NAME / "historyLogs" / "dim8.xlsx").read_bytes() == content


def test_convert_overwrites_nothing(root, capsys):
    path = write(root / SMALL, "dim8")
    content = path.read_bytes()
    write_old(root)
    assert run(root, "convert", OLD_NAME) == 1
    assert str(path) in capsys.readouterr().err
    assert path.read_bytes() == content


def test_convert_goes_on_behind_what_it_refuses(root, capsys):
    # The workbook stands beside the old log, whose folder has a modern name.
    own = root / SMALL / "historyLogs" / "dim8.csv"
    own.parent.mkdir(parents=True)
    own.write_text(OLD_LOG)
    (own.parent / "results.csv").write_text(OLD_LOG)
    (root / "results").mkdir()
    other = SMALL.replace("Run2", "Run3")
    last = root / other.lower() / "dim9.csv"
    last.parent.mkdir()
    last.write_text(OLD_LOG)
    words = [SMALL, root / "results", last.parent]
    for _ in range(2):
        assert run(root, "convert", *words) == 2
        first, second = capsys.readouterr().err.splitlines()
        assert "must have 'dim<number>'" in first and "results" in second
    found = {path.relative_to(root) for path in root.rglob("*.xlsx")}
    assert {str(path) for path in found} == {
        f"{SMALL}/historyLogs/dim8.xlsx",
        f"{other}/historyLogs/dim9.xlsx",
    }


def test_convert_leaves_nothing_out_in_silence(root, capsys):
    log = write_old(root)
    log.rename(log.with_suffix(".CSV"))
    assert run(root, "convert", OLD_NAME) == 0
    assert len(read_history(root / SMALL / "historyLogs" / "dim8.xlsx")[0]) == 3
    log.with_suffix(".CSV").rename(log.with_suffix(".txt"))
    assert run(root, "convert", OLD_NAME) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: there is no .csv or .xlsx file. Received: {log.parents[1]}"


@pytest.mark.parametrize("final", ["history_final_", "log2"])
def test_convert_takes_the_final_log_of_a_network(root, capsys, final):
    for name, lines in (("history_001_", 3), ("history_002_", 2), (final, 4)):
        path = write_old(root, name, "".join(OLD_LOG.splitlines(True)[:lines]))
    folder = root / OLD_NAME.replace("dim8-11", "dim8-9")
    (root / OLD_NAME).rename(folder)
    assert run(root, "convert", folder) == 0
    assert capsys.readouterr().out.count("is left out") == 2
    (goal,) = root.rglob("*.xlsx")
    rows, configuration = read_history(goal)
    assert len(rows) == 3 and configuration["converted from"] == path.name
    # Which of two is the final one can't be known.
    goal.unlink()
    (folder / "historyLogs" / f"{final}.csv").unlink()
    (folder / "a.csv").write_text(OLD_LOG.replace("0.5", "0.25"))
    (folder / "b.csv").write_text(OLD_LOG)
    assert run(root, "convert", folder) == 1
    assert "differ, and both are of one network" in capsys.readouterr().err


def test_old_logs_with_one_rank_more_than_their_first_line_names(root):
    path = write_old(root, text=OLD_LOG.replace(";4\n", ";4;5\n"))
    assert [row["rank hidden_3"] for row in old_csv.read(path)] == [5, 5, 5]
    path = write_old(root, text=OLD_LOG.replace("2;4\n", "2;4;5\n"))
    assert [row["rank hidden_3"] for row in old_csv.read(path)] == [None, None, 5]


@pytest.mark.parametrize(
    ("accuracies", "shares"),
    [
        (("0.5", "1.0000001", "1"), [0.5, 1.0000001, 1.0]),
        (("0.9", "50", "100"), [0.009, 0.5, 1.0]),
    ],
)
def test_the_unit_of_accuracies_is_that_of_most(root, accuracies, shares):
    path = write_old(root, text="\n".join(["acc_test", *accuracies]))
    found = [row["test_accuracy"] for row in old_csv.read(path)]
    assert found == pytest.approx(shares, rel=1e-12)


def test_a_last_line_that_was_cut_off_is_left_out(root):
    path = write_old(root, text=OLD_LOG + "1.0;0.9;1.0")
    assert [row["epoch"] for row in old_csv.read(path)] == [1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a;b\n1;2\n",
        OLD_LOG.replace("2.25;", ""),
        OLD_LOG.replace("2.25", "two"),
        OLD_LOG.replace(";4\n", ";4;4;4\n"),
        OLD_LOG.replace(";4\n", ";4;0.4\n"),
        OLD_LOG.replace("acc_val", "loss_val"),
        OLD_LOG.replace(";0.5;", ";50;"),
        OLD_LOG.replace("rank1", "epoch"),
    ],
)
def test_a_foreign_csv_file_is_refused(root, capsys, text):
    write_old(root, text=text)
    assert run(root, "convert", OLD_NAME) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Received" in line
    assert not list(root.rglob("*.xlsx"))


# The command line


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "subcommand"),
        (["tidy"], "invalid choice"),
        (["list", "--log-dir", "/nowhere"], "`--log-dir` must be a folder"),
        (["merge", "one"], "TARGET"),
        (["convert", "nothing"], "must be a folder of logs"),
    ],
)
def test_wrong_words_end_with_one_line(capsys, words, message):
    with pytest.raises(SystemExit) as error:
        archive.main(words)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_the_command_runs_by_itself(root):
    write(root / SMALL, "dim8")
    command = [sys.executable, "-m", "experiments.archive", "repair"]
    result = subprocess.run(
        [*command, "--log-dir", root], cwd=ROOT, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert (root / "finishedTests" / SMALL).is_dir()


# Files that can't be written


@contextlib.contextmanager
def largest_file(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("subcommand", ["convert", "thin"])
def test_a_workbook_that_cannot_be_written_is_named(root, tmp_path, capfd, subcommand):
    if subcommand == "convert":
        write_old(root)
        words, goal = [OLD_NAME], root / SMALL / "historyLogs" / "dim8.xlsx"
    else:
        write(root / "finishedTests" / SMALL, "dim8")
        goal = tmp_path / "small" / SMALL / "historyLogs" / "dim8.xlsx"
        words = [tmp_path / "small"]
    with largest_file(1000):
        assert run(root, subcommand, *words) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"error: {OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(goal))}"
    assert not list(goal.parent.iterdir())


# thin


def test_thin_keeps_some_epochs(root, tmp_path, capsys):
    long = SMALL.replace("ep3", "ep47")
    source = write(root / "finishedTests" / long, "dim8", epochs=47)
    write(root / SMALL, "dim8")
    target = tmp_path / "small"
    assert run(root, "thin", target, "--every", 20) == 0
    (copy,) = target.rglob("*.xlsx")
    assert copy == target / long / "historyLogs" / "dim8.xlsx"
    rows, configuration = read_history(source)
    expected = [row for row in rows if row["epoch"] in (*range(1, 11), 20, 40, 47)]
    assert read_history(copy) == (expected, configuration)
    # Nothing is overwritten.
    assert run(root, "thin", target) == 1
    with pytest.raises(SystemExit):
        run(root, "thin", target, "--every", 0)


def test_thin_keeps_further_sheets(root, tmp_path):
    long = SMALL.replace("ep3", "ep47")
    tables = sample(range(5, 48, 5)) | {"rare": [{"epoch": 19, "note": "x"}]}
    write(root / "finishedTests" / long, "dim8", epochs=47, tables=tables)
    assert run(root, "thin", tmp_path / "small", "--every", 20) == 0
    (copy,) = (tmp_path / "small").rglob("*.xlsx")
    assert _workbook.read_tables(copy) == sample((5, 10, 20, 40))
