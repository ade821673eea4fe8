"""How files are written: links are followed, and what is no file is refused."""

import os
import socket
import stat

import pytest

from dlrt.callbacks import HistoryLog, read_history
from dlrt.history import atomic_file


def write_by_path(path, content):
    with atomic_file.replacing(path) as temporary:
        assert temporary.suffix == path.suffix
        temporary.write_bytes(content)


def log(path, content):
    HistoryLog(path, {"content": content.decode()}, resume=True).append(1, 0.5)


REPLACING = pytest.mark.parametrize("write", [atomic_file.replace, write_by_path])
EVERY = pytest.mark.parametrize(
    "write", [atomic_file.replace, atomic_file.create, write_by_path, log]
)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@REPLACING
def test_a_link_stays_and_its_target_is_written(tmp_path, write):
    target = tmp_path / "elsewhere" / "target.html"
    target.parent.mkdir()
    target.write_bytes(b"old")
    (tmp_path / "link.html").symlink_to(target)
    (tmp_path / "again.html").symlink_to("link.html")
    write(tmp_path / "again.html", b"new")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "again.html").is_symlink()
    assert target.read_bytes() == b"new"
    assert os.listdir(target.parent) == ["target.html"]


@EVERY
def test_a_link_to_nothing_yet(tmp_path, write):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target.xlsx", tmp_path / "link.xlsx"
    link.symlink_to(target)
    write(link, b"new")
    assert link.is_symlink()
    assert target.is_file()
    assert len(os.listdir(target.parent)) == 1


def test_a_linked_log_is_continued_in_its_place(tmp_path):
    target, link = tmp_path / "target.xlsx", tmp_path / "link.xlsx"
    HistoryLog(target).append(1, 0.5)
    link.symlink_to(target)
    with pytest.raises(FileExistsError, match="resume=True"):
        HistoryLog(link).open()
    HistoryLog(link, resume=True).append(2, 0.5)
    assert link.is_symlink()
    assert [row["epoch"] for row in read_history(target)[0]] == [1, 2]


@EVERY
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    "make, kind", [(os.mkfifo, "pipe"), (os.mkdir, "folder"), (make_socket, "socket")]
)
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, write, linked, make, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "out.xlsx"
    # A socket needs a short name.
    make("made" if linked else "out.xlsx")
    if linked:
        path.symlink_to("made")
    before = os.stat(path)
    with pytest.raises(OSError, match=rf"take the place of a {kind}.*out\.xlsx"):
        write(path, b"new")
    after = os.stat(path)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert len(os.listdir(tmp_path)) == 1 + linked


@REPLACING
def test_permissions_stay(tmp_path, write):
    path = tmp_path / "out.csv"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "write", [atomic_file.replace, atomic_file.create, write_by_path]
)
def test_a_folder_that_is_missing_is_named(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*out\.csv"):
        write(tmp_path / "nowhere" / "out.csv", b"new")


@REPLACING
def test_nothing_stays_of_a_failed_write(tmp_path, monkeypatch, write):
    path = tmp_path / "out.csv"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"No space left.*out\.csv"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.csv"]


@EVERY
def test_a_name_that_is_too_long_is_named(tmp_path, write):
    path = tmp_path / f"{'a' * 240}.xlsx"
    with pytest.raises(OSError, match=r"File name too long: '.*/a+\.xlsx'"):
        write(path, b"new")
