"""What a model costs, in parameters and in memory for training, by its widths."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
from keras.src.utils.dtype_utils import dtype_size  # not exported by Keras

from dlrt.accounting import known_size
from dlrt.checks import check_positive_integer
from dlrt.evolution._allocation import Term, count_entries
from dlrt.evolution._graph import get_graph, walk_nodes
from dlrt.evolution._widths import Width, find_widths
from dlrt.training import optimizer_slots

# Their output shares the memory of their input.
_VIEWS = (keras.layers.Flatten, keras.layers.Identity, keras.layers.Reshape)


class Memory(NamedTuple):
    """What a training step keeps in memory, in bytes.

    Attributes:
        weights: All variables of the model.
        gradients: One entry for each of the trainable variables.
        slots: What the optimizer keeps for each trainable variable, such as the two
            moments of Adam. 0 for a model that isn't compiled.
        activations: The inputs and the output of every layer, for all samples of a
            batch, until the backward pass has used them.
    """

    weights: int
    gradients: int
    slots: int
    activations: int

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(self)


def training_memory(model: keras.Model, batch_size: int) -> Memory:
    """The bytes that a training step has to keep.

    These are weights, gradients, optimizer slots, and activations: the inputs of the
    model and the output of each call of a layer or operation, in its own dtype.
    Flattening and reshaping make nothing new. Not counted are values between a layer's
    kernel and its activation function, dropout masks, gradients of activations, copies
    of weights in another dtype, and the workspace of the backend, which may also save
    some of this by recomputing or fusing. XLA planned 0.9 to 1.4 times as much as
    counted here for a step on the CPU with dense layers, and 1.7 to 4.5 times with
    convolutions, whose workspace is large. Low-rank layers count with their buffers,
    and axes of unknown length as 1.

    Args:
        model: A built Sequential or functional model. If it is compiled, its optimizer
            must be built too: `model.optimizer.build(model.trainable_variables)`, which
            `fit` does by itself.
        batch_size: Samples in a step.

    Raises:
        ValueError: If the model is of another kind, or it or its optimizer isn't built.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(6, activation="relu"),
    ...     keras.layers.Dense(2)])
    >>> dlrt.evolution.training_memory(model, batch_size=10)
    Memory(weights=272, gradients=272, slots=0, activations=640)
    """
    check_positive_integer("batch_size", batch_size)
    find_widths(model)
    return Memory(
        *(count_entries(terms, {}) for terms in _list_terms(model, (), batch_size))
    )


def list_memory_terms(
    model: keras.Model, widths: Iterable[Width], batch_size: int
) -> list[Term]:
    """The bytes of `training_memory`, by the widths of the model."""
    return sum(_list_terms(model, widths, batch_size), [])


def list_parameter_terms(model: keras.Model, widths: Iterable[Width]) -> list[Term]:
    """The entries of each variable of a model, by its widths."""
    axes: dict[int, list[Width]] = {}
    for width in widths:
        for part in (*width.parts, *(reader.kernel for reader in width.readers)):
            axes.setdefault(id(part.variable), []).append(width)
    return [
        _make_term(math.prod(variable.shape), axes.get(id(variable), []))
        for variable in model.weights
    ]


def _make_term(entries: int, widths: list[Width]) -> Term:
    factor = entries // math.prod(width.size for width in widths)
    return Term(factor, tuple(width.name for width in widths))


def _list_terms(
    model: keras.Model, widths: Iterable[Width], batch_size: int
) -> tuple[list[Term], ...]:
    """The bytes of each part of a `Memory`."""
    widths = list(widths)
    counted = list_parameter_terms(model, widths)
    pairs = list(zip(model.weights, counted, strict=True))
    trainable = {id(variable) for variable in model.trainable_variables}
    gradients = [(v, term) for v, term in pairs if id(v) in trainable]
    return (
        [_count_bytes(term, variable) for variable, term in pairs],
        [_count_bytes(term, variable) for variable, term in gradients],
        list(_list_slots(model, {id(v): term for v, term in gradients})),
        list(_list_activations(model, widths, batch_size)),
    )


def _list_slots(model: keras.Model, weights: dict[int, Term]) -> Iterator[Term]:
    optimizer: Any = getattr(model, "optimizer", None)
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    if optimizer is None:
        return
    if not optimizer.built:
        raise ValueError(
            "`model.optimizer` must be built, since its slots are counted: call "
            "`model.optimizer.build(model.trainable_variables)`. Received: "
            f"model={model.name!r}, whose optimizer isn't built"
        )
    for _, slots in optimizer_slots.slot_lists(optimizer):
        for weight, slot in zip(optimizer._trainable_variables, slots, strict=True):
            if slot is None:
                continue
            term = weights.get(id(weight))
            if term is None or slot.shape != weight.shape:
                # Some have another shape, as the factored ones of Adafactor.
                term = Term(known_size(slot.shape), ())
            yield _count_bytes(term, slot)


def _list_activations(
    model: keras.Model, widths: Iterable[Width], batch_size: int
) -> Iterator[Term]:
    held = {id(tensor): width for width in widths for tensor, _ in width.tensors}
    for graph, node in walk_nodes(model):
        # The inputs of a model within are made outside, its outputs inside.
        inside = node.is_input and graph is not get_graph(model)
        if inside or isinstance(node.operation, _VIEWS) or get_graph(node.operation):
            continue
        for tensor in node.outputs:
            several = [held[id(tensor)]] if id(tensor) in held else []
            entries = batch_size * known_size(tensor.shape[1:])
            yield _count_bytes(_make_term(entries, several), tensor)


def _count_bytes(term: Term, value: Any) -> Term:
    """The entries of a variable or tensor in bytes."""
    return term._replace(factor=term.factor * max(1, dtype_size(value.dtype) // 8))
