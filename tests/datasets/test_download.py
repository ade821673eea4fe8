"""Data sets from the network."""

import dataclasses
import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored import IDX_NAMES, Places, assert_holds, fake_arrays, write_idx, write_npz

from dlrt.datasets import DatasetUnavailableError, load
from dlrt.datasets import _download as download_module
from dlrt.datasets import _keras_cache as cache_module

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


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
