"""Tests of `dlrt.datasets`. None of them leaves the machine."""

import dataclasses
import functools
import gzip
import http.server
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import dlrt.datasets
from dlrt.datasets import (
    Dataset,
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
    load,
    split,
)
from dlrt.datasets import _download as download_module
from dlrt.datasets import _keras_cache as cache_module

pytestmark = pytest.mark.tensorflow_only

# Read before the fixture below hides it from the tests.
REAL_DATA_DIR = os.environ.get("DLRT_DATA_DIR")

IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}

Arrays = dict[str, np.ndarray]


class Places:
    """The directories that `load` searches in a test."""

    def __init__(self, root: Path) -> None:
        self.own = root / "own"
        self.cache = root / "keras" / "datasets"
        self.own.mkdir()
        self.cache.mkdir(parents=True)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Gives every test empty places to search, and no network."""

    def no_network(*args: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.delenv("DLRT_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download_module, "download", no_network)
    return Places(tmp_path)


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


# --- Where a data set is found ------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_data_dir_argument(places: Places, name: str) -> None:
    arrays = fake_arrays()
    write_npz(places.own / f"{name}.npz", arrays)
    dataset = load(name, data_dir=places.own)
    assert (dataset.name, dataset.source) == (name, "data_dir")
    assert dataset.num_classes == 10
    assert_holds(dataset, arrays)
    assert_holds(load(name, data_dir=str(places.own)), arrays)


def test_environment_variable(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = fake_arrays()
    write_npz(places.own / "mnist.npz", arrays)
    monkeypatch.setenv("DLRT_DATA_DIR", str(places.own))
    dataset = load("mnist")
    assert dataset.source == "DLRT_DATA_DIR"
    assert_holds(dataset, arrays)


def test_argument_precedes_environment_and_both_precede_cache(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    of_argument, of_variable, of_cache = (fake_arrays(seed=s) for s in range(3))
    write_npz(other / "mnist.npz", of_argument)
    write_npz(places.own / "mnist.npz", of_variable)
    write_npz(places.cache / "mnist.npz", of_cache)
    monkeypatch.setenv("DLRT_DATA_DIR", str(places.own))
    assert_holds(load("mnist", data_dir=other), of_argument)
    assert_holds(load("mnist"), of_variable)
    (places.own / "mnist.npz").unlink()
    dataset = load("mnist")
    assert dataset.source == "the Keras cache"
    assert_holds(dataset, of_cache)


def test_cached_mnist_with_unknown_hash_is_read_and_kept(places: Places) -> None:
    arrays = fake_arrays()
    content = write_npz(places.cache / "mnist.npz", arrays)
    assert_holds(load("mnist"), arrays)
    assert (places.cache / "mnist.npz").read_bytes() == content


def test_cached_fashion_mnist(places: Places) -> None:
    arrays = fake_arrays()
    write_idx(places.cache / "fashion-mnist", arrays)
    dataset = load("fashion_mnist")
    assert (dataset.name, dataset.source) == ("fashion_mnist", "the Keras cache")
    assert_holds(dataset, arrays)


def test_cache_without_keras_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    cache = tmp_path / ".keras" / "datasets"
    cache.mkdir(parents=True)
    arrays = fake_arrays()
    write_npz(cache / "mnist.npz", arrays)
    assert_holds(load("mnist"), arrays)


@pytest.mark.slow
def test_cache_directory_is_the_one_keras_uses(places: Places) -> None:
    # Keras reads `KERAS_HOME` when it is imported, hence another process. It
    # returns the path of a file it has and contacts no server then.
    (places.cache / "mnist.npz").touch()
    script = (
        "import keras, sys\n"
        "path = keras.utils.get_file('mnist.npz', origin='http://127.0.0.1:9/')\n"
        "sys.stdout.write(path)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    directory = cache_module.MNIST.directory
    assert Path(result.stdout) == directory / "mnist.npz"


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_unavailable_names_every_place(
    places: Places, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetUnavailableError) as caught:
        load(name)
    message = str(caught.value)
    assert isinstance(caught.value, OSError)
    assert repr(name) in message
    assert "DLRT_DATA_DIR is not set" in message
    assert str(places.cache) in message
    assert "no network in tests" in message

    monkeypatch.setenv("DLRT_DATA_DIR", str(places.own))
    with pytest.raises(DatasetUnavailableError) as caught:
        load(name)
    assert f"DLRT_DATA_DIR ({places.own}) has no {name}.npz" in str(caught.value)


def test_incomplete_fashion_mnist_cache_names_what_is_missing(places: Places) -> None:
    directory = places.cache / "fashion-mnist"
    write_idx(directory, fake_arrays())
    (directory / IDX_NAMES["y_test"]).unlink()
    with pytest.raises(DatasetUnavailableError, match="has no t10k-labels"):
        load("fashion_mnist")
    assert len(list(directory.iterdir())) == 3


@pytest.mark.parametrize("name", ["MNIST", "cifar100", "", None, 3, ["mnist"]])
def test_unknown_name(name: object) -> None:
    with pytest.raises(
        ValueError, match="`name` must be one of .*'fashion_mnist'"
    ) as e:
        load(name)  # type: ignore[arg-type]
    assert f"name={name!r}" in str(e.value)


@pytest.mark.parametrize("name", ["auto", "mnist", "fashion_mnist"])
def test_directory_that_does_not_exist(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(ValueError, match="`data_dir` must") as caught:
        load(name, data_dir=absent)
    assert repr(absent) in str(caught.value)
    monkeypatch.setenv("DLRT_DATA_DIR", absent)
    with pytest.raises(ValueError, match="`DLRT_DATA_DIR` must") as caught:
        load(name)
    assert repr(absent) in str(caught.value)


@pytest.mark.parametrize("data_dir", ["", 3, b"data"])
def test_invalid_data_dir(data_dir: object) -> None:
    with pytest.raises(ValueError, match="`data_dir` must") as caught:
        load("mnist", data_dir=data_dir)  # type: ignore[arg-type]
    assert repr(data_dir) in str(caught.value)


def test_file_as_data_dir(tmp_path: Path) -> None:
    file = tmp_path / "mnist.npz"
    write_npz(file, fake_arrays())
    with pytest.raises(ValueError, match="existing directory"):
        load("mnist", data_dir=file)


def test_empty_environment_variable_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DLRT_DATA_DIR", "")
    with pytest.raises(DatasetUnavailableError, match="DLRT_DATA_DIR is not set"):
        load("mnist")


# --- "auto" -------------------------------------------------------------------


def test_auto_prefers_mnist(places: Places) -> None:
    write_npz(places.own / "mnist.npz", fake_arrays())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(data_dir=places.own).name == "mnist"


def test_auto_falls_back_with_a_warning_at_the_caller() -> None:
    with pytest.warns(DatasetFallbackWarning) as record:
        dataset = load()
    assert (dataset.name, dataset.source) == ("digits", "embedded")
    (warning,) = record
    assert issubclass(warning.category, UserWarning)
    assert warning.filename == __file__
    message = str(warning.message)
    assert "not MNIST" in message
    assert "DLRT_DATA_DIR" in message
    assert "no network in tests" in message


def test_auto_does_not_hide_a_broken_file(places: Places) -> None:
    (places.own / "mnist.npz").write_bytes(b"broken")
    with pytest.raises(DatasetFileError, match="mnist.npz"):
        load("auto", data_dir=places.own)


# --- Files that cannot be used ------------------------------------------------


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


# --- Download -----------------------------------------------------------------

REAL_DOWNLOAD = download_module.download


class Server(http.server.ThreadingHTTPServer):
    """Serves files on the loopback interface, and cuts some short."""

    cut_short: frozenset[str] = frozenset()


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        name = self.path.rsplit("/", 1)[-1]
        if isinstance(server, Server) and name in server.cut_short:
            content = Path(self.directory, name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Replaces the site that is downloaded from; yields its server."""
    (tmp_path / "site").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "site"))
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download_module, "download", REAL_DOWNLOAD)
    monkeypatch.setattr(
        download_module, "BASE_URL", f"http://127.0.0.1:{server.server_port}/"
    )
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def unhashed_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    files = (download_module.RemoteFile("mnist.npz"),)
    changed_entry = dataclasses.replace(cache_module.MNIST, files=files)
    monkeypatch.setattr(cache_module, "MNIST", changed_entry)


@pytest.mark.usefixtures("remote", "unhashed_mnist")
def test_download_fills_the_cache(places: Places, tmp_path: Path) -> None:
    arrays = fake_arrays()
    content = write_npz(tmp_path / "site" / "mnist.npz", arrays)
    dataset = load("mnist")
    assert dataset.source == "download"
    assert_holds(dataset, arrays)
    assert [path.name for path in places.cache.iterdir()] == ["mnist.npz"]
    assert (places.cache / "mnist.npz").read_bytes() == content
    assert load("auto").source == "the Keras cache"


@pytest.mark.usefixtures("remote")
def test_download_completes_a_partial_cache(places: Places, tmp_path: Path) -> None:
    arrays = fake_arrays()
    write_idx(tmp_path / "site", arrays)
    directory = places.cache / "fashion-mnist"
    directory.mkdir()
    kept = directory / IDX_NAMES["x_train"]
    kept.write_bytes(b"the user's own")
    dataset = load("fashion_mnist")
    assert dataset.source == "download"
    assert_holds(dataset, arrays)
    assert kept.read_bytes() == b"the user's own"
    assert {path.name for path in directory.iterdir()} == set(IDX_NAMES.values())


@pytest.mark.usefixtures("remote", "unhashed_mnist")
def test_download_does_not_overwrite_a_broken_cache_file(
    places: Places, tmp_path: Path
) -> None:
    arrays = fake_arrays()
    write_npz(tmp_path / "site" / "mnist.npz", arrays)
    path = places.cache / "mnist.npz"
    path.write_bytes(b"broken")
    with pytest.warns(UserWarning, match="mnist.npz: not a complete npz") as record:
        dataset = load("mnist")
    assert [warning.filename for warning in record] == [__file__]
    assert_holds(dataset, arrays)
    assert path.read_bytes() == b"broken"


@pytest.mark.usefixtures("remote")
def test_download_with_another_hash_is_refused(places: Places, tmp_path: Path) -> None:
    write_npz(tmp_path / "site" / "mnist.npz", fake_arrays())
    with pytest.raises(DatasetUnavailableError, match="download failed: .*hash"):
        load("mnist")
    assert list(places.cache.iterdir()) == []


def test_interrupted_download_leaves_nothing(
    places: Places, tmp_path: Path, remote: Server
) -> None:
    write_idx(tmp_path / "site", fake_arrays())
    remote.cut_short = frozenset([IDX_NAMES["x_test"]])
    with pytest.raises(DatasetUnavailableError, match="download failed"):
        load("fashion_mnist")
    assert list((places.cache / "fashion-mnist").iterdir()) == []


@pytest.mark.usefixtures("remote")
def test_file_that_the_server_does_not_have(places: Places) -> None:
    with pytest.raises(DatasetUnavailableError, match="download failed: .*404"):
        load("mnist")
    assert list(places.cache.iterdir()) == []


def test_keyboard_interrupt_in_download_leaves_nothing(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(files: object, directory: Path) -> None:
        (directory / "mnist.npz").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(download_module, "download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mnist")
    assert list(places.cache.iterdir()) == []


@pytest.mark.parametrize("failure", ["refused", "silent"])
def test_no_network_fails_fast(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(*args: object, **kwargs: object) -> None:
        if failure == "silent":
            finished.wait(10)
        raise ConnectionRefusedError("connection refused")

    finished = threading.Event()
    monkeypatch.setattr(download_module, "download", REAL_DOWNLOAD)
    monkeypatch.setattr(download_module, "_ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    start = time.monotonic()
    expected = "connection refused" if failure == "refused" else "no answer within"
    with pytest.raises(DatasetUnavailableError, match=expected):
        load("mnist")
    assert time.monotonic() - start < 3
    finished.set()


def test_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(DatasetUnavailableError, match="download failed"):
        load("mnist")


# --- The package --------------------------------------------------------------


def test_real_mnist_or_its_layout(tmp_path: Path) -> None:
    """The layout always, and the real file where `DLRT_DATA_DIR` has it."""
    rng = np.random.default_rng(0)
    layout = {
        "x_train": np.zeros((60000, 28, 28), np.uint8),
        "y_train": rng.integers(0, 10, 60000, dtype=np.uint8),
        "x_test": np.full((10000, 28, 28), 255, np.uint8),
        "y_test": rng.integers(0, 10, 10000, dtype=np.uint8),
    }
    write_npz(tmp_path / "mnist.npz", layout)
    directories = [tmp_path]
    if REAL_DATA_DIR and Path(REAL_DATA_DIR, "mnist.npz").exists():
        directories.append(Path(REAL_DATA_DIR))
    for directory in directories:
        dataset = load("mnist", data_dir=directory)
        assert dataset.x_train.shape == (60000, 28, 28)
        assert dataset.x_test.shape == (10000, 28, 28)
        assert dataset.x_test.max() == 1
    if len(directories) == 2:
        np.testing.assert_array_equal(dataset.y_train[:5], [5, 0, 4, 1, 9])
        np.testing.assert_array_equal(dataset.y_test[:5], [7, 2, 1, 0, 4])
        np.testing.assert_array_equal(
            np.bincount(dataset.y_test),
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        )


def test_results_are_frozen_and_shown_briefly() -> None:
    dataset = load("digits")
    splits = split(dataset, 100)
    for frozen, name in ((dataset, "name"), (splits, "x_train")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, name, None)
        assert len(repr(frozen)) < 100


def test_public_names() -> None:
    for name in dlrt.datasets.__all__:
        assert getattr(dlrt.datasets, name).__doc__


def test_import_and_failed_search_start_no_framework(tmp_path: Path) -> None:
    # `dlrt` itself is replaced by an empty package: only what
    # `dlrt.datasets` imports counts here.
    script = (
        "import sys, types\n"
        "package = types.ModuleType('dlrt')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "sys.modules['dlrt'] = package\n"
        "import dlrt.datasets\n"
        "from dlrt.datasets import _download\n"
        "_download.BASE_URL = 'http://127.0.0.1:9/'\n"
        "dlrt.datasets.load('auto')\n"
        "found = {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported: {found}' if found else 0)\n"
    )
    environment = {
        **os.environ,
        "KERAS_HOME": str(tmp_path),
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
    }
    result = subprocess.run(
        [sys.executable, "-c", script, str(Path(dlrt.datasets.__path__[0]).parent)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "DatasetFallbackWarning" in result.stderr
