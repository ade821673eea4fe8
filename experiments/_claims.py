"""Which process works on which network of an archive.

A lock on a byte of one file for each network: the system drops it when a process ends,
however it ends, and nothing is left to clean up. It works between machines too, where
their shared file system does.
"""

import fcntl
import hashlib
from pathlib import Path

_FILE = ".claims"


class Claims:
    """The claims of this process on networks of an archive.

    The system counts by process: there must be one object for an archive, and it
    stays open.

    Args:
        root: Folder of the archive.

    Raises:
        OSError: If the folder can't be written to.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._file = open(root / _FILE, "ab", buffering=0)

    def take(self, what: str, wait: bool = False) -> bool:
        """Claims a network; false if another process has it, unless told to wait."""
        try:
            flags = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
            fcntl.lockf(self._file, flags, 1, _byte(what))
        except BlockingIOError:
            return False
        except PermissionError:
            # What some systems say in place of it.
            return False
        return True

    def drop(self, what: str) -> None:
        """Gives a claim up."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte(what))

    def close(self) -> None:
        """Gives all claims up."""
        self._file.close()


def _byte(what: str) -> int:
    digest = hashlib.sha256(what.encode()).digest()
    return int.from_bytes(digest[:7], "big") >> 1
