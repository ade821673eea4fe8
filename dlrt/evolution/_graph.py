"""The graph of a Keras model, and those of the models within it."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import keras
from keras.src.models.functional import Functional  # not exported by Keras

Graph: TypeAlias = Functional


def get_graph(operation: Any) -> Graph | None:
    """The graph of a model; `None` for a layer, or a model without a graph."""
    if isinstance(operation, keras.Sequential):
        operation = operation._functional
    return operation if isinstance(operation, Functional) else None


def list_nodes(graph: Graph) -> list[Any]:
    """The nodes of a graph in the order of computation."""
    depths = sorted(graph._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in graph._nodes_by_depth[depth]]


def walk_nodes(model: keras.Model) -> Iterator[tuple[Graph, Any]]:
    """The nodes of a model's graph and of the models within it, each with its graph."""
    graph = get_graph(model)
    if graph is not None:
        for node in list_nodes(graph):
            yield graph, node
            yield from walk_nodes(node.operation)
