"""What an archive is made of, and the commands that list and thin it."""

import contextlib
import errno
import multiprocessing
import os
import resource
import subprocess
import sys

import pytest
from archives import (
    FULL,
    OLD_NAME,
    ROOT,
    SMALL,
    problems,
    run,
    sample,
    truncate,
    write,
    write_old,
)

from dlrt.callbacks import read_history
from dlrt.history import workbook as _workbook
from dlrt_names.log_schema import METRICS
from experiments.archive import archived_tests
from experiments.archive import command as archive
from experiments.archive import table as _archive_table
from experiments.archive.archived_tests import Place
from experiments.archive.moves import Refusal
from experiments.runs import log_format, names

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture
def root(tmp_path):
    return tmp_path / "logs"


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
