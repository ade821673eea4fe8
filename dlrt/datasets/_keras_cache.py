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
from dlrt.datasets._dataset import Arrays
from dlrt.datasets._download import RemoteFile
from dlrt.datasets._errors import DatasetFileError, DatasetUnavailableError
from dlrt.datasets._files import IDX_FILES, read_cifar10, read_idx_directory, read_npz
from dlrt.datasets._image_folders import read_archive, read_folder
from dlrt.datasets._named import find_own


@dataclass(frozen=True)
class CachedImages:
    """A data set that may be in the user's directory, or in the Keras cache.

    `read` takes a directory with its files, which is a `subdirectory` of the cache. In
    the user's directory it has one of the names in `own`, and `read_own` takes that
    path.
    """

    name: str
    subdirectory: str
    files: tuple[RemoteFile, ...]
    read: Callable[[Path], Arrays]
    own: tuple[str, ...]
    read_own: Callable[[Path], Arrays] = read_npz

    @property
    def directory(self) -> Path:
        """The absolute form of `subdirectory`."""
        return _keras_home() / self.subdirectory

    def load(self, data_dir: str | os.PathLike[str] | None) -> Arrays:
        own, said = find_own(self.own, data_dir)
        if own is not None:
            return self.read_own(own)._replace(source=said)
        tried = [said]
        remarks: tuple[str, ...] = ()
        if self.missing():
            lacking = ", ".join(self.missing())
            tried.append(f"the Keras cache ({self.directory}) has no {lacking}")
        else:
            try:
                return self.read(self.directory)._replace(source="the Keras cache")
            except DatasetFileError as error:
                tried.append(f"the Keras cache cannot be used: {error}")
                remarks = (
                    f"{error}. A new download was used instead, but not kept, as no "
                    "file is overwritten. Delete or move the file for the next "
                    "download to be kept.",
                )

        try:
            arrays = self.download()
        except (OSError, DatasetFileError) as error:
            tried.append(f"the download failed: {error}")
            raise DatasetUnavailableError(
                f"The data set {self.name!r} could not be had. Tried: "
                f"{'; '.join(tried)}"
            ) from error
        return arrays._replace(source="download", remarks=remarks)

    def missing(self) -> list[str]:
        names = (file.name for file in self.files)
        return [name for name in names if not os.path.lexists(self.directory / name)]

    def download(self) -> Arrays:
        """Downloads the data set, checks it and stores what was missing.

        A file gets its name in the cache only once all are known to be good, so an
        interrupted download never damages the cache.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix=".download-", dir=self.directory)
        with place as name:
            temporary = Path(name)
            _download.download(self.files, temporary)
            arrays = self.read(temporary)
            for file in self.missing():
                os.replace(temporary / file, self.directory / file)
        return arrays


_MNIST_HASH = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_CIFAR10 = "cifar-10-binary.tar.gz"
_CIFAR10_HASH = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"

MNIST = CachedImages(
    name="mnist",
    subdirectory="datasets",
    files=(RemoteFile("mnist.npz", _MNIST_HASH),),
    read=lambda directory: read_npz(directory / "mnist.npz"),
    own=("mnist.npz",),
)
FASHION_MNIST = CachedImages(
    name="fashion_mnist",
    subdirectory=os.path.join("datasets", "fashion-mnist"),
    files=tuple(map(RemoteFile, IDX_FILES)),
    read=read_idx_directory,
    own=("fashion_mnist.npz",),
)
# Keras caches the version of pickled objects, which are never loaded here.
CIFAR10 = CachedImages(
    name="cifar10",
    subdirectory="datasets",
    files=(RemoteFile(_CIFAR10, _CIFAR10_HASH, "https://www.cs.toronto.edu/~kriz/"),),
    read=lambda directory: read_cifar10(directory / _CIFAR10),
    own=("cifar10", "cifar10.tar.gz"),
    read_own=lambda path: read_folder(path) if path.is_dir() else read_archive(path),
)


def _keras_home() -> Path:
    # The rule of Keras, which tells it only at the price of an import.
    home = os.environ.get("KERAS_HOME")
    if home:
        return Path(home).expanduser()
    base = Path("~").expanduser()
    if not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
    return base / ".keras"
