"""What runs leave in their folders, and how the tests disturb them."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrt.callbacks import read_history
from experiments.runs import run_callbacks

ROOT = Path(__file__).resolve().parents[2]


def workbook(directory):
    (path,) = (directory / "historyLogs").glob("*.xlsx")
    return path


def rows_of(directory):
    return read_history(workbook(directory))[0]


def only_run(logs):
    (directory,) = logs.iterdir()
    return directory


def start(module, words, **options):
    """A run in a process of its own."""
    command = [sys.executable, "-m", f"experiments.{module}", *map(str, words)]
    options = {"stdout": subprocess.DEVNULL, "text": True} | options
    return subprocess.Popen(command, cwd=ROOT, **options)


def finish(module, words):
    """The same to its end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start(module, words, **pipes)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def failure(capsys, run, *arguments):
    """The one line that a run in this process with wrong input ends with."""
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def refused_without_checkpoint(capsys, run, directory, *words):
    """A run to continue whose checkpoint is gone, or only a part of it is there."""
    log, last = workbook(directory), directory / "last.keras"
    before, whole = log.read_bytes(), last.read_bytes()
    capsys.readouterr()
    for content, part in ((None, "gone"), (b"", "empty"), (whole[:2000], "a part of")):
        last.unlink()
        if content is not None:
            last.write_bytes(content)
        line = failure(capsys, run, *words)
        assert "--resume" in line and "last.keras" in line and part in line, line
        assert log.read_bytes() == before
        last.touch()
    last.write_bytes(whole)


def wait_for_an_epoch(directory, seconds=120):
    """Waits until a run has saved its first epoch."""
    deadline = time.monotonic() + seconds
    while not (directory / "best.keras").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def interrupt_second_epoch(monkeypatch):
    """Stops runs after the row of the second epoch and before its checkpoint."""
    saved = run_callbacks.Checkpoint.on_epoch_end

    def interrupt(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        saved(self, epoch, logs)

    monkeypatch.setattr(run_callbacks.Checkpoint, "on_epoch_end", interrupt)


def fill_disk(module, words, directory):
    """Starts a run, and lets the disk fill up under it: it ends with a clear error."""
    process = start(module, words, stderr=subprocess.PIPE)
    wait_for_an_epoch(directory)
    # As if: only files as small as a log can be written from now on.
    limit = (64 * 1024, resource.RLIM_INFINITY)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 4
    assert "File too large" in errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert len(rows_of(directory)) >= 1
    assert not list(directory.rglob(".*"))
