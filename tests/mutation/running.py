"""Tests within a process that has been started for them."""

import os
import sys
from pathlib import Path

import pytest


def run_tests(copy: Path, words: list[str], report: Path) -> None:
    """Runs pytest in a copy, and ends the process as it ends."""
    with report.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    # A cached module may be as old and as long as the one with a fault.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    sys.exit(int(pytest.main(words)))
