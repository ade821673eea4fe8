"""Which process works on which network of an archive.

A lock on a byte of one file for each network: the system drops it when a process ends,
however it ends, and nothing is left to clean up. It also works between machines if
their shared file system supports locks.
"""

import contextlib
import fcntl
import hashlib
from collections.abc import Iterable
from pathlib import Path

_FILE = ".claims"


class Claims:
    """The claims of this process on networks of an archive.

    The system counts locks by process: use one object for an archive at a time.

    Args:
        root: Folder of the archive.

    Raises:
        OSError: If the folder can't be written to.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._file = open(root / _FILE, "ab", buffering=0)

    def take(self, what: str) -> bool:
        """Claims a network; false if another process has it."""
        # Systems raise either error.
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(what))
            return True
        return False

    def drop(self, what: str) -> None:
        """Releases a claim."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte(what))

    def close(self) -> None:
        """Releases all claims."""
        self._file.close()


def any_held(root: Path, names: Iterable[str]) -> bool:
    """Whether another process has claimed one of some networks of an archive.

    A process with its own claims there must not call it: closing the file drops them.
    """
    if not (root / _FILE).exists():
        return False
    with contextlib.closing(Claims(root)) as claims:
        return not all(map(claims.take, names))


def _byte(what: str) -> int:
    digest = hashlib.sha256(what.encode()).digest()
    return int.from_bytes(digest[:7], "big") >> 1
