"""Data sets as files in the places that are searched."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from dlrt.datasets import Dataset
from dlrt.datasets import _download as download_module

IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}

Arrays = dict[str, np.ndarray]


class Places:
    """The directories that `load` searches in a test, at first empty; no network."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_network(*args: object) -> None:
            raise OSError("no network in tests")

        self.own = root / "own"
        self.cache = root / "keras" / "datasets"
        self.own.mkdir()
        self.cache.mkdir(parents=True)
        monkeypatch.delenv("DLRT_DATA_DIR", raising=False)
        monkeypatch.setenv("KERAS_HOME", str(root / "keras"))
        monkeypatch.setattr(download_module, "download", no_network)


def fake_arrays(num_train: int = 12, num_test: int = 10, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (num_train, 28, 28), dtype=np.uint8),
        "y_train": (np.arange(num_train) % 10).astype(np.uint8),
        "x_test": rng.integers(0, 256, (num_test, 28, 28), dtype=np.uint8),
        "y_test": (np.arange(num_test) % 10).astype(np.uint8),
    }


def write_npz(path: Path, arrays: Arrays) -> bytes:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path.read_bytes()


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return header + lengths + array.tobytes()


def write_idx(directory: Path, arrays: Arrays) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for key, name in IDX_NAMES.items():
        (directory / name).write_bytes(gzip.compress(idx_bytes(arrays[key])))


def assert_holds(dataset: Dataset, arrays: Arrays) -> None:
    for part in ("train", "test"):
        images = getattr(dataset, f"x_{part}")
        labels = getattr(dataset, f"y_{part}")
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(
            images, arrays[f"x_{part}"].astype(np.float32) / np.float32(255)
        )
        np.testing.assert_array_equal(labels, arrays[f"y_{part}"])
