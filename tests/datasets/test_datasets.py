"""Tests of `dlrt.datasets`. None of them leaves the machine."""

import dataclasses
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from stored import IDX_NAMES, Places, assert_holds, fake_arrays, write_idx, write_npz

import dlrt.datasets
from dlrt.datasets import (
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
    load,
    split,
)
from dlrt.datasets import _keras_cache as cache_module

pytestmark = pytest.mark.tensorflow_only

# Read before the fixture below hides it from the tests.
REAL_DATA_DIR = os.environ.get("DLRT_DATA_DIR")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


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
    names = {name for name in vars(dlrt.datasets) if not name.startswith("_")}
    assert {"Corpus", "Dataset", "load", "register", "split"} < names
    assert all(getattr(dlrt.datasets, name).__doc__ for name in names)


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
