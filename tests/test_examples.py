"""The examples of docstrings and of the README run as they stand."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import dlrt

README = Path(__file__).resolve().parents[1] / "README.md"
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(dlrt.__path__, "dlrt.")
    if not module.name.startswith("dlrt._train_step_")
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


def test_readme():
    random = np.random.default_rng(0)
    x = random.random((512, 784), dtype="float32")
    y = random.integers(0, 10, 512)
    names = {"x": x, "y": y, "x_val": x[:100], "y_val": y[:100]}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, names)
    assert names["model"].layers[0].rank == 40
