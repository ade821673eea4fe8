"""The command line: what it writes, what it says, how it ends."""

import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from synthetic import configuration_of, rows_of, write, write_cell, write_sweep

from evaluation import __main__ as command
from evaluation import tables
from evaluation.collection import collect
from experiments.runs import names

pytestmark = pytest.mark.tensorflow_only

ROOT = Path(__file__).resolve().parents[2]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
NASTY = "<script>alert('&')</script>"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root, widths=(5, 20, 80), runs=(0, 1))
    write_sweep(root, "DLRTRank5-6", widths=(5, 20, 80), runs=(0, 1))
    rows = rows_of(20, 5)
    rows[-1]["loss"] = np.nan
    test = "DLRTRank5-6TestDim5-81ep6batch256lr0-001Noise20Dataset10Run1"
    write_cell(root, test, 20, rows=rows, note=NASTY)
    return root


@pytest.fixture(scope="module")
def page(sweep):
    path = sweep.parent / "page" / "report.html"
    assert (
        command.main(["report", str(sweep), "--output", str(path), "--title", NASTY])
        == 0
    )
    return path


class Elements(HTMLParser):
    """Collects tags, attributes and the text of an HTML page."""

    _VOID = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "subcommand, make, message",
    [
        ("report", os.mkfifo, "a file can't take the place of a pipe"),
        ("report", os.mkdir, "a file can't take the place of a folder"),
        ("figures", os.mkfifo, "it must be a folder"),
        ("tables", os.mkfifo, "it must be a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_at_once(
    tmp_path, capsys, subcommand, make, message
):
    out = tmp_path / "out"
    make(out)
    before = out.stat()
    # Before the logs, of which there are none, are looked at.
    assert command.main([subcommand, str(tmp_path), "--output", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert out.stat() == before


def test_a_linked_report_is_written_in_its_place(sweep, tmp_path):
    target, link = tmp_path / "target.html", tmp_path / "link.html"
    link.symlink_to(target)
    words = ["report", str(sweep), "--output", str(link), "--kinds", "maps"]
    assert command.main(words) == 0
    assert link.is_symlink()
    assert target.read_text().startswith("<!")


def test_figures(sweep, tmp_path, capsys):
    arguments = ["figures", str(sweep), "--output", str(tmp_path / "out")]
    assert command.main([*arguments, "--kinds", "clouds,maps", "--formats", "svg"]) == 0
    shown = capsys.readouterr()
    written = sorted((tmp_path / "out").iterdir())
    assert sorted(shown.out.split()) == [str(path) for path in written]
    assert len(written) == 3 and all(
        path.read_text()[:5] == "<?xml" for path in written
    )
    assert "dim20.xlsx: it diverged: a loss of epoch 6 is not finite" in shown.err
    assert (
        "DLRT rank 5: 2 runs of each network, but 1 of width 20; "
        "not counted: width 20 (1 diverged)\n" in shown.err
    )


def test_tables(sweep, tmp_path):
    assert command.main(["tables", str(sweep), "--output", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        f"{t}.{e}" for t in ("peaks", "results", "runs") for e in ("csv", "md", "tex")
    }
    with open(tmp_path / "results.csv", newline="") as file:
        rows = {(row["method"], row["width"]): row for row in csv.DictReader(file)}
    finals = [rows_of(20, None, seed)[-1]["test_loss"] for seed in (0, 1)]
    dense = rows["dense", "20"]
    assert float(dense["test loss"]) == pytest.approx(np.mean(finals))
    assert float(dense["test loss, min"]) == pytest.approx(finals[0])
    assert float(dense["test loss, max"]) == pytest.approx(finals[1])
    assert (dense["runs"], dense["not counted"], dense["rank"]) == ("2", "0", "")
    low_rank = rows["DLRT rank 5", "20"]
    assert (low_rank["runs"], low_rank["not counted"]) == ("1", "1")
    with open(tmp_path / "peaks.csv", newline="") as file:
        peaks = {row["method"]: row for row in csv.DictReader(file)}
    assert peaks["dense"]["peak of the mean test loss at"] == "20"
    assert peaks["dense"]["training accuracy reaches 99 % at"] == "20"
    assert peaks["DLRT rank 5"]["runs of a network"] == "1–2"
    with open(tmp_path / "runs.csv", newline="") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert len(states) == 12 and states.count("diverged at epoch 6") == 1


def test_table_formats():
    table = tables.Table(
        "t", "A caption", ("a|b", "50 %"), [("x_1 & y", None), ("–", 1234.0)]
    )
    assert tables.to_csv(table) == "a|b,50 %\nx_1 & y,\n–,1234.0\n"
    assert tables.to_markdown(table).splitlines() == [
        "A caption.",
        "",
        "| a\\|b | 50 % |",
        "|---|---|",
        "| x_1 & y | – |",
        "| – | 1,234 |",
    ]
    latex = tables.to_latex(table).splitlines()
    assert latex[1] == r"\begin{tabular}{lr}"
    assert latex[3] == r"a|b & 50 \% \\" and latex[5] == r"x\_1 \& y & -- \\"
    assert '<td>x_1 &amp; y</td><td class="number">–</td>' in tables.to_html(table)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (3, "3"),
        (0.123456, "0.1235"),
        (98.7654, "98.77"),
        (1234567.0, "1,234,567"),
        (1.0, "1"),
        (float("inf"), "inf"),
        ("a", "a"),
    ],
)
def test_values_as_people_read_them(value, text):
    assert tables.shown(value) == text


def test_peaks_table_without_a_peak(tmp_path):
    write_sweep(tmp_path, widths=(1, 2, 4), runs=(0,))
    table = tables.peaks(collect([tmp_path]))
    (row,) = table.rows
    found = dict(zip(table.header, row, strict=True))
    assert found["peak of the mean test loss at"] is None
    assert found["training accuracy reaches 99 % at"] is None


def test_page_is_self_contained_and_escaped(page):
    text = page.read_text()
    elements = Elements(text)
    assert elements.open == []
    tags = [tag for tag, _ in elements.found]
    assert "script" not in tags and "iframe" not in tags
    for tag, attributes in elements.found:
        for key in ("src", "href"):
            link = attributes.get(key, "data:")
            assert link.startswith(("data:", "#")), (tag, link)
    assert not re.search(r"url\(|@import", text)
    assert elements.text.count(NASTY) >= 3 and html.escape(NASTY) in text
    assert "1 diverged, failed or is unfinished, in no mean" in elements.text
    assert "it diverged: a loss of epoch 6 is not finite" in elements.text
    assert "but 1 of width 20; not counted: width 20 (1 diverged)" in elements.text
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for t, a in elements.found if t == "a"]
    assert targets and set(targets) <= set(ids)


def test_page_of_a_single_run(tmp_path):
    name = names.parse("TestDim1-2ep6batch256lr0-001Run0")
    path = tmp_path / "run" / "historyLogs" / "dense.xlsx"
    write(path, rows_of(500), configuration_of(name, 500))
    output = tmp_path / "report.html"
    assert command.main(["report", str(path), "--output", str(output)]) == 0
    elements = Elements(output.read_text())
    assert ("title", {}) in elements.found and "1 log." in elements.text
    figures = [a["id"] for t, a in elements.found if t == "figure"]
    assert figures == ["epochs-width-500", "accuracy-parameters-published"]
    assert "No log was left out" in elements.text


# Says in the page what a reader would see, for --dump-dom to show it.
_PROBE = """<script>
const errors = [];
addEventListener("error", event => errors.push(String(event.message)), true);
addEventListener("load", async () => {
  const images = [...document.images];
  const decoded = images.map(image => image.decode());
  await Promise.all(decoded).catch(error => errors.push(String(error)));
  document.body.dataset.seen = JSON.stringify({
    errors,
    images: images.map(image => [image.complete, image.naturalWidth]),
    requests: performance.getEntriesByType("resource")
      .map(entry => entry.name.slice(0, 5)),
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
});
</script></head>"""


@pytest.mark.skipif(
    BROWSER is None, reason="needs chromium or google-chrome on the PATH"
)
def test_page_in_a_browser(page, tmp_path):
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</head>", _PROBE, 1))

    def browse(*arguments):
        profile = tmp_path / f"profile-{arguments[0].strip('-')[:4]}"
        return subprocess.run(
            [
                BROWSER,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking"),
                *("--disable-component-update", "--disable-sync"),
                *("--enable-logging=stderr", "--virtual-time-budget=30000"),
                f"--user-data-dir={profile}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    shown = browse("--dump-dom", probed.as_uri())
    seen = json.loads(html.unescape(re.search(r'data-seen="(.*?)"', shown.stdout)[1]))
    assert seen["errors"] == [] and seen["wider"] == 0
    assert len(seen["images"]) == page.read_text().count("<img ") > 3
    assert all(complete and width > 300 for complete, width in seen["images"])
    assert set(seen["requests"]) <= {"data:"}
    assert ":CONSOLE" not in shown.stderr
    picture = tmp_path / "page.png"
    browse(f"--screenshot={picture}", "--window-size=1200,1600", page.as_uri())
    from matplotlib.image import imread

    image = imread(picture)
    assert image.shape[:2] == (1600, 1200)
    # Something is drawn in every part of the page.
    assert all(part[..., :3].std() > 0.02 for part in np.array_split(image, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figures", "--kinds", "curves,pies"], "kinds must be of .* 'pies'"),
        (["figures", "--formats", "gif"], "formats must be of png, pdf, svg. .*'gif'"),
        (["report", "--widths", "0,3"], "whole numbers from 1 on.*'0,3'"),
        (["paint"], "invalid choice: 'paint'"),
        ([], "required"),
    ],
)
def test_wrong_options(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_no_logs(tmp_path, capsys):
    assert command.main(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evaluation: error: there is no log in ")
    assert command.main(["tables", str(tmp_path / "nowhere")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err


def test_no_usable_log(tmp_path, capsys):
    folder = tmp_path / "a" / "historyLogs"
    folder.mkdir(parents=True)
    (folder / "dim5.xlsx").write_bytes(b"")
    assert (
        command.main(["figures", str(tmp_path), "--output", str(tmp_path / "o")]) == 2
    )
    first, last = capsys.readouterr().err.splitlines()
    assert "dim5.xlsx: the file is empty; it is left out" in first
    assert last == "evaluation: error: no log is left to evaluate"
    assert not (tmp_path / "o").exists()


def test_output_that_cannot_be_written(sweep, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command.main(["tables", str(sweep), "--output", str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_is_quick_and_complete():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    code = "import sys; from evaluation.__main__ import main; "
    code += "import atexit; atexit.register(lambda: print('keras' in sys.modules)); "
    code += "main(['figures', '--help'])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert shown.returncode == 0
    for option in ("--output", "--band", "--at", "--widths", "--ranks", "--kinds"):
        assert option in shown.stdout
    assert shown.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_script_draws_the_reference_logs(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable}
    script = ROOT / "run_scripts" / "figures.sh"
    options = ["--output", tmp_path, "--formats", "png", "--kinds", "ranks"]
    shown = subprocess.run(
        ["sh", script, *options], capture_output=True, text=True, env=environment
    )
    assert shown.returncode == 0, shown.stderr
    names = [Path(line).name for line in shown.stdout.splitlines()]
    assert "ranks-dlrt-tolerance-0.25-width-100-12-epochs.png" in names
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())


def test_figures_of_reference_logs_and_of_others_are_apart():
    script = (ROOT / "run_scripts" / "figures.sh").read_text()
    reference = ROOT / re.search(r"output=\$root/(\S+)", script)[1]
    outputs = {
        name: command._parser().parse_args([name]).output
        for name in ("figures", "tables", "report")
    }
    assert reference not in outputs.values()
    # Git ignores what is in there.
    for path in (reference, *outputs.values()):
        assert path.is_relative_to(ROOT / "history_logs")
