"""Models as files that other runtimes predict with."""

import contextlib
import errno
import importlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from dlrt.backend.structure import is_graph
from dlrt.surgery.convert import merge
from dlrt.surgery.selection import check_built


def export(
    model: keras.Model, path: str | os.PathLike, format: str = "tf_saved_model"
) -> None:
    """Writes a model for prediction with another runtime.

    Low-rank layers are merged first, see `dlrt.merge`; other models than Sequential and
    functional ones are written as they are, low-rank layers included. Predictions are
    those of the model with `training=False`, for any size of the batch. The file needs
    neither dlrt nor Keras.

    | format | runtime | written as | backends |
    |---|---|---|---|
    | `"tf_saved_model"` | TensorFlow, TensorFlow Serving | a folder | TensorFlow, JAX |
    | `"onnx"` | ONNX Runtime | a file | TensorFlow |
    | `"litert"` | LiteRT (TensorFlow Lite) | a file, `*.tflite` | TensorFlow |

    A model that another backend has trained and saved can be loaded for export with
    TensorFlow's. `"onnx"` needs the extra `export`, which has the runtimes as well.

    What the format or its runtime has no operation for is refused: for LiteRT layers of
    half precision, recurrent layers that are not unrolled, and attention with a causal
    mask over sequences of unknown length; for ONNX layers of bfloat16.

    Args:
        model: A built Keras model; it is not changed. One that is neither Sequential
            nor functional must have been called.
        path: Where to write. Nothing may be there yet, but the folder that it is in.
        format: `"tf_saved_model"`, `"onnx"` or `"litert"`.

    Raises:
        ValueError: If `format` is another one or not for this backend, `path` has
            another suffix than LiteRT's, the model is not built, or has what the format
            can't express.
        FileExistsError: If there is something at `path`.
        ImportError: If a package of the extra `export` is missing.
        OSError: If `path` can't be written. Nothing is left behind then, nor by the
            other errors.

    Example:

    >>> import os, tempfile
    >>> model = keras.Sequential(
    ...     [keras.Input((784,)), dlrt.layers.LowRankDense(500, rank=20),
    ...      keras.layers.Dense(10)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dlrt.export(model, os.path.join(folder, "digits"))
    ...     os.listdir(folder)
    ['digits']
    """
    if format not in _FORMATS:
        raise ValueError(
            f"`format` must be one of {list(_FORMATS)}. Received: format={format!r}"
        )
    backend = keras.backend.backend()
    backends, write = _FORMATS[format]
    if backend not in backends:
        raise ValueError(
            f"`format` must be one of {_formats_of(backend)} on the {backend} backend. "
            f"Received: format={format!r}. Save the model as .keras, and load it with "
            f"KERAS_BACKEND={backends[0]} to export it."
        )
    path = Path(path)
    if format == "litert" and path.suffix != ".tflite":
        raise ValueError(
            f"`path` must end with '.tflite' for the format 'litert'. Received: "
            f"path={str(path)!r}"
        )
    if format == "onnx":
        _require("tf2onnx", "onnx")
    check_built(model)
    with _write_aside(path) as temporary:
        model = merge(model) if is_graph(model) else model
        try:
            write(model, temporary)
        except OSError:
            raise
        # What a converter raises depends on where it gives up: errors of TensorFlow,
        # of its compiler, of tf2onnx and of ONNX.
        except Exception as error:
            raise ValueError(
                f"`model` can't be exported to {format!r}: {_explain(error)}. "
                f"Received: model={model.name!r}"
            ) from error


def _write_saved_model(model: keras.Model, path: Path) -> None:
    _keras_export(model, path, "tf_saved_model")


def _write_litert(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    # Keras allows operations of TensorFlow as well, which the runtime does not have.
    own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    _keras_export(model, path, "litert", target_spec=own)


def _write_onnx(model: keras.Model, path: Path) -> None:
    with _trace_plain_convolutions(), _silence_logger("tf2onnx"):
        _keras_export(model, path, "onnx")
    # An operation without a counterpart is written as it is.
    onnx = importlib.import_module("onnx")
    onnx.checker.check_model(str(path), full_check=True)


_FORMATS: dict[str, tuple[tuple[str, ...], Callable[[keras.Model, Path], None]]] = {
    "tf_saved_model": (("tensorflow", "jax"), _write_saved_model),
    "onnx": (("tensorflow",), _write_onnx),
    "litert": (("tensorflow",), _write_litert),
}


def _formats_of(backend: str) -> list[str]:
    return [name for name, (backends, _) in _FORMATS.items() if backend in backends]


def _keras_export(model: keras.Model, path: Path, format: str, **kwargs: Any) -> None:
    model.export(
        path, format=format, verbose=False, input_signature=_signature(model), **kwargs
    )


def _signature(model: keras.Model) -> list[Any] | None:
    """The inputs of a model with any size of the batch; `None` for Keras to find out.

    Keras finds out only for models that have been called.
    """
    if isinstance(model, keras.Sequential):
        inputs = model.inputs
    elif is_graph(model):
        inputs = [model.input]
    else:
        return None
    return keras.tree.map_structure(
        lambda x: keras.InputSpec(
            shape=(None, *x.shape[1:]), dtype=x.dtype, name=x.name
        ),
        inputs,
    )


@contextlib.contextmanager
def _trace_plain_convolutions() -> Iterator[None]:
    """Within this context Keras traces convolutions as operations of TensorFlow.

    It compiles those with groups, since TensorFlow's kernels for the CPU don't know
    them, and what is compiled can't be converted. Nothing is computed here.
    """
    import tensorflow as tf

    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eager)


@contextlib.contextmanager
def _silence_logger(name: str) -> Iterator[None]:
    """Within this context a logger is silent, of attempts that come to nothing."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _write_aside(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes another one if all goes well.

    Raises:
        OSError: If that can't be; the error names `path`.
    """
    if path.exists() or path.is_symlink():
        raise FileExistsError(
            errno.EEXIST, "`path` must be one where nothing is yet", str(path)
        )
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield folder / path.name
        (folder / path.name).rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require(*packages: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"The format 'onnx' needs {package}, of the extra `export`: "
                "pip install -e .[export]"
            ) from error


def _explain(error: Exception) -> str:
    """What a converter says, without the listing of the whole program."""
    text = str(error).strip()
    missing = re.search(r"(?:TF Select|Custom) ops: (.*)", text)
    if missing is not None:
        return f"the runtime has no form of these operations: {missing[1]}"
    refused = re.search(r"'tf\.\w+' op .*", text)
    if refused is not None:
        return refused[0]
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
