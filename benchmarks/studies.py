"""Runs of experiments for studies: processes of their own, kept once finished."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.places import ROOT
from experiments.runs.log_format import LOGS, workbooks

# Exit status of the experiments after a loss that is no number.
_DIVERGED = 3


def train(
    module: str, options: Sequence[str], name: str, log_dir: Path, threads: int = 1
) -> Path:
    """Trains a network, unless it has been with the same options.

    A run that was cut off, or finished with other options, is continued.

    Args:
        module: What trains: "experiments.mnist_dense".
        options: Words of its command line.
        name: Name of the run.
        log_dir: Folder of the runs; a log of the output goes there too.
        threads: Threads that the run may use.

    Returns:
        The run's workbook.

    Raises:
        subprocess.CalledProcessError: If it fails, unless its loss is no number.
    """
    directory = log_dir / name
    finished = directory / "finished"
    words = " ".join(options)
    if not finished.exists() or finished.read_text() != words:
        command = [sys.executable, "-m", module, *options]
        command += ["--run-name", name, "--log-dir", str(log_dir)]
        if directory.exists():
            command.append("--resume")
        limits = dict.fromkeys(
            ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"),
            str(threads),
        )
        log_dir.mkdir(parents=True, exist_ok=True)
        with open(log_dir / f"{name}.log", "a") as output:
            process = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **limits},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if process.returncode != _DIVERGED:
            process.check_returncode()
        finished.write_text(words)
    return workbooks(directory / LOGS)[0]
