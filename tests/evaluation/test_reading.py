"""What a file says becomes a log, and what is wrong with it is named."""

import math
import zipfile

import numpy as np
import pytest
from synthetic import (
    adaptive_rows,
    configuration_of,
    parameters,
    rows_of,
    write,
    write_cell,
    write_sweep,
)

from evaluation.collection import collect, find
from evaluation.logs import Unusable
from evaluation.reading import read
from experiments.archive import command as archive
from experiments.runs import names

pytestmark = pytest.mark.tensorflow_only

TEST = "DLRTRank5-6TestDim1-301ep6batch256lr0-001Noise20Dataset10Run1"
ORIGINAL = "TestDim20-21ep3batch256lr0-001Dataset10Run0"


def problems_of(collection):
    return [
        (problem.path.name, problem.row, str(problem))
        for problem in collection.problems
    ]


def write_original(root, text, test=ORIGINAL):
    path = root / test / "historyLogs" / "dim20.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_workbook_of_a_sweep(tmp_path):
    log = read(write_cell(tmp_path, TEST, 20))
    assert (log.width, log.rank, log.seed, log.test) == (20, 5, 1, TEST)
    setting = log.setting
    assert setting.low_rank and setting.noise == 0.2 and setting.dataset_size == 0.1
    assert setting.integrator == "parallel_bug" and setting.epochs == 6
    assert setting.data == "MNIST 5K-1K, 20 % label noise"
    expected = rows_of(20, 5, 1)
    np.testing.assert_array_equal(log.epochs, [1, 2, 3, 4, 5, 6])
    for column in ("loss", "test_accuracy", "parameters prediction", "rank hidden_2"):
        np.testing.assert_allclose(
            log.column(column), [row[column] for row in expected]
        )
    assert log.ranks.shape == (6, 4) and (log.ranks == 5).all()
    assert not log.unfinished and log.diverged is None and log.remarks == ()


def test_rank_of_a_narrow_layer_is_that_of_the_test(tmp_path):
    log = read(write_cell(tmp_path, TEST, 3, rank=3))
    assert log.rank == 5 and (log.ranks == 3).all()


def test_workbook_over_ranks(tmp_path):
    test = "DLRTRank2-33TestDim40-41ep6batch256lr0-001Run0"
    log = read(write_cell(tmp_path, test, 40, rank=8, file="rank8"))
    assert (log.width, log.rank) == (40, 8)


def test_single_run_is_known_by_its_sheet(tmp_path):
    name = names.parse("TestDim1-2ep6batch256lr0-001Run4")
    configuration = configuration_of(name, 500, 20, subcommand="fixed-rank")
    path = tmp_path / "my-run" / "historyLogs" / "low-rank-4x500-mnist.xlsx"
    log = read(write(path, rows_of(500, 20), configuration))
    assert (log.width, log.rank, log.seed, log.test) == (500, 20, 4, "my-run")
    assert log.setting.low_rank and log.setting.subcommand == "fixed-rank"


def test_run_from_a_loaded_low_rank_network(tmp_path):
    name = names.parse("DLRTTestDim1-2ep6batch256lr0-001Run4")
    configuration = configuration_of(name, 500)
    log = read(write(tmp_path / "run" / "a.xlsx", rows_of(500, 20), configuration))
    assert log.setting.low_rank and log.rank is None and log.test == "run"


def test_adaptive_run_has_no_fixed_rank_but_spectra(tmp_path):
    test = "DLRTTol20TestDim30-31ep8batch256lr0-001Run0"
    log = read(write_cell(tmp_path, test, 30, rank=10, rows=adaptive_rows()))
    assert log.rank is None and log.setting.tolerance == 0.2
    assert list(log.spectra) == ["hidden_1", "hidden_2", "hidden_3"]
    assert [len(values) for values in log.spectra["hidden_1"]] == [
        10,
        9,
        8,
        7,
        6,
        5,
        4,
        4,
    ]
    np.testing.assert_allclose(
        log.spectra["hidden_2"][0][:2], [3.3, 3.3 * math.exp(-0.4)]
    )


def test_selected_epoch_has_the_final_ranks(tmp_path):
    test = "DLRTTol20TestDim30-31ep8batch256lr0-001Run0"
    log = read(write_cell(tmp_path, test, 30, rank=10, rows=adaptive_rows(end=6)))
    # Validation accuracy only falls; the ranks are the final ones from epoch 7 on.
    assert log.epochs[log.selected()] == 7


def test_files_of_the_original(tmp_path):
    path = write_original(
        tmp_path,
        "acc_train;loss_train;loss_val;acc_val;loss_test;acc_test\n"
        "0,5;1;1.5;0.25;2;0.5\n1;0.5;1.25;0.75;1;0.625\n1;0;2;1;3;0.75\n",
    )
    log = read(path)
    np.testing.assert_array_equal(log.epochs, [1, 2, 3])
    np.testing.assert_array_equal(log.column("accuracy"), [0.5, 1, 1])
    np.testing.assert_array_equal(log.column("test_loss"), [2, 1, 3])
    assert (log.width, log.rank, log.seed) == (20, None, 0)
    assert (log.column("parameters prediction") == parameters(20)).all()
    assert not log.unfinished and log.remarks == ()


def test_a_last_line_of_the_original_that_was_cut_off_is_left_out(tmp_path):
    text = "loss_train;acc_train\n1;0.5\n\n0.5;0.75\n0.2"
    log = read(write_original(tmp_path, text))
    np.testing.assert_array_equal(log.column("accuracy"), [0.5, 0.75])
    assert log.unfinished


def test_accuracies_of_a_diverged_run_of_the_original(tmp_path):
    text = "loss_train;acc_train\n1;nan\n1;0.5\n1;0.75\n"
    log = read(write_original(tmp_path, text))
    np.testing.assert_array_equal(log.column("accuracy"), [np.nan, 0.5, 0.75])


def test_ranks_and_percent_of_the_original(tmp_path):
    lines = [
        "loss_train;acc_test;rank1;rank2;rank3;rank4",
        "1;97;9;8;7;6",
        "1;98;5;5;5;5",
    ]
    test = "DLRTTol10TestDim20-21ep2batch256lr0-001Run0"
    log = read(write_original(tmp_path, "\n".join(lines), test))
    np.testing.assert_allclose(log.column("test_accuracy"), [0.97, 0.98])
    np.testing.assert_array_equal(log.ranks, [[9, 8, 7, 6], [5, 5, 5, 5]])
    assert log.column("parameters prediction")[1] == parameters(20, 5)
    assert "no column accuracy, val_loss, val_accuracy, test_loss" in log.remarks[0]


LINES = "loss_train;acc_test;rank1;rank2;rank3\n" + "1;0.5;9;8;7;6\n" * 3


@pytest.mark.parametrize(
    "method",
    ["", "DLRT", "DLRTTol10", "DLRTRank9-10"],
    ids=lambda name: name or "dense",
)
def test_converted_logs(tmp_path, method):
    test = method + ORIGINAL
    old = write_original(tmp_path, LINES, test)
    original = read(old)
    assert archive.main(["convert", str(tmp_path / test)]) == 0
    log = read(old.with_suffix(".xlsx"))
    assert log.setting == original.setting and log.rank == original.rank
    for name, values in original.columns.items():
        np.testing.assert_array_equal(log.column(name), values)
    assert log.column("parameters prediction")[0] > 0
    # Both are one network.
    assert len(collect([tmp_path]).logs) == 1


def test_the_final_of_several_logs_of_a_network(tmp_path):
    test = "TestDim20-21ep3batch256lr0-001"
    path = write_original(tmp_path, LINES + "1;0.5;9;8;7;6\n", test)
    path.rename(path.with_name("history_final_.csv"))
    for number in (1, 2):
        path.with_name(f"history_00{number}_.csv").write_text(LINES)
    collection = collect([tmp_path])
    (log,) = collection.logs
    assert len(log.epochs) == 4 and not collection.excluded
    left = [text for _, _, text in problems_of(collection) if "left out" in text]
    assert len(left) == 2 and all("history_final_.csv is of" in text for text in left)


@pytest.mark.parametrize(
    ("text", "row", "what"),
    [
        ("", 1, "names none of"),
        ("a;b\n1;2\n", 1, "names none of"),
        ("loss_train;acc_train\n1;2\n3\n", 3, "1 values stand under 2 names"),
        ("loss_train;acc_train\n1;many\n", 2, "'acc_train' reads 'many'"),
        ("loss_train;acc_train\n", None, "no epoch"),
    ],
)
def test_wrong_files_of_the_original(tmp_path, text, row, what):
    with pytest.raises(Unusable, match=what) as caught:
        read(write_original(tmp_path, text))
    assert caught.value.row == row


def test_files_that_are_no_logs_are_named_and_left_out(tmp_path):
    good = write_cell(tmp_path, TEST, 20)
    folder = good.parent
    (folder / "dim21.xlsx").write_bytes(b"")
    (folder / "dim22.xlsx").write_bytes(good.read_bytes()[:3000])
    (folder / "dim23.xlsx").write_bytes(b"PK, but no workbook")
    with zipfile.ZipFile(folder / "dim24.xlsx", "w") as archive:
        archive.writestr("a.txt", "a")
    write(folder / "dim25.xlsx", [], configuration_of(names.parse(TEST), 25, 5))
    collection = collect([tmp_path])
    assert [log.width for log in collection.logs] == [20]
    reasons = {name: text for name, _, text in problems_of(collection)}
    assert sorted(reasons) == [f"dim{width}.xlsx" for width in (21, 22, 23, 24, 25)]
    assert "the file is empty" in reasons["dim21.xlsx"]
    for name in ("dim22.xlsx", "dim23.xlsx", "dim24.xlsx"):
        assert "cannot be read as Excel" in reasons[name]
    assert "no epoch yet" in reasons["dim25.xlsx"]
    assert all("left out" in text for text in reasons.values())


def test_missing_columns_and_cells_are_named_and_used(tmp_path):
    rows = rows_of(20, 5)
    for row in rows:
        del row["test_loss"]
    rows[2]["val_loss"] = rows[4]["val_loss"] = None
    write_cell(tmp_path, TEST, 20, rows=rows)
    collection = collect([tmp_path])
    (log,) = collection.logs
    assert np.isnan(log.column("test_loss")).all()
    texts = [text for _, _, text in problems_of(collection)]
    assert len(texts) == 2
    assert "it has no column test_loss; it is used" in texts[0]
    assert "row 4, 6: no number in 'val_loss'" in texts[1]


def test_text_in_place_of_a_number_names_the_row(tmp_path):
    rows = rows_of(20, 5)
    rows[3]["accuracy"] = "good"
    write_cell(tmp_path, TEST, 20, rows=rows)
    ((name, row, text),) = problems_of(collect([tmp_path]))
    assert (name, row) == ("dim20.xlsx", 5) and "'accuracy' reads 'good'" in text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_diverged_run_is_in_no_mean(tmp_path, value):
    rows = rows_of(20, 5)
    rows[4]["loss"] = value
    write_cell(tmp_path, TEST, 20, rows=rows)
    write_cell(tmp_path, TEST, 30)
    collection = collect([tmp_path])
    assert [log.width for log in collection.logs] == [30]
    assert [(log.width, log.diverged) for log in collection.excluded] == [(20, 5)]
    ((_, _, text),) = problems_of(collection)
    assert "a loss of epoch 5 is not finite" in text


def test_unfinished_run(tmp_path):
    write_cell(tmp_path, TEST, 20, rows=rows_of(20, 5)[:4])
    collection = collect([tmp_path])
    assert not collection.logs
    assert [log.state for log in collection.excluded] == ["unfinished"]
    ((_, _, text),) = problems_of(collection)
    assert "it ends at epoch 4 of 6" in text and "--unfinished" in text
    assert len(collect([tmp_path], unfinished=True).logs) == 1


def test_end_of_a_fine_tuned_run(tmp_path):
    rows = rows_of(20, 5, epochs=5)
    for row, phase in zip(rows, ["adaptive"] * 3 + ["fixed"] * 2, strict=True):
        row["phase"] = phase
    changes = {"tolerance": 0.1, "fine_tune_epochs": 2, "epochs": 25}
    configuration = configuration_of(names.parse(TEST), 20, 5, **changes)
    path = tmp_path / "run" / "historyLogs" / "a.xlsx"
    # Ranks settled after 3 epochs of 25 at most.
    assert not read(write(path, rows, configuration)).unfinished
    assert read(write(path, rows[:4], configuration)).unfinished


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"dim_layer": 21}, "dim_layer 21, unlike the 20"),
        ({"noise": 0.3}, "noise 0.3, unlike the 0.2"),
        ({"epochs": 7}, "epochs 7, unlike the 6"),
        ({"start_rank": None}, "a dense network"),
    ],
)
def test_sheet_that_contradicts_the_name(tmp_path, changes, what):
    with pytest.raises(Unusable, match=what):
        read(write_cell(tmp_path, TEST, 20, **changes))


def test_widths_outside_of_the_test(tmp_path):
    with pytest.raises(Unusable, match="width 400 is not one of those"):
        read(write_cell(tmp_path, TEST, 400))
    with pytest.raises(Unusable, match="tells the width"):
        read(write_cell(tmp_path, TEST, 20, file="net"))


def test_name_that_is_almost_one(tmp_path):
    configuration = configuration_of(names.parse(TEST), 20, 5)
    path = tmp_path / "TestDim1-301ep6Run0" / "historyLogs" / "dim20.xlsx"
    log = read(write(path, rows_of(20, 5), configuration))
    assert log.width == 20 and "is no name of a test" in log.remarks[0]
    del configuration["dim_layer"]
    with pytest.raises(Unusable, match="no name of a test.*no `dim_layer`"):
        read(write(path, rows_of(20, 5), configuration))


def test_run_with_another_seed_than_its_number(tmp_path):
    log = read(write_cell(tmp_path, TEST, 20, seed=7))
    assert log.seed == 7 and log.remarks == ("its seed is 7, although it is run 1",)


def test_duplicates_are_left_out_and_named(tmp_path):
    write_cell(tmp_path / "finishedTests", TEST, 20)
    write_cell(tmp_path, TEST.replace("Run1", "Run2"), 20, seed=1)
    write_cell(tmp_path, TEST.replace("Run1", "Run3"), 20)
    collection = collect([tmp_path])
    assert sorted(log.seed for log in collection.logs) == [1, 3]
    texts = [text for _, _, text in problems_of(collection) if "left out" in text]
    assert len(texts) == 1 and "the setting, the network and the seed of" in texts[0]


def test_where_logs_are_found(tmp_path):
    inside = write_cell(tmp_path / "finishedTestsFullSet", TEST, 20)
    growing = write_cell(tmp_path, TEST, 30)
    (inside.parent / "~$dim20.xlsx").write_bytes(b"open in a spreadsheet program")
    (inside.parent / ".dim20.xlsx.0123.tmp").write_bytes(b"half")
    for name in ("._dim20.xlsx", "~dim20.xlsx", ".~lock.dim20.xlsx#", "Thumbs.db"):
        (inside.parent / name).write_bytes(b"of another program")
    (inside.parent / "notes.txt").write_text("a")
    assert sorted(find([tmp_path])) == sorted([inside, growing])
    for path in (inside, inside.parent, inside.parent.parent):
        assert find([path, inside.parents[2]]) == [inside]


def test_failed_training_is_named_with_its_reason(tmp_path):
    write_cell(tmp_path / "finishedTests", TEST, 20)
    for width in (30, 40):
        wrong = write_cell(tmp_path / "wrongTests", TEST, width)
    note = "dim3: another\ndim30: The loss became inf at epoch 6, step 2\n"
    (wrong.parents[1] / "reason.txt").write_text(note)
    collection = collect([tmp_path])
    assert [log.width for log in collection.logs] == [20]
    assert [(log.width, log.state) for log in collection.excluded] == [
        (30, "failed"),
        (40, "failed"),
    ]
    first, second = (text for _, _, text in problems_of(collection))
    assert "its training failed: The loss became inf at epoch 6, step 2; it is" in first
    assert "its training failed: it lies in wrongTests; it is in no mean" in second


def test_no_logs(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no log in .*historyLogs"):
        find([tmp_path])
    with pytest.raises(FileNotFoundError, match="no file or folder .*nowhere"):
        find([tmp_path / "nowhere"])


def test_sweep_is_read_in_the_order_of_widths(tmp_path):
    write_sweep(tmp_path, widths=(5, 10, 100), runs=(0,))
    assert [log.width for log in collect([tmp_path]).logs] == [5, 10, 100]
