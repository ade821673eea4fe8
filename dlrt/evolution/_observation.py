"""What layers read of channels, on a sample of data."""

from operator import itemgetter
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from dlrt.evolution._channels import Observation, Reading
from dlrt.evolution._graph import Graph, get_graph, list_nodes
from dlrt.evolution._layout import Layout
from dlrt.evolution._widths import ModelWidths, Reader


def observe(
    widths: ModelWidths, data: Any, batch_size: int = 256
) -> dict[str, Observation]:
    """What the readers of each width see of its channels, by name.

    Raises:
        ValueError: If any of it is not finite.
    """
    sums = {
        name: [_Sums(reader, width.size) for reader in width.readers]
        for name, width in widths.free.items()
    }
    by_graph: dict[int, list[_Sums]] = {}
    for several in sums.values():
        for one in several:
            by_graph.setdefault(id(one.reader.graph), []).append(one)
    length = len(tree.flatten(data)[0])
    for start in range(0, length, batch_size):
        batch = itemgetter(slice(start, start + batch_size))
        _run(widths.graph, tree.map_structure(batch, data), by_graph)
    return {
        name: Observation([one.average() for one in several])
        for name, several in sums.items()
    }


def check_data(data: Any) -> Any:
    """Returns `data`; raises a ValueError unless its arrays have one length above 0."""
    arrays = tree.flatten(data)
    lengths = {len(array) if np.ndim(array) > 0 else 0 for array in arrays}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            "`data` must be an array of inputs, or several of the same length above 0. "
            f"Received: data with shapes {[np.shape(array) for array in arrays]}"
        )
    return data


class _Sums:
    """Sums over what a layer reads."""

    def __init__(self, reader: Reader, size: int) -> None:
        self.reader = reader
        self._count = 0
        self._first = np.zeros(size)
        self._second = np.zeros((size, size))

    def add(self, values: Any) -> None:
        rows = _as_rows(self.reader.layout, values)
        self._count += len(rows)
        self._first += rows.sum(axis=0)
        self._second += rows.T @ rows

    def average(self) -> Reading:
        part = self.reader.kernel
        weights = np.linalg.norm(_as_rows(part.layout, part.variable), axis=0)
        if not np.isfinite(self._second.sum() + weights.sum()):
            raise ValueError(
                "The weights and what layers make of `data` must be finite. Received: "
                f"NaN or infinity at layer {self.reader.layer.name!r}"
            )
        mean = self._first / self._count
        moments = self._second / self._count
        if self.reader.is_affine:
            return Reading(moments - np.outer(mean, mean), mean, weights)
        return Reading(moments, np.zeros_like(mean), weights)


def _as_rows(layout: Layout, values: Any) -> np.ndarray:
    array = layout.split(np.asarray(ops.convert_to_numpy(values), "float64"))
    return array.reshape(-1, array.shape[-1])


def _run(graph: Graph, inputs: Any, by_graph: dict[int, list[_Sums]]) -> None:
    """Adds what readers see in a graph, and in the models within it, to their sums."""
    here = by_graph.get(id(graph), [])
    inner = [
        (model, node.input_tensors)
        for node in list_nodes(graph)
        if (model := get_graph(node.operation)) is not None
    ]
    tensors = [one.reader.tensor for one in here]
    tensors += [tensor for _, given in inner for tensor in given]
    if not tensors:
        return
    probe = keras.Model(graph._inputs_struct, tensors)
    values = tree.flatten(probe(inputs, training=False))
    for one in here:
        one.add(values.pop(0))
    for model, given in inner:
        arrived = [values.pop(0) for _ in given]
        if len(model.inputs) == len(arrived):
            _run(model, tree.pack_sequence_as(model._inputs_struct, arrived), by_graph)
