"""The run scripts before anything is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow_only

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.name
    for path in (ROOT / "run_scripts").glob("*.sh")
    if not path.name.startswith("_")
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A new checkout, and on the path a Python without any package."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("benchmarks", "dlrt", "dlrt_names", "evaluation", "experiments"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "run_scripts", folder / "run_scripts")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python3.11"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_installs_nothing(checkout, script):
    done = subprocess.run(
        ["sh", checkout / "run_scripts" / script, "--help"],
        env={"PATH": f"{checkout / 'bin'}:/usr/bin:/bin", "EPOCHS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    parts = {
        "benchmark.sh": "--quick",
        "lint.sh": "--fix",
        "mutation.sh": "--all",
        "test.sh": "pytest",
    }
    assert parts.get(script, "--help") in done.stdout
    assert not (checkout / ".venv").exists()
