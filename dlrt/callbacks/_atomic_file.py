"""Files that appear under their name complete or not at all."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

# A name that `_write_temporary` gives.
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")


def create(path: Path, content: bytes) -> None:
    """Writes a new file; of several processes with one `path`, one succeeds.

    Raises:
        FileExistsError: There is a file of that name already.
        OSError: It can't be written; the error names `path`.
    """
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links. The name is taken first, by an empty
        # file, and filled at once.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace(path: Path, content: bytes) -> None:
    """Writes a file in the place of an earlier one, which stays if that fails.

    Raises:
        OSError: It can't be written; the error names `path`.
    """
    temporary = _write_temporary(path, content)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Removes the temporary files that killed writers of `path` left behind."""
    for candidate in path.parent.iterdir():
        if goal(candidate) == path:
            candidate.unlink(missing_ok=True)


def goal(temporary: Path) -> Path | None:
    """The file that a temporary one was to become; `None` if it is no such file."""
    match = _TEMPORARY.fullmatch(temporary.name)
    return None if match is None else temporary.with_name(match[1])


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes errors of the operating system say which log could not be written."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            error.errno, f"The log cannot be written: {reason}", str(path)
        ) from error


def _write_temporary(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        _write_and_sync(temporary, content)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        # A failed write names no file, and this one's name says nothing to anybody.
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _write_and_sync(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
