"""Logs of networks for images become figures and tables of their own."""

import csv
import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from pictures import (
    LAYERS,
    WHOLE,
    falling,
    layers_of,
    measured,
    metrics,
    write_compression,
    write_run,
    write_study,
)
from synthetic import write_sweep
from translation import write_run as write_transformer

from evaluation import __main__ as command
from evaluation import image_curves, image_tables
from evaluation.collection import collect
from evaluation.figures import Options, plan
from evaluation.image_runs import families, lines, names, networks, points, stages

pytestmark = pytest.mark.tensorflow_only

LABELS = [
    "dense",
    "DLRT fixed, rank 6,12,7,6",
    "DLRT adaptive, tolerance 0.3",
    *("alds, ratio 4", "alds, ratio 8", "svd, ratio 4"),
    "evolve, 12,500 parameters",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    write_study(root)
    return root


@pytest.fixture(scope="module")
def study(folder):
    return collect([folder])


@pytest.fixture(scope="module")
def cells(study):
    return networks(study.images)


def named(collection):
    return names(list(networks(collection.images)))


def problem_of(root):
    (problem,) = collect([root]).problems
    return str(problem)


# --- Reading


def test_networks_of_a_study(study, cells):
    assert study.problems == study.logs == study.transformers == ()
    assert names(list(cells)) == LABELS
    assert list(families(cells)) == [("lenet5", "MNIST")]
    assert [len(cell.logs) for cell in cells.values()] == [2, 1, 1, 2, 2, 2, 1]
    log = list(cells.values())[3].logs[1]
    assert log.seed == 1 and log.width is None and log.rank is None
    assert [layer["name"] for layer in log.layers] == list(LAYERS)
    assert log.tests == measured(4, 0.8, seed=1)


def test_names_say_how_networks_differ(tmp_path):
    write_run(tmp_path, "dense", name="a", augment=True)
    write_run(tmp_path, "dense", name="b", learning_rate=0.1)
    write_run(tmp_path, "decomposed", name="c", sparsity=0.2, scheme="separable")
    write_compression(tmp_path, train=False, tests=False)
    write_compression(tmp_path, name="d", scheme="separable")
    ranks = {"budget": "ranks {'conv_1': 8, 'conv_2': (16, 20)}", "allocation": "error"}
    write_compression(tmp_path, "tucker", name="e", **ranks)
    write_compression(tmp_path, "dlrt", 4, name="f", tolerance=0.5, epochs=2)
    assert named(collect([tmp_path])) == [
        "dense, learning rate 0.001, augmented",
        "dense, learning rate 0.1",
        "singular values",
        "alds, ratio 4, not fine-tuned",
        "alds, ratio 4, 3 epochs, separable",
        "dlrt adaptive, ratio 4, tolerance 0.5, 2 epochs",
        "tucker, ranks conv_1=8,conv_2=(16,20), 3 epochs, by error",
    ]


def test_methods_are_named_without_what_makes_networks_small(cells):
    epochs, tuning = ", 4 epochs", ", 3 epochs of fine-tuning"
    assert lines(list(cells)) == [
        *(f"{name}{epochs}" for name in ("dense", "DLRT fixed", "DLRT adaptive")),
        *(f"{name}{tuning}" for name in ("alds", "alds", "svd")),
        f"evolve{epochs}",
    ]
    trained = [key for key in cells if key.kind != "compressed"]
    assert lines(trained) == ["dense", "DLRT fixed", "DLRT adaptive", "evolve"]


def test_runs_on_other_images_are_another_family(tmp_path):
    write_compression(tmp_path, name="a")
    write_compression(tmp_path, name="b", dataset="cifar10", transfer="mnist")
    write_compression(tmp_path, name="c", dataset="cifar10")
    found = families(networks(collect([tmp_path]).images))
    assert list(found) == [("lenet5", "MNIST"), ("lenet5", "cifar10")]
    first = found["lenet5", "MNIST"]
    assert names(list(first)) == ["alds, ratio 4", "alds, ratio 4, from cifar10"]
    # The dense network of other images is not compared.
    (transferred,) = (key for key in first if key.source)
    assert [point.stage for point in points({transferred: first[transferred]})] == [
        *("compressed", "fine-tuned")
    ]


def test_stages(cells):
    dense, _, _, alds = list(cells.values())[:4]
    (trained,) = stages(dense.logs[1]).values()
    assert trained["test accuracy"] == pytest.approx(
        metrics(0.95, 4, 1)["test_accuracy"]
    )
    assert trained["parameters"] == WHOLE and "latency" not in trained
    found = stages(alds.logs[1])
    assert set(found) == {"dense", "compressed", "fine-tuned"}
    assert found["compressed"]["validation accuracy"] == pytest.approx(
        metrics(0.4, 0, 1)["val_accuracy"]
    )
    # What was measured goes before what was logged.
    assert found["fine-tuned"]["test accuracy"] == pytest.approx(0.79)
    assert found["dense"]["flops"] == 4_586_000


def test_the_best_epoch_is_one_at_the_final_widths(tmp_path):
    write_run(tmp_path, "evolved", sizes=lambda epoch: {"dense": max(7, 10 - epoch)})
    (log,) = collect([tmp_path]).images
    log.columns["val_accuracy"][:] = [0.9, 1.0, 0.8, 0.7]
    assert log.selected() == 2


def test_one_dense_network_before_many_compressions(cells):
    found = [p for p in points(cells) if p.stage == "dense"]
    assert len(found) == 1 and found[0].key.training == "before compression"
    np.testing.assert_allclose(found[0].samples["latency"], [25.0, 26.0])
    assert found[0].mean("test accuracy") == pytest.approx(0.945)


def test_logs_without_measurements(tmp_path):
    write_compression(tmp_path, tests=False)
    collection = collect([tmp_path])
    assert collection.problems == ()
    found = stages(collection.images[0])
    assert set(found) == {"compressed", "fine-tuned"}
    assert found["compressed"]["parameters"] == WHOLE // 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "it has no tests.json, though `test` was asked for; it is used"),
        ('{"dense": {"para', "its tests.json can't be read (Unterminated string"),
        ("[1]", "its tests.json does not name networks with their measurements"),
    ],
)
def test_broken_measurements(tmp_path, content, said):
    path = write_compression(tmp_path)
    tests = path.parents[1] / "tests.json"
    tests.unlink()
    if content is not None:
        tests.write_text(content)
    assert said in problem_of(tmp_path)
    collection = collect([tmp_path])
    assert collection.images[0].tests == {}
    for drawing in plan(collection):
        drawing.draw()


def test_a_measurement_that_is_no_number(tmp_path):
    path = write_compression(tmp_path)
    values = measured(4, 0.8)
    values["compressed"]["latency_ms"] = "fast"
    (path.parents[1] / "tests.json").write_text(json.dumps(values))
    (log,) = collect([tmp_path]).images
    assert np.isnan(stages(log)["compressed"]["latency"])
    assert stages(log)["fine-tuned"]["latency"] == 10.0


def test_sheets_of_layers_that_lack_something(tmp_path, monkeypatch):
    write_compression(tmp_path / "none", layers=False)
    assert "it has no sheet 'layers'; it is used" in problem_of(tmp_path / "none")
    monkeypatch.setattr("pictures.layers_of", lambda *_: [{"name": "a", "error": 0.1}])
    write_compression(tmp_path / "odd")
    said = "its sheet 'layers' has None for the 'parameters_before' of row 2"
    assert said in problem_of(tmp_path / "odd")


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("dense", {"architecture": None}, "its configuration has no `architecture`"),
        ("compressed", {"method": None}, "its configuration has no `method`"),
        (
            "dense",
            {"subcommand": "paint"},
            "the `subcommand` 'paint', which is none of",
        ),
        ("fixed", {"ranks": "few"}, "its configuration has the `ranks` 'few'"),
    ],
)
def test_a_configuration_that_tells_too_little(tmp_path, kind, changes, said):
    write = write_compression if kind == "compressed" else write_run
    write(tmp_path, *() if kind == "compressed" else (kind,), **changes)
    assert said in problem_of(tmp_path) and "it is left out" in problem_of(tmp_path)


def test_unfinished_diverged_and_second_runs(tmp_path):
    write_compression(tmp_path, until=1)
    write_run(tmp_path, "dense", name="a")
    write_run(tmp_path, "dense", name="b")
    write_run(tmp_path, "dense", seed=1, quality=float("nan"))
    collection = collect([tmp_path])
    assert [log.test for log in collection.images] == ["a"]
    assert sorted(log.state for log in collection.excluded_images) == [
        *("diverged", "unfinished")
    ]
    assert "the setting, the network and the seed of" in str(collection.problems)
    rows = image_tables.means(collection).rows
    counts = [(row[0], row[5], row[6]) for row in rows]
    assert counts == [("dense", 1, 1), ("alds, ratio 4", 0, 1)]
    assert len(collect([tmp_path], unfinished=True).images) == 2


# --- Figures


def test_which_figures_a_study_gives(study):
    found = [drawing.name.removeprefix("image-") for drawing in plan(study)]
    assert found == [
        *("epochs-lenet5-mnist", "parameters-lenet5-mnist"),
        "sizes-dlrt-fixed-rank-6-12-7-6-lenet5-mnist",
        "sizes-dlrt-adaptive-tolerance-0.3-lenet5-mnist",
        *(f"layers-{name}-lenet5-mnist" for name in ("alds-ratio-4", "alds-ratio-8")),
        *(
            "layers-svd-ratio-4-lenet5-mnist",
            "sizes-evolve-12-500-parameters-lenet5-mnist",
        ),
    ]
    assert plan(study, Options(kinds=["transformers", "epochs"])) == []


def test_no_figure_takes_the_place_of_another(tmp_path):
    for dataset in ("my-images", "my images"):
        write_run(tmp_path, "dense", name=dataset, dataset=dataset)
    found = [drawing.name for drawing in plan(collect([tmp_path]))]
    name = "image-epochs-lenet5-my-images"
    assert found == [name, f"{name}-2"]


def test_folders_of_all_kinds_of_runs(folder, study, tmp_path):
    write_sweep(tmp_path, widths=(5, 20), runs=(0,))
    write_transformer(tmp_path, "adaptive", 40, epochs=2, layers=1)
    alone = [drawing.name for drawing in plan(collect([tmp_path]))]
    both = [drawing.name for drawing in plan(collect([tmp_path, folder]))]
    assert both == [*alone, *(drawing.name for drawing in plan(study))]


def test_networks_against_parameters(cells):
    figure = image_curves.against_parameters(cells, "title")
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == [
        *("test accuracy (%)", "accuracy under attack (%)"),
        *("flops of a prediction (millions)", "latency of a batch (ms)"),
    ]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    methods = [
        "dense, before compression",
        *(f"{name}, 4 epochs" for name in ("dense", "DLRT fixed", "DLRT adaptive")),
        *(f"{name}, 3 epochs of fine-tuning" for name in ("alds", "svd")),
        "evolve, 4 epochs",
    ]
    assert legend == [*methods, "compressed", "fine-tuned, or trained"]
    looks = {
        text.get_text().split(",")[0]: handle.get_color()
        for text, handle in zip(
            figure.legends[0].get_texts(), figure.legends[0].legend_handles, strict=True
        )
    }

    def marks(panel, method):
        color = looks[method]
        big = [line for line in panel.lines if line.get_markersize() == 6]
        return {
            line.get_linestyle(): np.transpose(line.get_data())
            for line in big
            if line.get_color() == color
        }

    accuracy, attacked, flops, latency = figure.axes
    alds = marks(accuracy, "alds")
    np.testing.assert_allclose(alds["-"], [[WHOLE // 8, 69.5], [WHOLE // 4, 79.5]])
    np.testing.assert_allclose(alds[":"], [[WHOLE // 8, 34.5], [WHOLE // 4, 39.5]])
    np.testing.assert_allclose(marks(latency, "svd")["-"], [[WHOLE // 4, 10.5]])
    np.testing.assert_allclose(marks(flops, "dense")["None"], [[WHOLE, 4.586]])
    assert set(marks(accuracy, "evolve")) == {"-"} and not marks(attacked, "evolve")


def test_networks_of_different_lengths_are_told_apart(tmp_path):
    for epochs in (1, 5):
        write_run(tmp_path, "dense", epochs=epochs, name=f"dense{epochs}")
        write_compression(tmp_path, epochs=2, dense_epochs=epochs, name=f"from{epochs}")
    cells = networks(collect([tmp_path]).images)
    figure = image_curves.against_parameters(cells, "title")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    tuned = "alds, 2 epochs of fine-tuning"
    assert legend[:-2] == [
        *("dense, before compression, 1 epoch", "dense, before compression, 5 epochs"),
        *("dense, 1 epoch", "dense, 5 epochs"),
        *(f"{tuned}, 1 epoch dense", f"{tuned}, 5 epochs dense"),
    ]
    # No mark stands for two of them.
    handles = figure.legends[0].legend_handles[:-2]
    looks = {(mark.get_color(), mark.get_marker()) for mark in handles}
    assert len(looks) == 6
    rows = image_tables.means(collect([tmp_path])).rows
    assert [(row[3], row[7]) for row in rows if row[3] != "compressed"] == [
        *(("dense", "1"), ("dense", "5"), ("trained", "1"), ("trained", "5")),
        *(("fine-tuned", "2"), ("fine-tuned", "2")),
    ]


def test_one_panel_if_nothing_was_measured(tmp_path):
    write_run(tmp_path, "dense")
    write_run(tmp_path, "adaptive", sizes=falling, tolerance=0.3)
    cells = networks(collect([tmp_path]).images)
    figure = image_curves.against_parameters(cells, "title")
    assert [panel.get_title() for panel in figure.axes] == ["test accuracy (%)"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["dense", "DLRT adaptive"]


def test_layers_of_a_compression(cells):
    cell = list(cells.values())[3]
    figure = image_curves.layer_bars(cell, "title")
    sizes, errors = figure.axes
    widths = [bar.get_width() for bar in sizes.patches]
    assert widths == [*LAYERS.values(), *(size // 4 for size in LAYERS.values())]
    shares = [bar.get_width() for bar in errors.patches]
    np.testing.assert_allclose(shares, [10.5, 20.5, 30.5, 40.5])
    assert errors.patches[3].get_facecolor() != errors.patches[0].get_facecolor()
    note = " ".join(figure.get_supxlabel().split())
    assert "the largest 40.5 % at output" in note and "2 runs" in note
    labels = [label.get_text() for label in errors.get_yticklabels()]
    assert labels == ["pointwise, rank 3×4"] * 4


def test_widths_and_many_ranks(tmp_path, study):
    (sizes,) = (d for d in plan(study) if "evolve" in d.name)
    panel = sizes.draw().axes[0]
    assert panel.get_ylabel() == "width"
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), [19, 18, 17, 16])
    many = {f"block_{number}": number for number in range(1, 23)}
    write_run(tmp_path, "fixed", sizes=lambda epoch: many, ranks="22")
    drawings = {drawing.name: drawing for drawing in plan(collect([tmp_path]))}
    assert list(drawings) == ["image-epochs-lenet5-mnist", "image-ranks-fixed-seed0"]
    panel = drawings["image-ranks-fixed-seed0"].draw().axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == list(many)


@pytest.mark.slow
def test_all_are_drawn(study):
    for drawing in plan(study):
        FigureCanvasAgg(drawing.draw()).draw()


# --- Tables and the command


def test_tables(folder, tmp_path):
    assert command.main(["tables", str(folder), "--output", str(tmp_path)]) == 0
    tables = ("images", "image-runs", "image-layers")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{table}.{ending}" for table in tables for ending in ("csv", "md", "tex")
    }

    def read(name):
        with open(tmp_path / f"{name}.csv", newline="") as file:
            return list(csv.DictReader(file))

    means = {(row["network"], row["stage"]): row for row in read("images")}
    tuned = means["alds, ratio 8", "fine-tuned"]
    assert float(tuned["test accuracy %"]) == pytest.approx(69.5)
    assert float(tuned["test accuracy %, min"]) == pytest.approx(69.0)
    assert float(tuned["parameters"]) == WHOLE // 8 and tuned["runs"] == "2"
    assert float(tuned["latency of a batch, ms"]) == pytest.approx(8.0)
    dense = means["dense, before compression", "dense"]
    assert float(dense["accuracy under attack %"]) == pytest.approx(57.0)
    assert means["dense", "trained"]["flops"] == ""
    runs = read("image-runs")
    # Six compressions at three stages each, and all that trains once.
    assert len(runs) == 6 * 3 + 5
    sizes = {row["run"]: row["sizes"] for row in runs}
    assert sizes["adaptive-seed0"] == ", ".join(map(str, falling(4).values()))
    layers = read("image-layers")
    assert len(layers) == 6 * 4
    assert float(layers[0]["error"]) == pytest.approx(layers_of(4)[0]["error"])


@pytest.mark.slow
def test_figures_and_report(folder, tmp_path, capsys):
    run = folder / "low-rank-alds-4-seed0"
    figures = ["figures", str(run), "--output", str(tmp_path), "--kinds", "images"]
    assert command.main([*figures, "--formats", "svg"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and len(shown.out.split()) == 3
    report = ["report", str(run), "--output", str(tmp_path / "page.html")]
    assert command.main(report) == 0
    page = (tmp_path / "page.html").read_text()
    for part in ('<section id="images">', "<td>conv_2</td>", "<td>budget</td>"):
        assert part in page
