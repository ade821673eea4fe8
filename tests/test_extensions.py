"""A package of its own adds one thing of each kind, see `docs/extending.md`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ROOT / "examples" / "dlrt_extras"

KNOWN = """
import keras, dlrt, dlrt_extras
from dlrt.compression.structures import structure_names

assert dlrt.datasets.load("gratings").num_classes == 4
assert dlrt.integrators.get("orthographic").name == "orthographic"
assert "interpolative" in structure_names()
layer = keras.layers.Conv1DTranspose(5, 4, name="t")
model = dlrt.convert(keras.Sequential([keras.Input((9, 6)), layer]), rank=2)
assert type(model.layers[0]) is dlrt_extras.LowRankConv1DTranspose
"""


@pytest.mark.tensorflow_only
def test_a_package_makes_known_what_it_adds():
    path = os.pathsep.join([str(EXTRAS), str(ROOT)])
    # Keras is there sooner with NumPy alone.
    environment = {**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "numpy"}
    subprocess.run([sys.executable, "-c", KNOWN], check=True, env=environment)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_separate_distribution_adds_one_of_each_kind(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXTRAS, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    pip += ["--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", site, source], check=True)
    path = os.pathsep.join([str(site), str(ROOT)])
    subprocess.run(
        # Without the folder of the program, or it would find the package there.
        [sys.executable, "-P", source / "try_out.py", tmp_path],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
