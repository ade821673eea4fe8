"""`convert` reads old names and old logs."""

import pytest
from archives import OLD_LOG, OLD_NAME, SMALL, run, write, write_old

from dlrt.callbacks import read_history
from experiments.archive import archived_tests, old_csv, old_names
from experiments.archive.archived_logs import State
from experiments.archive.archived_tests import Place

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture
def root(tmp_path):
    return tmp_path / "logs"


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
