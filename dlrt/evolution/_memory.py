"""The memory that the training of a model takes, by its widths."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
from keras.src.utils.dtype_utils import dtype_size  # not exported by Keras

from dlrt.accounting import known_size
from dlrt.checks import check_positive_integer
from dlrt.evolution import _allocation
from dlrt.evolution._allocation import Term
from dlrt.evolution._widths import Width, all_nodes, find, nested, terms
from dlrt.training import optimizer_slots

# They make nothing new of their input.
_VIEWS = (keras.layers.Flatten, keras.layers.Identity, keras.layers.Reshape)


class Memory(NamedTuple):
    """What a step of training keeps in memory, in bytes.

    Attributes:
        weights: All variables of the model.
        gradients: One entry for each of the trainable variables.
        slots: What the optimizer keeps for each trainable variable, as both moments of
            Adam. 0 for a model that isn't compiled.
        activations: The inputs and the output of every layer, for all samples of a
            batch, until the backward pass has used them.
    """

    weights: int
    gradients: int
    slots: int
    activations: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return sum(self)


def training_memory(model: keras.Model, batch_size: int) -> Memory:
    """The bytes that a step of training has to keep.

    Counted are weights, gradients, the slots of the optimizer, and activations: the
    inputs of the model and the output of each layer and operation, as often as it is
    called, in its own dtype, once each. Flattening and reshaping make nothing new. Not
    counted are values between a layer's kernel and its activation function, masks of
    dropout, gradients of activations, copies of weights in another dtype, and the
    workspace of the backend, which may also save some of this by recomputing or fusing.
    XLA's own plan of a step on the CPU took 0.9 to 1.4 times as much as counted with
    dense layers, and 1.7 to 4.5 times with convolutions, whose workspace is large.
    Low-rank layers count with their buffers, and axes of unknown length as 1.

    Args:
        model: A built Sequential or functional model. If it is compiled, its optimizer
            must be built too: `model.optimizer.build(model.trainable_variables)`, which
            `fit` does by itself.
        batch_size: Samples in a step.

    Raises:
        ValueError: If the model is of another kind, or it or its optimizer not built.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(6, activation="relu"),
    ...     keras.layers.Dense(2)])
    >>> dlrt.evolution.training_memory(model, batch_size=10)
    Memory(weights=272, gradients=272, slots=0, activations=640)
    """
    check_positive_integer("batch_size", batch_size)
    find(model)
    parts = (
        _allocation.count(part, {}) for part in _terms_by_part(model, (), batch_size)
    )
    return Memory(*parts)


def memory_terms(
    model: keras.Model, widths: Iterable[Width], batch_size: int
) -> list[Term]:
    """The bytes of `training_memory`, by the widths of the model."""
    return [term for part in _terms_by_part(model, widths, batch_size) for term in part]


def _terms_by_part(
    model: keras.Model, widths: Iterable[Width], batch_size: int
) -> tuple[list[Term], ...]:
    widths = list(widths)
    pairs = list(zip(model.weights, terms(model, widths), strict=True))
    trainable = {id(variable) for variable in model.trainable_variables}
    gradients = [(v, term) for v, term in pairs if id(v) in trainable]
    return (
        [_times(term, _bytes(variable)) for variable, term in pairs],
        [_times(term, _bytes(variable)) for variable, term in gradients],
        list(_of_slots(model, {id(v): term for v, term in gradients})),
        list(_of_activations(model, widths, batch_size)),
    )


def _of_slots(model: keras.Model, weights: dict[int, Term]) -> Iterator[Term]:
    optimizer: Any = getattr(model, "optimizer", None)
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    if optimizer is None:
        return
    if not optimizer.built:
        raise ValueError(
            "`model.optimizer` must be built, or it isn't known what it keeps: call "
            "`model.optimizer.build(model.trainable_variables)`. Received: "
            f"model={model.name!r} with an optimizer that isn't"
        )
    for _, slots in optimizer_slots.slot_lists(optimizer):
        for weight, slot in zip(optimizer._trainable_variables, slots, strict=True):
            if slot is None:
                continue
            term = weights.get(id(weight))
            if term is None or slot.shape != weight.shape:
                # Some have another shape, as the factored ones of Adafactor.
                term = Term(known_size(slot.shape), ())
            yield _times(term, _bytes(slot))


def _of_activations(
    model: keras.Model, widths: Iterable[Width], batch_size: int
) -> Iterator[Term]:
    held = {id(tensor): width for width in widths for tensor, _ in width.tensors}
    outer = find(model).graph
    for graph, node in all_nodes(model):
        # What goes into models within is made outside, and what comes out inside.
        inside = node.is_input and graph is not outer
        if inside or nested(node) is not None or isinstance(node.operation, _VIEWS):
            continue
        for tensor in node.outputs:
            size = batch_size * known_size(tensor.shape[1:]) * _bytes(tensor)
            width = held.get(id(tensor))
            if width is None:
                yield Term(size, ())
            else:
                yield Term(size // width.size, (width.name,))


def _times(term: Term, factor: int) -> Term:
    return Term(factor * term.factor, term.widths)


def _bytes(value: Any) -> int:
    """Of one entry of a variable or tensor."""
    return max(1, dtype_size(value.dtype) // 8)
