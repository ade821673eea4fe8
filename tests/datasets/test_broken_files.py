"""Files that are not those of a data set."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stored import (
    IDX_NAMES,
    Arrays,
    Places,
    assert_holds,
    fake_arrays,
    idx_bytes,
    write_idx,
    write_npz,
)

from dlrt.datasets import (
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
    load,
)

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


def without(key: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {k: v for k, v in arrays.items() if k != key}


def changed(
    key: str, change: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, key: change(arrays[key])}


DEFECTS = {
    "missing key": (without("y_test"), "no array named y_test"),
    "float images": (
        changed("x_train", lambda x: x / 255),
        "x_train must be uint8, but is float64",
    ),
    "flat images": (
        changed("x_test", lambda x: x.reshape(len(x), -1)),
        r"x_test must have shape \(N, 28, 28\) .* \(10, 784\)",
    ),
    "wrong image size": (changed("x_train", lambda x: x[:, :27]), r"\(12, 27, 28\)"),
    "channels": (changed("x_train", lambda x: x[..., None]), r"\(12, 28, 28, 1\)"),
    "a number for images": (changed("x_train", lambda x: x[0, 0, 0]), "x_train must"),
    "no images": (changed("x_test", lambda x: x[:0]), "N > 0"),
    "too few labels": (
        changed("y_train", lambda y: y[:-1]),
        r"one label for each.*\(11,\)",
    ),
    "one-hot labels": (changed("y_train", lambda y: np.eye(10)[y]), "one label for"),
    "float labels": (
        changed("y_test", lambda y: y.astype(np.float32)),
        "must have integer labels. Received: y_test of dtype float32",
    ),
    "label too large": (changed("y_test", lambda y: y + 1), r"\[0, 10\).* 1 to 10"),
    "negative label": (
        changed("y_train", lambda y: y.astype(np.int32) - 1),
        "from -1 to 8",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_wrong_content(places: Places, defect: str) -> None:
    damage, message = DEFECTS[defect]
    path = places.own / "mnist.npz"
    content = write_npz(path, damage(fake_arrays()))
    with pytest.raises(DatasetFileError, match=message) as caught:
        load("mnist", data_dir=places.own)
    assert isinstance(caught.value, ValueError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


class Trap:
    """Raises the alarm when it is unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (spring_trap, ())


def spring_trap() -> None:
    Trap.sprung = True


def test_pickled_objects_are_refused_and_not_run(places: Places) -> None:
    arrays = fake_arrays()
    objects = np.array([Trap()] * 12, dtype=object)
    write_npz(places.own / "mnist.npz", {**arrays, "y_train": objects})
    with pytest.raises(DatasetFileError, match="mnist.npz: .*allow_pickle=False"):
        load("mnist", data_dir=places.own)
    assert not Trap.sprung


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"<html>Not found</html>", b"\x80\x04N.", b"\x93NUMPY"]
)
def test_other_file_types(places: Places, content: bytes) -> None:
    path = places.own / "mnist.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetFileError, match="not a complete npz"):
        load("mnist", data_dir=places.own)
    assert path.read_bytes() == content


def test_truncated_and_damaged_archives(places: Places) -> None:
    path = places.own / "mnist.npz"
    arrays = {key: np.zeros_like(array) for key, array in fake_arrays().items()}
    content = write_npz(path, arrays)
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        with pytest.raises(DatasetFileError, match="not a complete npz"):
            load("mnist", data_dir=places.own)
    refused = 0
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        # Some bytes, as those of a time stamp, do not matter.
        try:
            dataset = load("mnist", data_dir=places.own)
        except DatasetFileError:
            refused += 1
        else:
            assert_holds(dataset, arrays)
    assert refused > 100


def test_directory_in_place_of_the_file(places: Places) -> None:
    (places.own / "mnist.npz").mkdir()
    with pytest.raises(DatasetFileError, match="mnist.npz: cannot be read"):
        load("mnist", data_dir=places.own)


def test_dangling_link_is_an_error_and_not_an_absent_file(places: Places) -> None:
    (places.own / "mnist.npz").symlink_to(places.own / "absent")
    with pytest.raises(DatasetFileError, match="mnist.npz: cannot be read"):
        load("mnist", data_dir=places.own)


def test_broken_cache_file_is_skipped_and_kept(places: Places) -> None:
    path = places.cache / "mnist.npz"
    path.write_bytes(b"half a download")
    with pytest.raises(DatasetUnavailableError, match="cache cannot be used: .*npz"):
        load("mnist")
    assert path.read_bytes() == b"half a download"
    with pytest.warns(DatasetFallbackWarning, match="not a complete npz"):
        assert load("auto").name == "digits"


IDX_DEFECTS: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "not gzip": ("x_train", gzip.decompress, "cannot be read"),
    "truncated gzip": ("x_test", lambda b: b[:-20], "cannot be read"),
    "empty": ("y_train", lambda b: b"", "not an idx file"),
    "not idx": ("y_train", lambda b: gzip.compress(b"hello"), "not an idx file"),
    "short header": (
        "y_test",
        lambda b: gzip.compress(gzip.decompress(b)[:5]),
        "but 0 bytes follow",
    ),
    "short data": (
        "y_test",
        lambda b: gzip.compress(gzip.decompress(b)[:-1]),
        r"promises shape \(10,\), 10 bytes, but 9 bytes follow",
    ),
    "huge header": (
        "x_test",
        lambda b: gzip.compress(b"\0\0\x08\3" + b"\xff" * 12),
        "but 0 bytes follow",
    ),
    "labels for images": (
        "x_train",
        lambda b: gzip.compress(idx_bytes(np.zeros(12, np.uint8))),
        "x_train must have shape",
    ),
    "other length": (
        "y_train",
        lambda b: gzip.compress(idx_bytes(np.zeros(11, np.uint8))),
        "one label for each",
    ),
}


@pytest.mark.parametrize("defect", IDX_DEFECTS)
def test_broken_idx_files(places: Places, defect: str) -> None:
    key, damage, message = IDX_DEFECTS[defect]
    directory = places.cache / "fashion-mnist"
    write_idx(directory, fake_arrays())
    path = directory / IDX_NAMES[key]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetUnavailableError, match=message) as caught:
        load("fashion_mnist")
    assert str(directory) in str(caught.value)
