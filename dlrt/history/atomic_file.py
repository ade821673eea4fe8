"""Files that appear under their name complete or not at all.

Whatever writes a file does so here. Where the name is a link, its target is written and
the link stays. Devices, pipes and folders are refused. An `OSError` names the path that
was given.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

# Names that `_temporary` gives, and has given before it kept the ending.
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp(\.[^.]+)?")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def check(path: Path) -> None:
    """Raises an `OSError` if there is something at `path` that is no regular file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"a file can't take the place of {kind}", str(path))


def create(path: Path, content: bytes) -> None:
    """Writes a new file; of several processes with one `path`, one succeeds.

    The others get a `FileExistsError`.
    """
    with _temporary(path) as (temporary, target):
        _write_and_sync(temporary, content)
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links. The name is taken first, by an empty
            # file, and filled at once.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL))
            os.replace(temporary, target)


def replace(path: Path, content: bytes) -> None:
    """Writes a file in the place of an earlier one, which stays if that fails."""
    with replacing(path) as temporary:
        _write_and_sync(temporary, content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` if that succeeds.

    It has the same ending, and the file keeps the permissions of an earlier one.
    """
    with _temporary(path) as (temporary, target):
        yield temporary
        # Some file systems have no permissions, and there is no file at first.
        with contextlib.suppress(OSError):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)


def remove_leftovers(path: Path) -> None:
    """Removes the temporary files that killed writers of `path` left behind."""
    path = Path(os.path.realpath(path))
    for candidate in path.parent.iterdir():
        if find_goal(candidate) == path:
            candidate.unlink(missing_ok=True)


def find_goal(temporary: Path) -> Path | None:
    """The file that a temporary one was to become; `None` if it is no such file."""
    match = _TEMPORARY.fullmatch(temporary.name)
    return None if match is None else temporary.with_name(match[1] + (match[2] or ""))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes errors of the operating system say which log could not be written."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise _named(error, path, "The log cannot be written: ") from error


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, Path]]:
    """The path of a new file and that of its goal, both of them in one folder."""
    check(path)
    target = Path(os.path.realpath(path))
    if not target.parent.exists():
        raise FileNotFoundError(
            errno.ENOENT, f"there is no folder {target.parent}", str(path)
        )
    temporary = target.with_name(
        f".{target.stem}.{secrets.token_hex(8)}.tmp{target.suffix}"
    )
    try:
        yield temporary, target
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        # A failed write names no file, and this one's name says nothing to anybody.
        raise _named(error, path) from error
    finally:
        # A failed write says why it failed.
        with contextlib.suppress(OSError):
            temporary.unlink()


def _named(error: OSError, path: Path, what: str = "") -> OSError:
    return OSError(error.errno, what + (error.strerror or str(error)), str(path))


def _write_and_sync(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
