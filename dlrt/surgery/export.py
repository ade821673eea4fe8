"""Exports models to files for other runtimes."""

import contextlib
import errno
import importlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
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

    Low-rank layers are merged first, see `dlrt.merge`; models other than Sequential and
    functional ones are written as they are, low-rank layers included. Predictions are
    those of the model with `training=False`, for any batch size. The file needs neither
    dlrt nor Keras.

    | format | runtime | written as | backends |
    |---|---|---|---|
    | `"tf_saved_model"` | TensorFlow, TensorFlow Serving | a folder | TensorFlow, JAX |
    | `"onnx"` | ONNX Runtime | a file | TensorFlow |
    | `"litert"` | LiteRT (TensorFlow Lite) | a file, `*.tflite` | TensorFlow |

    A model trained and saved with another backend can be loaded with the TensorFlow
    backend for export. `"onnx"` needs the extra `export`, which includes the runtimes.

    Models that need an operation that the format or its runtime lacks are rejected: for
    LiteRT layers of half precision, recurrent layers that are not unrolled, and
    attention with a causal mask over sequences of unknown length; for ONNX layers of
    bfloat16.

    Args:
        model: A built Keras model; it is not changed. One that is neither Sequential
            nor functional must have been called.
        path: Where to write. It must not exist yet; the folder that contains it must.
        format: `"tf_saved_model"`, `"onnx"` or `"litert"`.

    Raises:
        ValueError: If `format` is another one or not for this backend, `path` lacks the
            suffix of LiteRT, or the model is not built or can't be expressed in the
            format.
        FileExistsError: If there is something at `path`.
        ImportError: If a package of the extra `export` is missing.
        OSError: If `path` can't be written. No error leaves anything behind.

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
    if format not in _BACKENDS:
        raise ValueError(
            f"`format` must be one of {list(_BACKENDS)}. Received: format={format!r}"
        )
    backend = keras.backend.backend()
    if backend not in _BACKENDS[format]:
        possible = [name for name, those in _BACKENDS.items() if backend in those]
        raise ValueError(
            f"`format` must be one of {possible} on the {backend} backend. "
            f"Received: format={format!r}. Save the model as .keras, and load it with "
            f"KERAS_BACKEND={_BACKENDS[format][0]} to export it."
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
            _write(model, temporary, format)
        except OSError:
            raise
        # A converter may raise errors of TensorFlow, its compiler, tf2onnx or ONNX.
        except Exception as error:
            raise ValueError(
                f"`model` can't be exported to {format!r}: {_explain(error)}. "
                f"Received: model={model.name!r}"
            ) from error


_BACKENDS = {
    "tf_saved_model": ("tensorflow", "jax"),
    "onnx": ("tensorflow",),
    "litert": ("tensorflow",),
}


def _write(model: keras.Model, path: Path, format: str) -> None:
    options: dict[str, Any] = {"input_signature": _signature(model)}
    if format == "litert":
        import tensorflow as tf

        # Keras also allows TensorFlow operations, which the runtime lacks.
        options["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    with contextlib.ExitStack() as stack:
        if format == "onnx":
            stack.enter_context(_trace_plain_convolutions())
            stack.enter_context(_silence_logger("tf2onnx"))
        model.export(path, format=format, verbose=False, **options)
    if format == "onnx":
        # An operation without a counterpart is written as it is.
        onnx = importlib.import_module("onnx")
        onnx.checker.check_model(str(path), full_check=True)


def _signature(model: keras.Model) -> list[Any] | None:
    """The inputs of a model for any batch size; `None` if Keras must infer them."""
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

    Keras compiles grouped ones, since TensorFlow's CPU kernels don't support groups,
    and compiled code can't be converted. Nothing is computed here.
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
    # It reports failed attempts.
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _write_aside(path: Path) -> Iterator[Path]:
    """A temporary path, renamed to `path` on success; errors name `path`."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, "`path` must not exist yet", str(path))
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
    """The message of a converter, without the listing of the whole program."""
    text = str(error).strip()
    missing = re.search(r"(?:TF Select|Custom) ops: (.*)", text)
    if missing is not None:
        return f"the runtime has no form of these operations: {missing[1]}"
    refused = re.search(r"'tf\.\w+' op .*", text)
    if refused is not None:
        return refused[0]
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
