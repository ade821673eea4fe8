"""Reads the weights of a trained network from files of several formats."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np

import dlrt
from experiments.runs import saved_files

FORMATS = "a .keras file, a .weights.h5 file or a folder of .npy files"


class LayerWeights(NamedTuple):
    """The weights of one dense layer, whose kernel may come in low-rank form."""

    kernel: np.ndarray | dlrt.Factors
    bias: np.ndarray

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """The shape of the kernel, dense."""
        if isinstance(self.kernel, dlrt.Factors):
            return len(self.kernel.u), len(self.kernel.v)
        return self.kernel.shape


def read(path: Path, shapes: list[tuple[int, int]]) -> list[LayerWeights]:
    """Reads the weights of a network.

    Args:
        path: A `.keras` file with dense or low-rank layers; or of a dense network a
            `.weights.h5` file or a folder of `w<i>.npy` and `b<i>.npy`, with `i` from
            0 or 1, and `w_out.npy` and `b_out.npy`.
        shapes: The shapes that the kernels must have, in order.

    Raises:
        ValueError: If there is nothing at `path`, or not such a network.
    """
    reader = _reader(path)
    with saved_files.reading(path, "`--load-model`", "--load-model"):
        layers = reader(path)
    found = [layer.kernel_shape for layer in layers]
    if found != shapes:
        raise ValueError(
            f"`--load-model` must hold kernels of the shapes {_written(shapes)}, see "
            f"`--dim-layer`, but has {_written(found)}. Received: --load-model {path}"
        )
    for number, layer in enumerate(layers, start=1):
        if layer.bias.shape != layer.kernel_shape[1:]:
            raise ValueError(
                f"`--load-model` must hold a bias of shape {layer.kernel_shape[1:]} in "
                f"layer {number}, but has {layer.bias.shape}. "
                f"Received: --load-model {path}"
            )
        parts = layer.kernel if isinstance(layer.kernel, tuple) else (layer.kernel,)
        if not all(np.isfinite(part).all() for part in (*parts, layer.bias)):
            raise ValueError(
                f"`--load-model` must hold finite numbers, but layer {number} has "
                f"others. Received: --load-model {path}"
            )
    return layers


def _reader(path: Path) -> Callable[[Path], list[LayerWeights]]:
    if path.is_dir():
        return _read_folder
    if path.is_file():
        if path.suffix == ".keras":
            return _read_keras
        if path.name.endswith(".weights.h5"):
            return _read_h5
    raise ValueError(
        f"`--load-model` must name {FORMATS} that exists. Received: --load-model {path}"
    )


def _read_keras(path: Path) -> list[LayerWeights]:
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    layers = []
    for layer in model._flatten_layers(include_self=False):
        if not isinstance(layer, keras.layers.Dense | dlrt.layers.LowRankDense):
            continue
        low_rank = isinstance(layer, dlrt.layers.LowRankDense)
        kernel = layer.factors if low_rank else np.asarray(layer.kernel)
        if layer.bias is None:
            bias = np.zeros(layer.units, "float32")
        else:
            bias = np.asarray(layer.bias)
        layers.append(LayerWeights(kernel, bias))
    return layers


def _read_h5(path: Path) -> list[LayerWeights]:
    # Read by hand: Keras would want a network of the right shapes first, and its
    # errors print whole matrices.
    with h5py.File(path, "r") as file:
        groups = [
            group["vars"]
            for _, group in sorted(file["layers"].items(), key=_by_number)
            if len(group.get("vars", ())) > 0
        ]
        return [LayerWeights(group["0"][()], group["1"][()]) for group in groups]


def _by_number(item: tuple[str, object]) -> int:
    """Keras numbers layers of one type: `dense`, `dense_1`, `dense_2`."""
    match = re.search(r"_(\d+)$", item[0])
    return int(match[1]) if match else 0


def _read_folder(path: Path) -> list[LayerWeights]:
    numbers = sorted(
        int(match[1])
        for file in path.iterdir()
        if (match := re.fullmatch(r"w(0|[1-9]\d*)\.npy", file.name))
    )
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise ValueError(f"it must hold w0.npy or w1.npy and so on, but has {numbers}.")
    if numbers[0] > 1:
        raise ValueError(f"it must hold w0.npy or w1.npy, but begins at {numbers[0]}.")
    return [
        LayerWeights(
            _read_array(path / f"w{name}.npy"), _read_array(path / f"b{name}.npy")
        )
        for name in (
            "_out" if number is None else number for number in [*numbers, None]
        )
    ]


def _read_array(path: Path) -> np.ndarray:
    # A file shorter than its header claims can't be mapped.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path.name} must hold numbers, but has {array.dtype}.")
    return array.astype("float32")


def _written(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes) or "none"
