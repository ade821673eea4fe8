"""The examples of docstrings run, and so does what the README shows."""

import ast
import dataclasses
import doctest
import importlib.util
import pkgutil
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import dlrt

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("[a-z]*/README.md"))]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(dlrt.__path__, "dlrt.")
    if not module.name.startswith("dlrt.training._train_step_")
)
NAMES = {"dlrt": dlrt, "keras": keras, "np": np}


def examples_of(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(module, extraglobs=NAMES) if test.examples]


@pytest.mark.parametrize("name", [name for name in MODULES if examples_of(name)])
def test_docstrings(name):
    runner = doctest.DocTestRunner()
    for test in examples_of(name):
        assert runner.run(test).failed == 0, test.name


def test_readme(capsys, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    # A third of the images is enough to learn a little.
    digits = dlrt.datasets.load("digits")
    fewer = {part: getattr(digits, part)[::3] for part in ("x_train", "y_train")}
    fewer = dataclasses.replace(digits, **fewer)
    monkeypatch.setattr(dlrt.datasets, "load", {"digits": fewer}.__getitem__)
    names = {}
    for block in blocks:
        exec(compile(block, README, "exec"), names)
    said = capsys.readouterr().out
    assert names["model"].layers[0].rank == 40
    assert re.search(r"parameters: 397,510 before, .* \(4\.0\d times fewer\)", said)
    assert names["smaller"].count_params() < names["decomposed"].count_params()
    assert names["dense"].count_params() <= 12_500
    assert Path("digits").is_dir()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_pages(page):
    text = page.read_text()
    # What there is after the two commands of the README: no other Python has Keras.
    assert not re.search(r"(?<!/)python\s+-m|(?<!bin/)(?<!-m )pip\s+install", text)
    for module in re.findall(r"\.venv/bin/python\s+-m\s+([\w.]+)", text):
        assert importlib.util.find_spec(module), module
    for script in re.findall(r"run_scripts/(\w+\.sh)", text):
        assert (ROOT / "run_scripts" / script).is_file(), script


def test_what_the_pages_name_is_imported_with_dlrt():
    imported = {
        alias.asname or alias.name
        for node in ast.parse(Path(dlrt.__file__).read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for page in PAGES:
        for name, attribute in re.findall(r"dlrt\.(\w+)(?:\.(\w+))?", page.read_text()):
            if name in ("md", "sh"):
                continue
            assert name in imported, name
            assert not attribute or hasattr(getattr(dlrt, name), attribute), attribute
