"""Figures show the numbers of the logs, and say of how many runs."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.image import imread
from synthetic import (
    adaptive_rows,
    configuration_of,
    rows_of,
    write,
    write_cell,
    write_sweep,
)

from evaluation import adaptive, curves, distributions, maps, published, style, tables
from evaluation.collection import collect
from evaluation.figures import Options, plan
from evaluation.series import cells_of, count_note, labels, series_over, uneven
from evaluation.statistics import over_runs, over_sizes
from experiments.runs import names

pytestmark = pytest.mark.tensorflow_only

WIDTHS = (5, 10, 20, 40, 80)
ADAPTIVE = "DLRTTol20TestDim30-31ep8batch256lr0-001Run0"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root, widths=WIDTHS)
    write_sweep(root, "DLRTRank5-6", widths=WIDTHS, runs=(0, 1))
    return collect([root])


@pytest.fixture(scope="module")
def adaptive_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("adaptive")
    write_cell(root, ADAPTIVE, 30, rank=10, rows=adaptive_rows())
    return collect([root])


def note_of(figure):
    return " ".join(figure.get_supxlabel().split())


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def panel_of(figure, title):
    (panel,) = [axes for axes in figure.axes if axes.get_title() == title]
    return panel


def curves_of(panel):
    """The lines with markers; the others mark thresholds and references."""
    return [line for line in panel.lines if line.get_marker() not in ("None", "", None)]


def names_of(collection, **options):
    return [drawing.name for drawing in plan(collection, Options(**options))]


def test_which_figures_a_sweep_gives(sweep):
    names = names_of(sweep)
    data = "mnist-5k-1k-20-label-noise"
    assert names == [
        "curves-width",
        "curves-parameters",
        *(f"epochs-width-{width}" for width in WIDTHS),
        f"map-width-test-loss-{data}",
        f"map-width-test-accuracy-{data}",
        "rain-clouds",
    ]
    assert names_of(sweep, kinds=["maps"]) == names[-3:-1]
    chosen = names_of(sweep, kinds=["epochs"], widths=[10, 40, 77])
    assert chosen == ["epochs-width-10", "epochs-width-40"]


def test_which_figures_an_adaptive_run_gives(adaptive_run):
    assert names_of(adaptive_run) == [
        "epochs-width-30",
        "ranks-dlrt-tolerance-0.2-width-30",
        "singular-values-dlrt-tolerance-0.2-width-30",
        "accuracy-parameters-published",
    ]


def test_curves_over_width(sweep):
    series = series_over("width", sweep)
    figure = curves.against_size(series)
    dense, low_rank = curves_of(panel_of(figure, "test accuracy"))
    band = over_sizes(series[1], "test_accuracy")
    np.testing.assert_array_equal(dense.get_xdata(), WIDTHS)
    np.testing.assert_allclose(low_rank.get_ydata(), 100 * band.mean)
    for panel in figure.axes:
        # Both interpolate from width 20 on; only the dense ones get enough parameters.
        dashes = [
            line.get_linestyle() for line in panel.lines if len(line.get_xdata()) == 2
        ]
        assert sorted(dashes) == ["--", "--", ":"]
        assert panel.get_xscale() == "log"
    assert legend_of(figure) == [
        "dense",
        "DLRT rank 5",
        "training accuracy reaches 99 %",
        "parameters = training images × classes",
    ]
    note = note_of(figure)
    assert "range (min–max)" in note and "Values of the last epoch" in note
    assert "2 of DLRT rank 5 at width 5, DLRT rank 5 at width 10" in note


def test_band_reaches_from_the_smallest_to_the_largest_run(sweep):
    series = series_over("width", sweep)[:1]
    panel = panel_of(curves.against_size(series), "test loss")
    (shade,) = panel.collections
    heights = shade.get_paths()[0].vertices[:, 1]
    finals = [rows_of(w, None, s)[-1]["test_loss"] for w in WIDTHS for s in (0, 1, 2)]
    assert heights.min() == pytest.approx(min(finals))
    assert heights.max() == pytest.approx(max(finals))


def test_curves_over_parameters(sweep):
    figure = curves.against_parameters(series_over("width", sweep), "std", "best")
    dense = curves_of(panel_of(figure, "training loss"))[0]
    counts = [rows_of(width)[0]["parameters prediction"] for width in WIDTHS]
    np.testing.assert_array_equal(dense.get_xdata(), counts)
    marks = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in marks] == [40_000]
    assert "standard deviation" in note_of(figure)
    assert "best validation accuracy" in note_of(figure)


def test_curves_over_rank_beside_the_dense_network(tmp_path):
    for rank in (2, 4, 8):
        test = "DLRTRank2-9TestDim40-41ep6batch256lr0-001Run0"
        write_cell(tmp_path, test, 40, rank, f"rank{rank}")
    write_cell(tmp_path, "TestDim40-41ep6batch256lr0-001Run0", 40)
    (drawing, *_) = plan(collect([tmp_path]))
    assert drawing.name == "curves-rank"
    figure = drawing.draw()
    (reference,) = [
        line
        for line in panel_of(figure, "test loss").lines
        if line.get_color() == "black"
    ]
    assert reference.get_ydata()[0] == pytest.approx(rows_of(40)[-1]["test_loss"])
    assert "dense" in legend_of(figure)


def test_column_that_no_log_has(tmp_path):
    for width in (5, 10):
        rows = [
            {k: v for k, v in row.items() if k != "test_loss"} for row in rows_of(width)
        ]
        write_cell(tmp_path, "TestDim5-11ep6batch256lr0-001Run0", width, rows=rows)
    collection = collect([tmp_path])
    figure = curves.against_size(series_over("width", collection))
    panel = panel_of(figure, "test loss")
    assert [text.get_text() for text in panel.texts] == ["not in the logs"]
    assert [name for name in names_of(collection) if name.startswith("map")] == [
        "map-width-test-accuracy-mnist"
    ]


def test_course_of_training(sweep):
    cells = [(key.setting.low_rank, cell) for key, cell in cells_of(sweep).items()]
    figure = curves.against_epoch(
        [(str(name), cell) for name, cell in cells[:2]], "title"
    )
    line = curves_of(panel_of(figure, "training loss"))[0]
    losses = [[row["loss"] for row in rows_of(5, None, seed)] for seed in (0, 1, 2)]
    np.testing.assert_allclose(line.get_ydata(), np.mean(losses, axis=0))
    assert note_of(figure).endswith("3 runs of each network.")


def test_map_over_epoch_and_width(sweep):
    dense = series_over("width", sweep)[0]
    epochs, sizes, values = maps.grid(dense, "test_loss")
    assert list(epochs) == [1, 2, 3, 4, 5, 6] and list(sizes) == list(WIDTHS)
    expected = [
        np.mean(
            [[row["test_loss"] for row in rows_of(w, None, s)] for s in (0, 1, 2)], 0
        )
        for w in WIDTHS
    ]
    np.testing.assert_allclose(values, expected)
    figure = maps.epoch_map([dense], "test_loss")
    mesh = figure.axes[0].collections[0]
    np.testing.assert_allclose(mesh.get_array().ravel(), values.ravel())
    assert "3 runs of each network" in note_of(figure)
    assert "training accuracy 99 %" in note_of(figure)


def test_map_of_very_different_values(tmp_path):
    for width, factor in ((5, 1.0), (10, 100.0)):
        rows = [
            row | {"test_loss": factor * row["test_loss"]} for row in rows_of(width)
        ]
        write_cell(tmp_path, "TestDim5-11ep6batch256lr0-001Run0", width, rows=rows)
    figure = maps.epoch_map(series_over("width", collect([tmp_path])), "test_loss")
    assert isinstance(figure.axes[0].collections[0].norm, LogNorm)


def test_edges_between_centres():
    np.testing.assert_allclose(maps.edges([1, 2, 4]), [0.5, 1.5, 3, 5])
    np.testing.assert_allclose(maps.edges([1, 4, 16], ratio=True), [0.5, 2, 8, 32])
    np.testing.assert_allclose(maps.edges([3]), [2.5, 3.5])


def test_density_is_one_and_symmetric():
    values = np.array([1.0, 2.0, 3.0])
    places = np.linspace(-10, 14, 4001)
    cloud = distributions.density(values, places)
    assert np.trapezoid(cloud, places) == pytest.approx(1)
    np.testing.assert_allclose(cloud, cloud[::-1], atol=1e-12)
    assert places[np.argmax(cloud)] == pytest.approx(2, abs=0.01)


def test_density_ends_where_values_can_not_be():
    values = np.array([0.2, 0.5, 1.0, 3.0])
    places = np.linspace(0, 20, 4001)
    cloud = distributions.density(values, places, (0.0, np.inf))
    assert np.trapezoid(cloud, places) == pytest.approx(1)


def test_rain_clouds(tmp_path):
    accuracies = {"a": (1, 0.999, 0.99, 0.97, 0.9), "b": (1, 1, 1, 0.9, 0.9)}
    write_sweep(tmp_path, widths=(5,), runs=range(5))
    for number, width in enumerate((20, 40)):
        for run, accuracy in enumerate(list(accuracies.values())[number]):
            rows = rows_of(width, None, run)
            rows[-1] |= {"test_accuracy": accuracy, "test_loss": 1.0001 - accuracy}
            test = f"TestDim5-41ep6batch256lr0-001Noise20Dataset10Run{run}"
            write_cell(tmp_path, test, width, rows=rows)
    cells = list(cells_of(collect([tmp_path])).values())
    figure = distributions.rain_clouds(
        [("width 20", [("a", cells[1]), ("b", cells[2])])], "title"
    )
    for panel, bounds in zip(figure.axes, ((0, 100), (0, np.inf)), strict=True):
        drops = curves_of(panel)
        assert [len(line.get_xdata()) for line in drops] == [5, 5]
        # Two values have no cloud, however often they come.
        (cloud,) = panel.collections
        places = cloud.get_paths()[0].vertices[:, 0]
        assert places.min() >= bounds[0] and places.max() <= bounds[1]
    expected = [100 * accuracy for accuracy in accuracies["a"]]
    np.testing.assert_allclose(curves_of(figure.axes[0])[0].get_xdata(), expected)
    assert "from 5 different values on a cloud" in note_of(figure)
    assert note_of(figure).endswith("5 runs of each network.")


def test_runs_that_differ_are_said_to(tmp_path):
    test = "TestDim20-41ep6batch256lr0-001Noise20Dataset10Run{}"
    write_cell(tmp_path, test.format(0), 20, rows=rows_of(20, None, 0)[:3])
    write_cell(tmp_path, test.format(1), 20, patience=3)
    write_cell(tmp_path, test.format(2), 20, patience=4)
    write_cell(tmp_path, test.format(0), 40)
    collection = collect([tmp_path], unfinished=True)
    said = "last epochs other than planned: {0} (3, 6); settings in which runs differ: "
    said += "{0} (patience)"
    (note,) = uneven(collection)
    assert said.format("width 20") in note
    drawings = {drawing.name: drawing for drawing in plan(collection)}
    for name, cell in {
        "epochs-width-20": "dense",
        "curves-width": "dense at width 20",
    }.items():
        assert said.format(cell) in note_of(drawings[name].draw())
    results = tables.results(collection)
    place = results.header.index("epochs")
    assert [row[place] for row in results.rows] == ["3–6", "6"]


@pytest.mark.parametrize(
    "change",
    [
        *({"epochs": 12}, {"learning_rate": 1e-2}, {"optimizer": "sgd"}),
        *({"fine_tune_epochs": 3}, {"max_rank": 7}, {"val_size": 0.5}),
        *({"schedule": "cosine"}, {"dataset": "digits"}, {"load_model": "a.keras"}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_mean_mixes_runs_without_a_word(tmp_path, change):
    name = names.parse("DLRTRank5-6TestDim20-21ep6batch256lr0-001Run0")
    for seed, changes in enumerate(({"load_model": "b.keras"}, change)):
        shared = {"max_rank": 5, "fine_tune_epochs": 1, "val_size": 0.1, "seed": seed}
        configuration = configuration_of(name, 20, 5, **shared | changes)
        epochs = configuration["epochs"] + configuration["fine_tune_epochs"]
        path = tmp_path / f"run{seed}" / "historyLogs" / "a.xlsx"
        write(path, rows_of(20, 5, seed, epochs), configuration)
    cells = cells_of(collect([tmp_path]))
    (key,) = change
    if key == "load_model":
        (cell,) = cells.values()
        assert "differ: net (load_model)" in count_note([("net", cell)])
    else:
        first, second = labels(cells)
        assert first != second


def test_references_and_series_of_different_lengths(tmp_path):
    ranks = "DLRTRank5-21TestDim40-41ep{}batch256lr0-001Run0"
    for rank in (5, 10, 20):
        file = f"rank{rank}"
        write_cell(tmp_path, ranks.format(12), 40, rank, file, rows_of(40, rank, 0, 12))
    write_cell(tmp_path, "TestDim40-41ep6batch256lr0-001Run0", 40)
    collection = collect([tmp_path])
    (figure,) = (d.draw() for d in plan(collection) if d.name == "curves-rank")
    assert {"DLRT, 12 epochs", "dense, 6 epochs"} <= set(legend_of(figure))
    published = [d.draw() for d in plan(collection, Options(kinds=["published"]))]
    shown = set(legend_of(published[0]))
    assert {"DLRT, 12 epochs, width 40", "dense, 6 epochs, width 40"} <= shown


def test_bands_end_where_values_can_not_be(tmp_path):
    for seed, accuracy in enumerate((0.7, 1.0, 1.0)):
        rows = rows_of(20, None, seed)
        rows[-1] |= {"test_accuracy": accuracy, "test_loss": 1 - accuracy}
        test = f"TestDim20-41ep6batch256lr0-001Noise20Dataset10Run{seed}"
        write_cell(tmp_path, test, 20, rows=rows)
    (cell,) = cells_of(collect([tmp_path])).values()
    band = over_runs(cell, "test_accuracy", "std")
    assert band.low == pytest.approx(0.9 - 0.3 / 3**0.5) and band.high == 1
    assert over_runs(cell, "test_loss", "std").low == 0


def test_no_clouds_of_single_runs(adaptive_run):
    assert "rain-clouds" not in names_of(adaptive_run)


def test_rank_evolution(adaptive_run):
    (cell,) = cells_of(adaptive_run).values()
    figure = adaptive.rank_evolution(cell, "title")
    lines = curves_of(figure.axes[0])
    assert [line.get_label() for line in lines] == [f"hidden_{n}" for n in (1, 2, 3, 4)]
    np.testing.assert_array_equal(lines[0].get_ydata(), [10, 9, 8, 7, 6, 5, 4, 4])
    assert note_of(figure).endswith("1 run.")


def test_singular_values(adaptive_run):
    (log,) = adaptive_run.logs
    values = adaptive.table(log.spectra["hidden_1"])
    assert values.shape == (8, 10) and np.isnan(values[7]).sum() == 6
    figure = adaptive.singular_values(log, "title")
    panel = panel_of(figure, "hidden_1")
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), values[:, 0])
    assert panel.get_yscale() == "log" and "seed 0" in note_of(figure)


def test_published_points_only_beside_the_same_data(sweep, adaptive_run):
    assert not published.comparable(cells_of(sweep))
    cells = published.comparable(cells_of(adaptive_run))
    figure = published.accuracy_against_parameters(cells)
    ours = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    rows = adaptive_rows()
    # The first epoch at the final ranks, for validation accuracy only falls.
    assert ours[0].get_xdata()[0] == rows[-1]["parameters prediction"]
    assert ours[0].get_ydata()[0] == pytest.approx(100 * rows[-1]["test_accuracy"])
    assert "DLRT adaptive, width 30, 8 epochs" in legend_of(figure)


def test_files(sweep, tmp_path):
    (drawing,) = plan(sweep, Options(kinds=["clouds"]))
    files = style.save(drawing.draw(), tmp_path / "new", drawing.name, ("png", "pdf"))
    assert files == sorted((tmp_path / "new").iterdir(), reverse=True)
    image = imread(files[0])
    assert image.shape[1] == 1600 and image[..., :3].std() > 0.01
    assert files[1].read_bytes().startswith(b"%PDF-")
    again = style.encode(drawing.draw(), "png")
    assert again == files[0].read_bytes()


def test_many_series_are_split(tmp_path):
    for rank in range(1, 10):
        method = f"DLRTRank{rank}-{rank + 1}"
        write_sweep(tmp_path, method, widths=(20, 40), runs=(0,), epochs=2)
    names = names_of(collect([tmp_path]), kinds=["curves"])
    data = "mnist-5k-1k-20-label-noise"
    assert names[:2] == [f"curves-width-{data}-1", f"curves-width-{data}-2"]


def test_epochs_and_clouds_are_apart_for_each_data_set(tmp_path):
    write_sweep(tmp_path, widths=(5, 10), runs=(0, 1))
    for run in (0, 1):
        write_cell(tmp_path, f"TestDim10-11ep6batch256lr0-001Run{run}", 10)
    collection = collect([tmp_path])
    noisy = "mnist-5k-1k-20-label-noise"
    assert names_of(collection, kinds=["epochs", "clouds"]) == [
        "epochs-width-10-mnist",
        f"epochs-width-5-{noisy}",
        f"epochs-width-10-{noisy}",
        "rain-clouds-mnist",
        f"rain-clouds-{noisy}",
    ]


def test_maps_of_different_grids_have_one_vertical_axis(tmp_path):
    write_sweep(tmp_path, widths=(2, 10, 20), runs=(0,))
    write_sweep(tmp_path, "DLRTRank5-6", widths=(10, 20), runs=(0,))
    series = series_over("width", collect([tmp_path]))
    figure = maps.epoch_map(series, "test_loss")
    first, second = figure.axes[:2]
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[0] < 2
    assert second.get_yscale() == "log"
