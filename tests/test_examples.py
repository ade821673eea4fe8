"""The examples of docstrings run, and so does what the README shows."""

import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
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


def readme_example(x, y, x_val, y_val):
    model = keras.Sequential(
        [
            keras.Input((784,)),
            dlrt.layers.LowRankDense(500, rank=40, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-3)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    log = dlrt.callbacks.RankLog()
    model.fit(x, y, validation_data=(x_val, y_val), callbacks=[log])
    return model


def readme_compression(model):
    smaller, report = dlrt.compress(model, "alds", {"ratio": 4})
    print(report)
    return smaller


def readme_decomposition(model, x, y):
    decomposed = dlrt.decompose(model, sparsity=0.1)
    decomposed.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    decomposed.fit(x, y)
    smaller, report = dlrt.compress(decomposed, "hoyer", {"error": 0.1})
    return smaller


def readme_evolution(model, x, y):
    evolve = dlrt.callbacks.Evolve(x[:2000], max_parameters=12_500, stop=2)
    model.fit(x, y, epochs=4, callbacks=[evolve])
    return model


def readme_export(smaller):
    dlrt.export(smaller, "digits")
    return Path("digits")


def body(function):
    _, *lines, _ = inspect.getsource(function).splitlines(keepends=True)
    return textwrap.dedent("".join(lines))


def test_readme(capsys, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks == [
        "import keras\nimport dlrt\n\n" + body(readme_example),
        body(readme_compression),
        body(readme_decomposition),
        body(readme_evolution),
        body(readme_export),
    ]
    random = np.random.default_rng(0)
    x = random.random((512, 784), dtype="float32")
    y = random.integers(0, 10, 512)
    model = readme_example(x, y, x[:100], y[:100])
    assert model.layers[0].rank == 40
    smaller = readme_compression(dlrt.to_dense(model))
    assert f"{smaller.count_params():,} now" in capsys.readouterr().out
    dense = dlrt.to_dense(model)
    assert readme_decomposition(dense, x, y).count_params() < dense.count_params()
    dense.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert readme_evolution(dense, x, y).count_params() <= 12_500
    monkeypatch.chdir(tmp_path)
    assert readme_export(smaller).is_dir()
