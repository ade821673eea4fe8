"""Logs where a disk is full, a process is killed, or two want one name."""

import errno
import os
import signal

import killed
import pytest
from logs import epochs_in, files_in, fit, make_model, start_python, write_epochs

from dlrt.callbacks import HistoryLog, read_history


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.xlsx"


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_keeps_the_earlier_file(path, monkeypatch, function):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = HistoryLog(path)
    write_epochs(log, 1)
    before = path.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(os, function, fail)
        with pytest.raises(OSError, match=r"No space left.*net\.xlsx") as caught:
            write_epochs(log, 2)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert files_in(path) == ["net.xlsx"]
    write_epochs(log, 2)
    assert epochs_in(path) == [1, 2]


LIMITED = """
import copy, resource, sys
from pathlib import Path
from dlrt.callbacks import HistoryLog

log = HistoryLog(sys.argv[1], write_interval=600)
for epoch in range(1, 1500):
    log.append(epoch, 0.5, {"loss": 1 / epoch})
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    log.flush()
except OSError as error:
    # As another process gets it: made anew from what it says of itself.
    print(copy.copy(error))
"""


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_file_that_grows_too_large(tmp_path, path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = start_python(LIMITED, path)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    reason = f"The log cannot be written: {os.strerror(errno.EFBIG)}"
    assert out == f"{OSError(errno.EFBIG, reason, str(path))}\n"
    assert epochs_in(path) == [1]
    assert files_in(path) == ["net.xlsx", "scratch"]
    assert not any(scratch.iterdir())


@pytest.mark.parametrize("below", ["net.xlsx", "deeper/net.xlsx"])
def test_a_directory_that_cannot_be_made(tmp_path, below):
    (tmp_path / "file").write_text("")
    log = HistoryLog(tmp_path / "file" / below)
    with pytest.raises(NotADirectoryError, match=r"cannot be written.*net\.xlsx"):
        fit(make_model(), log, epochs=1)


def test_leftovers_of_this_log_are_removed_and_no_others(path):
    write_epochs(HistoryLog(path), 1)
    own = path.with_name(".net.xlsx.0123456789abcdef.tmp")
    others = [".net2.xlsx.0123456789abcdef.tmp", ".net.xlsx.mine.tmp", "net.tmp"]
    for name in (own.name, *others):
        path.with_name(name).write_text("")
    with pytest.raises(FileExistsError):
        HistoryLog(path).open()
    assert own.exists()
    HistoryLog(path, resume=True).open()
    assert files_in(path) == sorted(["net.xlsx", *others])


KILLED = killed.program({"seed": 1})


@pytest.mark.tensorflow_only
def test_a_killed_process_leaves_every_finished_epoch(path):
    # Killed from outside, wherever it happens to be in a loop of writes ...
    with start_python(KILLED, path, 1, 0) as process:
        finished = 0
        for line in process.stdout:
            finished = int(line)
            if finished == 30:
                process.kill()
    assert process.returncode == -signal.SIGKILL
    rows, _ = read_history(path)
    assert [row["epoch"] for row in rows] in (
        list(range(1, finished + 1)),
        list(range(1, finished + 2)),  # Written, but not reported any more.
    )
    last = rows[-1]["epoch"]
    # ... and at the worst moment, when the new file is to take the old one's place.
    with start_python(KILLED, path, last + 1, 6) as process:
        reported = [int(line) for line in process.stdout]
    assert process.returncode == -signal.SIGKILL
    assert reported == list(range(last + 1, last + 6))
    assert epochs_in(path) == list(range(1, last + 6))
    assert len(files_in(path)) > 1
    log = HistoryLog(path, {"seed": 1}, resume=True)
    fit(make_model(), log, epochs=last + 6, initial_epoch=last + 5)
    assert epochs_in(path) == list(range(1, last + 7))
    assert files_in(path) == ["net.xlsx"]


RACING = """
import sys
from dlrt.callbacks import HistoryLog

print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    try:
        HistoryLog(f"{sys.argv[1]}/{number}.xlsx", {"racer": sys.argv[2]}).open()
    except FileExistsError:
        continue
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_of_two_processes_one_gets_the_name(tmp_path):
    racers = [start_python(RACING, tmp_path, name) for name in ("a", "b")]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [[int(line) for line in racer.communicate()[0].split()] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sorted(won[0] + won[1]) == list(range(40))
    for name, numbers in zip("ab", won, strict=True):
        for number in numbers:
            _, stored = read_history(tmp_path / f"{number}.xlsx")
            assert stored["racer"] == name
    assert len(list(tmp_path.iterdir())) == 40
