"""A package of its own adds one thing of each kind, see `docs/extending.md`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.tensorflow_only
def test_a_separate_distribution_adds_one_of_each_kind(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ROOT / "examples" / "dlrt_extras", source)
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
