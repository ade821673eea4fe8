"""What layers read of channels, on a sample of data."""

from operator import itemgetter
from typing import Any

import keras
import numpy as np
from keras import ops, tree
from keras.src.models.functional import Functional  # not exported by Keras

from dlrt.evolution._channels import Reading
from dlrt.evolution._widths import Found, Reader, nested, nodes_of


class _Sums:
    """Sums over what a layer reads.

    Args:
        reader: The layer.
        size: Number of its channels.
    """

    def __init__(self, reader: Reader, size: int) -> None:
        self.reader = reader
        self._count = 0
        self._first = np.zeros(size)
        self._second = np.zeros((size, size))

    def add(self, values: Any) -> None:
        array = np.asarray(ops.convert_to_numpy(values), "float64")
        rows = self.reader.layout.split(array)
        rows = rows.reshape(-1, rows.shape[-1])
        self._count += len(rows)
        self._first += rows.sum(axis=0)
        self._second += rows.T @ rows

    def reading(self) -> Reading:
        part = self.reader.kernel
        kernel = np.asarray(part.variable.numpy(), "float64")
        rows = part.layout.split(kernel)
        weights = np.linalg.norm(rows.reshape(-1, rows.shape[-1]), axis=0)
        if not np.isfinite(self._second.sum() + weights.sum()):
            raise ValueError(
                "The weights and what layers make of `data` must be finite. Received: "
                f"what is not, at layer {self.reader.layer.name!r}"
            )
        mean = self._first / self._count
        moments = self._second / self._count
        if self.reader.affine:
            return Reading(moments - np.outer(mean, mean), mean, weights)
        return Reading(moments, np.zeros_like(mean), weights)


def read(found: Found, data: Any, batch_size: int) -> dict[str, list[Reading]]:
    """What the readers of widths see, by width, one reading for each reader.

    Args:
        found: Widths of a model.
        data: Inputs of the model, arrays of one length.
        batch_size: How many of them at a time.

    Raises:
        ValueError: If any of it is not finite.
    """
    sums = {
        name: [_Sums(reader, width.size) for reader in width.readers]
        for name, width in found.free.items()
    }
    wanted: dict[int, list[_Sums]] = {}
    for several in sums.values():
        for one in several:
            wanted.setdefault(id(one.reader.graph), []).append(one)
    length = len(tree.flatten(data)[0])
    for start in range(0, length, batch_size):
        stop = start + batch_size
        _run(
            found.graph,
            tree.map_structure(itemgetter(slice(start, stop)), data),
            wanted,
        )
    return {name: [one.reading() for one in several] for name, several in sums.items()}


def _run(graph: Functional, inputs: Any, wanted: dict[int, list[_Sums]]) -> None:
    """Computes what readers see in a graph and in the models within it."""
    here = wanted.get(id(graph), [])
    inner = [node for node in nodes_of(graph) if nested(node) is not None]
    tensors = [one.reader.tensor for one in here]
    tensors += [tensor for node in inner for tensor in node.input_tensors]
    if not tensors:
        return
    probe = keras.Model(graph._inputs_struct, tensors)
    values = tree.flatten(probe(inputs, training=False))
    for one in here:
        one.add(values.pop(0))
    for node in inner:
        arrived = [values.pop(0) for _ in node.input_tensors]
        model = nested(node)
        if model is not None and len(model.inputs) == len(arrived):
            _run(model, tree.pack_sequence_as(model._inputs_struct, arrived), wanted)
