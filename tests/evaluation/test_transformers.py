"""Logs of transformers become figures and tables of their own."""

import csv

import numpy as np
import pytest
from conftest import slow
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from synthetic import write_sweep
from translation import epochs_of, projections, write_run, write_study

from evaluation import __main__ as command
from evaluation import rank_maps, style, transformer_curves, transformer_tables
from evaluation import transformers as reading
from evaluation.collection import collect
from evaluation.figures import Options, plan
from evaluation.transformer_runs import best, names, networks, times, typical, value

pytestmark = pytest.mark.tensorflow_only

LABELS = [
    "dense",
    *(f"DLRT rank {rank}" for rank in (30, 60, 90)),
    *("DLRT tolerance 0.1", "DLRT tolerance 0.2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_study(root, seeds=(0, 1), epochs=8, layers=2)
    return root


@pytest.fixture(scope="module")
def study(folder):
    return collect([folder])


@pytest.fixture(scope="module")
def cells(study):
    return networks(study.transformers)


def one_log(root, *arguments, **options):
    write_run(root, *arguments, **options)
    collection = collect([root])
    (log,) = collection.transformers
    return log


def note_of(figure):
    return " ".join(figure.get_supxlabel().split())


def lines_of(panel, dashes):
    return [line for line in panel.lines if line.get_linestyle() == dashes]


# --- Reading


def test_networks_of_a_study(study, cells):
    assert study.logs == study.excluded == study.problems == ()
    assert len(study.counted) == 12 and names(list(cells)) == LABELS
    assert [key.method for key in cells] == ["dense", *["fixed"] * 3, *["adaptive"] * 2]
    first = next(iter(cells))
    assert (first.dim, first.layers, first.heads, first.feed_forward) == (
        128,
        2,
        8,
        512,
    )
    assert first.setting.data == "ted-pt-en" and first.rank is None
    assert all([log.seed for log in cell.logs] == [0, 1] for cell in cells.values())


def test_columns_are_those_of_the_log(study, cells):
    cell = list(cells.values())[2]
    for log in cell.logs:
        course = epochs_of("fixed", 60, log.seed, 8, layers=2)
        for column in ("val_loss", "test_bleu", "test_chrf", "tokens/second"):
            expected = [logs[column] for _, logs in course]
            np.testing.assert_allclose(log.column(column), expected)
        assert (log.ranks == 60).all() and log.ranks.shape == (8, 33)
        assert value(log, "test_bleu", "last") == pytest.approx(
            log.columns["test_bleu"][-1]
        )
        # The first epoch takes longer; that is not typical.
        assert typical(log, "seconds") == pytest.approx(20.0, abs=1.0)


def test_names_say_how_networks_differ(tmp_path):
    write_run(tmp_path, "dense", name="a")
    write_run(tmp_path, "dense", name="b", dim=256, changes={"feed_forward": 512})
    write_run(tmp_path, "adaptive", 40, name="c")
    write_run(tmp_path, "adaptive", 90, name="d")
    write_run(tmp_path, "fixed", 90, name="e", heads=4, batch_size=32)
    found = names(list(networks(collect([tmp_path]).transformers)))
    assert found == [
        "dense, width 128, batch 64, 8 heads",
        "dense, width 256, batch 64, 8 heads",
        "DLRT rank 90, width 128, batch 32, 4 heads",
        "DLRT tolerance 0.1, width 128, batch 64, 8 heads, from rank 40",
        "DLRT tolerance 0.1, width 128, batch 64, 8 heads, from rank 90",
    ]


def test_a_second_run_of_a_network_and_seed_is_left_out(tmp_path):
    write_run(tmp_path, "fixed", 30, name="a")
    write_run(tmp_path, "fixed", 30, name="b")
    write_run(tmp_path, "fixed", 30, name="c", heads=2)
    collection = collect([tmp_path])
    assert [log.test for log in collection.transformers] == ["a", "c"]
    assert "the setting, the network and the seed of" in str(*collection.problems)


def test_unfinished_and_diverged_runs_are_in_no_mean(tmp_path):
    write_run(tmp_path, "fixed", 30, seed=0)
    write_run(tmp_path, "fixed", 30, seed=1, until=3)
    write_run(tmp_path, "fixed", 30, seed=2, diverges_at=4)
    collection = collect([tmp_path])
    assert [log.seed for log in collection.transformers] == [0]
    states = sorted(log.state for log in collection.excluded_transformers)
    assert states == ["diverged", "unfinished"]
    note = note_of(plan(collection)[0].draw())
    assert "1 run; not counted: DLRT rank 30 (1 diverged, 1 unfinished)" in note
    table = transformer_tables.runs(collection)
    assert sorted(row[4] for row in table.rows) == [
        "diverged",
        "finished",
        "unfinished",
    ]
    assert len(collect([tmp_path], unfinished=True).transformers) == 2


def test_settings_of_the_training_tell_networks_apart(tmp_path):
    write_run(tmp_path, "dense", name="a", dropout=0.1, learning_rate_factor=1.0)
    write_run(tmp_path, "dense", name="b", dropout=0.2, learning_rate_factor=1.0)
    write_run(tmp_path, "dense", name="c", dropout=0.1, learning_rate_factor=0.5)
    collection = collect([tmp_path])
    assert collection.problems == ()
    assert names(list(networks(collection.transformers))) == [
        "dense, learning rate times 0.5, dropout 0.1",
        "dense, learning rate times 1, dropout 0.1",
        "dense, learning rate times 1, dropout 0.2",
    ]


def test_a_run_whose_time_is_over_is_finished(tmp_path):
    # Epochs count 20 seconds each.
    for seed, minutes in enumerate((1, 1.5, None)):
        write_run(tmp_path, "fixed", 30, seed=seed, until=4, minutes=minutes)
    collection = collect([tmp_path])
    assert [log.seed for log in collection.transformers] == [0]
    assert [log.seed for log in collection.excluded_transformers] == [1, 2]


@pytest.mark.parametrize("missing", ["subcommand", "dim"])
def test_a_configuration_that_tells_too_little(tmp_path, missing):
    path = write_run(tmp_path, "dense", changes={missing: None})
    collection = collect([path])
    assert collection.counted == ()
    assert f"its configuration has no `{missing}`; it is left out" in str(
        *collection.problems
    )


def test_projections_are_in_the_order_of_the_network(tmp_path):
    log = one_log(tmp_path, "adaptive", 40, epochs=2, layers=2)
    expected = [f"rank {name}" for name in projections(2)]
    assert list(reading.projections(log)) == expected
    shuffled = dict(reversed(log.columns.items())) | {"rank extra_1": np.ones(2)}
    object.__setattr__(log, "columns", shuffled)
    found = reading.projections(log)
    assert list(found) == [*expected, "rank extra_1"]
    query = found["rank decoder_2_cross_attention/query"]
    assert query[:2] == ("decoder 2", "cross-attention query")
    assert found["rank encoder_1_feed_forward_2"][:2] == ("encoder 1", "feed-forward 2")
    assert found["rank output"][:2] == ("", "output")


def test_the_best_epoch_is_that_of_the_smallest_validation_loss(tmp_path):
    log = one_log(tmp_path, "dense", epochs=30)
    log.columns["val_loss"][17] = 0.5
    assert best(log) == 17
    assert value(log, "test_chrf", "best") == log.columns["test_chrf"][best(log)]
    log.columns["val_loss"][:] = np.nan
    assert best(log) == 29
    log.columns["test_bleu"][20:] = np.nan
    assert value(log, "test_bleu", "last") == log.columns["test_bleu"][19]
    assert np.isnan(value(log, "test_bleu", "best"))


def test_time_never_goes_back(cells):
    cell = next(iter(cells.values()))
    seconds = [log.column("seconds") for log in cell.logs]
    np.testing.assert_allclose(times(cell.logs), np.cumsum(np.mean(seconds, axis=0)))


# --- Figures


def test_which_figures_a_study_gives(study):
    found = [drawing.name for drawing in plan(study)]
    assert found == [
        *("transformer-epochs", "transformer-time", "transformer-parameters"),
        *(
            f"transformer-ranks-transformer-adaptive{name}-seed{seed}"
            for name in ("-0.2", "90")
            for seed in (0, 1)
        ),
    ]
    assert plan(study, Options(kinds=["epochs", "ranks"])) == []


def test_figures_of_other_logs_are_as_without_transformers(folder, tmp_path):
    write_sweep(tmp_path, widths=(5, 20), runs=(0,))
    alone = [drawing.name for drawing in plan(collect([tmp_path]))]
    both = [drawing.name for drawing in plan(collect([tmp_path, folder]))]
    assert alone and both[: len(alone)] == alone
    assert all(name.startswith("transformer-") for name in both[len(alone) :])


def test_figures_of_two_corpora_and_of_runs_with_one_name(tmp_path):
    for corpus in ("ted-pt-en", "multi30k_de"):
        write_run(tmp_path / corpus, "adaptive", 40, epochs=2, layers=1, corpus=corpus)
    found = [drawing.name for drawing in plan(collect([tmp_path]))]
    assert found == [
        *(
            f"transformer-{what}-{corpus}"
            for corpus in ("multi30k-de", "ted-pt-en")
            for what in ("epochs", "time", "parameters")
        ),
        *(f"transformer-ranks-transformer-adaptive40-seed0-{n}" for n in (1, 2)),
    ]


@pytest.mark.slow
def test_many_networks_come_in_several_figures(tmp_path):
    for rank in range(10, 90, 10):
        write_run(tmp_path, "fixed", rank, epochs=2, layers=1)
    found = [drawing.name for drawing in plan(collect([tmp_path]))]
    assert found[:2] == ["transformer-epochs-1", "transformer-time-1"]
    assert found[-1] == "transformer-parameters-2"


def test_course_over_epochs(cells):
    figure = transformer_curves.against_epoch(cells, "title")
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["loss", "accuracy (%)", "test BLEU"]
    loss, accuracy, bleu = figure.axes
    assert len(lines_of(loss, "-")) == len(lines_of(loss, "--")) == len(cells)
    assert len(lines_of(bleu, "-")) == len(cells) and not lines_of(bleu, "--")
    for line, cell in zip(lines_of(accuracy, "-"), cells.values(), strict=True):
        values = [log.column("val_accuracy") for log in cell.logs]
        np.testing.assert_array_equal(line.get_xdata(), range(1, 9))
        np.testing.assert_allclose(line.get_ydata(), 100 * np.mean(values, axis=0))
    (shade,) = loss.collections[1:2]
    edges = shade.get_paths()[0].vertices[:, 1]
    values = [log.column("val_loss") for log in next(iter(cells.values())).logs]
    assert edges.min() == pytest.approx(np.min(values))
    assert edges.max() == pytest.approx(np.max(values))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*LABELS, "validation, test", "training"]
    assert "2 runs of each network" in note_of(figure)
    colors = {line.get_color() for line in lines_of(bleu, "-")}
    assert len(colors) == len(cells)


def test_course_over_time(cells):
    figure = transformer_curves.against_time(cells, "title")
    for panel in figure.axes:
        assert panel.get_xlabel() == "time (minutes)" and panel.get_xlim()[0] == 0
    for line, cell in zip(lines_of(figure.axes[2], "-"), cells.values(), strict=True):
        np.testing.assert_allclose(line.get_xdata(), times(cell.logs) / 60)
        assert line.get_xdata()[-1] < figure.axes[2].get_xlim()[1]


@pytest.mark.parametrize("at", ["last", "best"])
def test_accuracy_and_bleu_over_parameters(cells, at):
    figure = transformer_curves.against_parameters(cells, "title", at)
    for panel, column, factor in zip(
        figure.axes, ("val_accuracy", "test_bleu"), (100, 1), strict=True
    ):
        marks = [line for line in panel.lines if line.get_markersize() == 8]
        for mark, cell in zip(marks, cells.values(), strict=True):
            x = np.mean([value(log, "parameters prediction", at) for log in cell.logs])
            y = factor * np.mean([value(log, column, at) for log in cell.logs])
            np.testing.assert_allclose([*mark.get_xdata(), *mark.get_ydata()], [x, y])
    assert ("smallest validation loss" in note_of(figure)) == (at == "best")


def test_rank_map(tmp_path):
    log = one_log(tmp_path, "adaptive", 90, epochs=5, layers=6)
    figure = rank_maps.rank_map(log, reading.projections(log), "title")
    panel = figure.axes[0]
    rows = np.concatenate([image.get_array() for image in panel.collections])
    assert rows.shape == (97, 5) and len(panel.collections) == 13
    np.testing.assert_array_equal(rows, log.ranks.T)
    labels = panel.get_yticklabels()
    assert [labels[place].get_text() for place in (0, 5, 40, -1)] == [
        *("self-attention query", "feed-forward 2", "cross-attention query", "output"),
    ]
    texts = [text.get_text() for text in panel.texts]
    assert texts[:97] == [f"{rank:g}" for rank in log.ranks[-1]]
    assert texts[97:] == [
        f"{s} {n}" for s in ("encoder", "decoder") for n in range(1, 7)
    ] + [""]
    # No label lies on another one or leaves the figure.
    FigureCanvasAgg(figure).draw()
    boxes = [label.get_window_extent() for label in (*labels, *panel.texts[:-1])]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:number])


@pytest.mark.slow
@pytest.mark.parametrize(
    "left_out",
    [
        ("test_bleu", "val_loss", "val_accuracy", "accuracy", "tokens/second"),
        *slow(
            ((),),
            (("test_bleu", "test_chrf"),),
            (("parameters", "parameters training", "compression", "loss"),),
        ),
    ],
)
@pytest.mark.parametrize("others", [True, *slow(False)])
def test_logs_with_little_in_them(tmp_path, left_out, others):
    write_run(tmp_path, "dense", epochs=1, left_out=left_out)
    write_run(tmp_path, "adaptive", 40, epochs=1, layers=1, left_out=left_out)
    if others:
        write_run(tmp_path, "fixed", 20, epochs=3, layers=1)
    collection = collect([tmp_path])
    for at in ("last", "best"):
        for drawing in plan(collection, Options(at=at)):
            FigureCanvasAgg(drawing.draw()).draw()
    for table in transformer_tables.both(collection):
        assert len(table.rows) == len(collection.transformers) == 2 + others


def test_what_no_log_has_is_said(tmp_path):
    write_run(tmp_path, "dense", epochs=1, left_out=("test_bleu", "parameters"))
    collection = collect([tmp_path])
    assert "it has no column test_bleu; it is used" in str(*collection.problems)
    first, second = (drawing.draw() for drawing in plan(collection))
    for figure in (first, second):
        texts = [text.get_text() for panel in figure.axes for text in panel.texts]
        assert texts == ["not in the logs"]
    # The only epoch is seen, though it makes no line.
    assert {line.get_marker() for line in first.axes[0].lines} == {"o"}
    style.encode(first, "png")
    ticks = first.axes[0].get_xticks()
    assert [tick for tick in ticks if 0.9 < tick < 1.1] == [1]


# --- Tables and the command


def test_tables(study, folder, tmp_path):
    assert command.main(["tables", str(folder), "--output", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{table}.{ending}"
        for table in ("transformers", "transformer-runs")
        for ending in ("csv", "md", "tex")
    }
    with open(tmp_path / "transformer-runs.csv", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    for log in study.transformers:
        row, epoch = rows[log.test], best(log)
        assert int(row["best epoch"]) == log.epochs[epoch]
        for name, column, factor in (
            ("parameters", "parameters prediction", 1),
            ("compression %", "compression", 100),
            ("validation loss", "val_loss", 1),
            ("validation accuracy %", "val_accuracy", 100),
            ("test BLEU", "test_bleu", 1),
            ("test chrF", "test_chrf", 1),
        ):
            expected = factor * log.columns[column][epoch]
            assert float(row[name]) == pytest.approx(expected)
        speed = np.median(log.columns["tokens/second"])
        assert float(row["tokens a second"]) == pytest.approx(speed)
        assert float(row["seconds an epoch"]) == pytest.approx(typical(log, "seconds"))
    with open(tmp_path / "transformers.csv", newline="") as file:
        means = {row["network"]: row for row in csv.DictReader(file)}
    assert list(means) == LABELS
    dense = [rows[f"transformer-dense-seed{seed}"]["test BLEU"] for seed in (0, 1)]
    scores = sorted(map(float, dense))
    found = [means["dense"][f"test BLEU{end}"] for end in ("", ", min", ", max")]
    assert list(map(float, found)) == pytest.approx([np.mean(scores), *scores])


@pytest.mark.slow
def test_figures_and_report(folder, tmp_path, capsys):
    figures = ["figures", str(folder), "--output", str(tmp_path / "figures")]
    options = ["--kinds", "transformers", "--formats", "png"]
    assert command.main([*figures, *options]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and len(shown.out.split()) == 7
    for path in (tmp_path / "figures").glob("*.png"):
        assert imread(path).std() > 0.05
    run = folder / "transformer-adaptive90-seed1"
    report = ["report", str(run), "--output", str(tmp_path / "page.html")]
    assert command.main(report) == 0
    page = (tmp_path / "page.html").read_text()
    for part in (
        *('<figure id="transformer-epochs">', '<section id="transformers">'),
        *(f"<h1>{run.name}</h1>", "1 log.", "<td>feed_forward</td>"),
    ):
        assert part in page
    assert 'id="runs"' not in page and 'id="results"' not in page
