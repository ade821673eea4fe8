"""Means, bands, thresholds and peaks are those of numbers known beforehand."""

import numpy as np
import pytest
from synthetic import IMAGES, parameters, rows_of, write_cell, write_sweep

from evaluation.collection import collect
from evaluation.series import cells_of, count_note, labels, pick, series_over
from evaluation.statistics import (
    final,
    highest_peak,
    interpolation_threshold,
    over_epochs,
    over_sizes,
    parameter_threshold,
    peak,
    summarise,
)

pytestmark = pytest.mark.tensorflow_only

WIDTHS = (5, 10, 20, 40, 80)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root)
    write_sweep(root, "DLRTRank5-6")
    write_sweep(root, "DLRTRank10-11", runs=(0, 1))
    return collect([root])


def test_mean_and_range():
    band = summarise(np.array([[1.0, np.nan, np.nan], [4.0, 2.0, np.nan]]))
    np.testing.assert_array_equal(band.mean, [2.5, 2.0, np.nan])
    np.testing.assert_array_equal(band.low, [1.0, 2.0, np.nan])
    np.testing.assert_array_equal(band.high, [4.0, 2.0, np.nan])
    np.testing.assert_array_equal(band.count, [2, 1, 0])


def test_standard_deviation_is_that_of_a_sample():
    band = summarise(np.array([[1.0], [2.0], [6.0], [np.nan]]), "std")
    deviation = np.std([1, 2, 6], ddof=1)
    np.testing.assert_allclose(
        [band.low, band.high], [[3 - deviation], [3 + deviation]]
    )
    single = summarise(np.array([[2.0]]), "std")
    assert single.low == single.high == 2.0
    with pytest.raises(ValueError, match="`kind` must be one of range, std.*'iqr'"):
        summarise(np.array([1.0]), "iqr")


def test_series_over_width(sweep):
    series = series_over("width", sweep)
    assert [item.label for item in series] == ["dense", "DLRT rank 5", "DLRT rank 10"]
    assert all(item.sizes == list(WIDTHS) for item in series)
    assert [len(item.cells[5].logs) for item in series] == [3, 3, 2]
    # Two ranks are two curves over width, not one over rank at every width.
    assert series_over("rank", sweep) == []


def test_final_values_over_width(sweep):
    dense = series_over("width", sweep)[0]
    band = over_sizes(dense, "test_loss")
    single = [[rows_of(w, None, s)[-1]["test_loss"] for w in WIDTHS] for s in (0, 1, 2)]
    np.testing.assert_allclose(band.mean, np.mean(single, axis=0))
    np.testing.assert_allclose(band.low, single[0])
    np.testing.assert_allclose(band.high, single[2])
    np.testing.assert_array_equal(band.count, [3] * 5)


def test_last_and_best_epoch(sweep):
    log = sweep.logs[0]
    rows = rows_of(log.width, log.rank, log.seed)
    assert final(log, "val_accuracy") == pytest.approx(rows[-1]["val_accuracy"])
    # It only falls.
    assert final(log, "val_accuracy", "best") == pytest.approx(rows[0]["val_accuracy"])


def test_mean_over_epochs_of_runs_of_different_length(tmp_path):
    test = "TestDim20-21ep6batch256lr0-001Run"
    write_cell(tmp_path, f"{test}0", 20)
    write_cell(tmp_path, f"{test}1", 20, rows=rows_of(20, None, 1)[:4])
    logs = collect([tmp_path], unfinished=True).logs
    epochs, band = over_epochs(logs, "loss")
    np.testing.assert_array_equal(epochs, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(band.count, [2, 2, 2, 2, 1, 1])
    losses = [[row["loss"] for row in rows_of(20, None, seed)] for seed in (0, 1)]
    np.testing.assert_allclose(band.mean[:4], np.mean(losses, axis=0)[:4])
    np.testing.assert_allclose(band.mean[4:], losses[0][4:])


def test_interpolation_threshold(sweep):
    # The training accuracy of these logs reaches 1 at their peak, width 20.
    assert [interpolation_threshold(s) for s in series_over("width", sweep)] == [20] * 3


def test_interpolation_threshold_that_is_never_reached(tmp_path):
    write_sweep(tmp_path, widths=(2, 4, 8), runs=(0,))
    (series,) = series_over("width", collect([tmp_path]))
    assert interpolation_threshold(series) is None
    assert parameter_threshold(series) is None


def test_parameter_threshold(sweep):
    dense, rank_5, _ = series_over("width", sweep)
    found = parameter_threshold(dense)
    assert 40 < found < 80
    # Parameters are almost a power of the width between two neighbours.
    assert parameters(found) == pytest.approx(10 * IMAGES, rel=0.03)
    # These have no more than 30,000 parameters.
    assert parameter_threshold(rank_5) is None


def test_peak_of_the_mean(sweep):
    dense = series_over("width", sweep)[0]
    found = peak(dense)
    means = over_sizes(dense, "test_loss").mean
    assert found.size == 20 and found.value == pytest.approx(means[2])
    assert found.prominence == pytest.approx(
        means[2] - max(means[:2].min(), means[3:].min())
    )
    assert found.spread == pytest.approx(0.02) and found.runs == (20, 20, 20)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 3, 2], (1, 1)),
        # What is higher on the left is beyond a valley of depth 2.
        ([9, 1, 3, 0], (2, 2)),
        ([9, 2, 3, 0], (2, 1)),
        ([1, 2, 1, 5, 1], (3, 4)),
        ([1, 3, 3, 2], (1, 1)),
        ([1, np.nan, 3, np.nan, 2], (2, 1)),
        ([1, 2, 3], None),
        ([3, 2, 1], None),
        ([2, 2, 2], None),
        ([1, np.nan, 3], None),
        ([np.nan] * 3, None),
        ([], None),
    ],
)
def test_highest_peak(values, expected):
    assert highest_peak(np.array(values, float)) == expected


def test_peaks_of_single_runs(tmp_path):
    for run, place in enumerate((10, 20, 20)):
        for width in WIDTHS:
            test = f"TestDim5-81ep6batch256lr0-001Run{run}"
            write_cell(tmp_path, test, width, rows=rows_of(width, None, 0, 6, place))
    (series,) = series_over("width", collect([tmp_path]))
    found = peak(series)
    assert found.size == 20 and found.runs == (10, 20, 20)


def test_labels_say_what_differs(tmp_path):
    for words in ("", "Noise20", "Noise20Dataset10", "SGD"):
        sgd, rest = ("SGD", "") if words == "SGD" else ("", words)
        test = f"{sgd}TestDim5-6ep6batch256lr0-001{rest}Run0"
        write_cell(tmp_path, test, 5)
    found = labels(cells_of(collect([tmp_path])))
    assert sorted(found) == [
        "dense, 10 % of the images, 20 % label noise, adam",
        "dense, 100 % of the images, 0 % label noise, adam",
        "dense, 100 % of the images, 0 % label noise, sgd",
        "dense, 100 % of the images, 20 % label noise, adam",
    ]


def test_series_over_rank(tmp_path):
    for rank in (2, 4, 8):
        test = "DLRTRank2-9TestDim40-41ep6batch256lr0-001Run0"
        write_cell(tmp_path, test, 40, rank, f"rank{rank}")
    (series,) = series_over("rank", collect([tmp_path]))
    assert (series.label, series.sizes, series.key.width) == ("DLRT", [2, 4, 8], 40)


def test_counts_of_runs_are_said(tmp_path):
    write_sweep(tmp_path, widths=(5, 10, 20))
    rows = rows_of(10)
    rows[-1]["test_loss"] = np.nan
    test = "TestDim5-21ep6batch256lr0-001Noise20Dataset10Run2"
    write_cell(tmp_path, test, 10, rows=rows)
    (series,) = series_over("width", collect([tmp_path]))
    note = count_note((f"width {size}", cell) for size, cell in series.cells.items())
    assert note == (
        "3 runs of each network, but 2 of width 10; not counted: width 10 (1 diverged)"
    )


def test_pick():
    assert pick([3, 1, 2, 2], 4) == [1, 2, 3]
    assert pick(range(1, 11), 4) == [1, 4, 7, 10]
    assert pick(range(1, 11), 4, [5, 99]) == [5]
