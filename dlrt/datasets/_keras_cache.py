"""The data sets that Keras caches, read and stored without going through it.

Keras's own loader downloads a cached file again when its hash is not the one
Keras knows, even if the arrays in it are right, and deletes it when that
download fails. Here an existing file is only ever read.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlrt.datasets import _download
from dlrt.datasets._download import RemoteFile
from dlrt.datasets._files import (
    RawArrays,
    read_cifar10,
    read_idx_directory,
    read_npz,
)


@dataclass(frozen=True)
class CacheEntry:
    """How a data set is laid out in the Keras cache.

    Args:
        subdirectory: Where its files are, relative to the cache's root.
        files: Its files.
        read: Reads and checks the data set in a directory with its files.
    """

    subdirectory: str
    files: tuple[RemoteFile, ...]
    read: Callable[[Path], RawArrays]

    @property
    def directory(self) -> Path:
        """The absolute form of `subdirectory`."""
        return _keras_home() / self.subdirectory

    def missing(self) -> list[str]:
        """Returns the names of the files that are not in the cache."""
        return [
            file.name
            for file in self.files
            if not os.path.lexists(self.directory / file.name)
        ]

    def download(self) -> RawArrays:
        """Downloads the data set, checks it and stores what was missing.

        A file gets its name in the cache only once the whole data set is
        known to be good, so an interrupted download never damages the cache.

        Raises:
            OSError: If it cannot be downloaded or stored.
            DatasetFileError: If what was downloaded cannot be used.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".download-", dir=self.directory
        ) as name:
            temporary = Path(name)
            _download.download(self.files, temporary)
            arrays = self.read(temporary)
            for file in self.missing():
                os.replace(temporary / file, self.directory / file)
        return arrays


def _read_mnist(directory: Path) -> RawArrays:
    return read_npz(directory / "mnist.npz")


def _read_cifar10(directory: Path) -> RawArrays:
    return read_cifar10(directory / _CIFAR10)


_CIFAR10 = "cifar-10-binary.tar.gz"

CACHE_ENTRIES = {
    "mnist": CacheEntry(
        subdirectory="datasets",
        files=(
            RemoteFile(
                "mnist.npz",
                "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            ),
        ),
        read=_read_mnist,
    ),
    "fashion_mnist": CacheEntry(
        subdirectory=os.path.join("datasets", "fashion-mnist"),
        files=(
            RemoteFile("train-labels-idx1-ubyte.gz"),
            RemoteFile("train-images-idx3-ubyte.gz"),
            RemoteFile("t10k-labels-idx1-ubyte.gz"),
            RemoteFile("t10k-images-idx3-ubyte.gz"),
        ),
        read=read_idx_directory,
    ),
    # Keras caches the version of pickled objects, which are never loaded here.
    "cifar10": CacheEntry(
        subdirectory="datasets",
        files=(
            RemoteFile(
                _CIFAR10,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                "https://www.cs.toronto.edu/~kriz/",
            ),
        ),
        read=_read_cifar10,
    ),
}


def _keras_home() -> Path:
    """Returns the directory Keras keeps its files in.

    Follows the rule of Keras, which tells it only at the price of an import.
    """
    home = os.environ.get("KERAS_HOME")
    if home:
        return Path(home).expanduser()
    base = Path("~").expanduser()
    if not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
    return base / ".keras"
