"""Imports between the packages point one way."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow_only

ROOT = Path(__file__).resolve().parents[1]
# Which of the others a package may use.
ALLOWED = {
    "dlrt_names": set(),
    "dlrt": {"dlrt_names"},
    "experiments": {"dlrt", "dlrt_names"},
    "evaluation": {"dlrt", "dlrt_names", "experiments"},
    "benchmarks": {"dlrt", "dlrt_names", "experiments"},
}


def imported(path):
    """The packages that a module takes something from, also within its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_use_only_those_below(package):
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / package).rglob("*.py")
        for name in imported(path)
        if name in ALLOWED and name != package
    }
    assert {item for item in found if item[1] not in ALLOWED[package]} == set()
    assert {name for _, name in found} == ALLOWED[package]


def private_imports(path):
    """The private modules of other packages that a module imports."""
    own = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                parts = (*node.module.split("."), alias.name)
                private = [i for i, part in enumerate(parts) if part.startswith("_")]
                if parts[0] in ALLOWED and private and parts[: private[0]] != own:
                    yield ".".join(parts)


@pytest.mark.parametrize("package", ALLOWED)
def test_private_modules_are_those_of_their_package(package):
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / package).rglob("*.py")
        for name in private_imports(path)
    }
    assert found == set()


def test_the_library_is_light():
    """It takes about 0.2 s more than Keras, and reads no file of data."""
    script = (
        "import keras, sys, time\n"
        "before, start = set(sys.modules), time.process_time()\n"
        "import dlrt\n"
        "print(time.process_time() - start, *sorted(set(sys.modules) - before))\n"
    )
    command = [sys.executable, "-c", script]
    # Keras is there sooner with NumPy alone.
    said = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KERAS_BACKEND": "numpy"},
    ).stdout
    seconds, *modules = said.split()
    # Of processor time; three times as long may be the reason of a busy machine.
    assert float(seconds) < 0.9
    heavy = {"PIL", "matplotlib", "openpyxl", "tensorly", "dlrt.phrases.lexicon"}
    assert heavy.isdisjoint(modules)
    assert {"dlrt.datasets", "dlrt.callbacks"} < set(modules)


def test_names_need_no_keras():
    script = (
        "import sys, dlrt_names.data_sets, dlrt_names.log_schema\n"
        "sys.exit('keras' in sys.modules or 'dlrt' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
