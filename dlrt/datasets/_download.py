"""The only module that uses the network."""

import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

BASE_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"

_ANSWER_TIMEOUT = 5.0


class RemoteFile(NamedTuple):
    """A file, with its SHA-256 hash where one is published; by default at Keras's."""

    name: str
    sha256: str | None = None
    base_url: str | None = None

    @property
    def url(self) -> str:
        return (self.base_url or BASE_URL) + self.name


def download(files: Sequence[RemoteFile], directory: Path) -> None:
    """Downloads files to an existing directory, with a progress bar for each.

    After an `OSError`, what is left there is not to be used.
    """
    _require_answer(files[0].url)

    # Imported after the check above: without a network nothing is spent on
    # starting Keras and its backend.
    import keras

    for file in files:
        try:
            keras.utils.get_file(
                fname=file.name,
                origin=file.url,
                file_hash=file.sha256,
                cache_dir=str(directory),
                cache_subdir="",
            )
        # `get_file` raises plain `Exception` when a URL cannot be fetched.
        except Exception as error:
            raise OSError(str(error)) from error


def _require_answer(url: str) -> None:
    """Raises `OSError` unless the server of `url` answers soon.

    The socket timeout alone does not bound the wait: looking up the name is
    not covered, and each address of the server gets the timeout anew.
    """
    failures: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT):
                failures.put(None)
        except urllib.error.HTTPError as error:
            # A refusal is an answer too; the download itself reports it.
            error.close()
            failures.put(None)
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.put(str(getattr(error, "reason", error)))

    threading.Thread(target=ask, daemon=True).start()
    try:
        failure = failures.get(timeout=_ANSWER_TIMEOUT)
    except queue.Empty:
        failure = f"no answer within {_ANSWER_TIMEOUT:g} s"
    if failure is not None:
        raise OSError(f"{url} cannot be reached: {failure}")
