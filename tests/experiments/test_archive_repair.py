"""`repair`, `rename` and `merge` move tests and lose nothing."""

import os

import openpyxl
import pytest
from archives import (
    FULL,
    RANKS,
    SMALL,
    claimed,
    old,
    problems,
    run,
    sample,
    truncate,
    write,
)

from dlrt.callbacks import read_history
from dlrt.history import workbook as _workbook
from experiments.archive import archived_tests
from experiments.archive.moves import Refusal

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture
def root(tmp_path):
    return tmp_path / "logs"


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
