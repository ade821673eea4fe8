"""Replaces the variables of a model and its optimizer by some of other sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from dlrt.evolution._channels import Observation, Reading, draw_columns, fit_kept
from dlrt.evolution._graph import walk_nodes
from dlrt.evolution._layout import Layer, Layout, Part
from dlrt.evolution._widths import ModelWidths, Width
from dlrt.training import capacity, optimizer_slots


def change_widths(
    model: keras.Model,
    widths: ModelWidths,
    sizes: Mapping[str, int],
    observed: Mapping[str, Observation],
    rng: np.random.Generator,
) -> dict[str, int]:
    """Prunes and grows widths of a model, in place; returns the sizes of all widths.

    Compiled functions are dropped. Safe between the epochs of a `fit`, in a callback's
    `on_epoch_begin` or `on_epoch_end`, and outside of it. Widths that become smaller
    must have been observed.
    """
    surgery = _Surgery(model)
    changes = [(widths.free[name], size) for name, size in sizes.items()]
    for width, size in changes:
        if size < width.size:
            seen = observed[width.name]
            surgery.keep(width, seen.selection.order[:size], seen.readings)
    for width, size in changes:
        if size > width.size:
            surgery.add(width, size - width.size, rng)
    surgery.perform()
    return {name: width.size for name, width in widths.free.items()}


class _Surgery:
    """Collects changes to the widths of a model, and makes them all at once."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._changes: dict[int, _Change] = {}
        self._sizes: list[tuple[Width, int]] = []

    def keep(self, width: Width, kept: np.ndarray, readings: Sequence[Reading]) -> None:
        """Removes all other channels, and corrects the kernels that read them."""
        kept = np.sort(kept)
        for part in width.parts:
            self._change(part).take(part.layout, kept, width.size)
        for reader, reading in zip(width.readers, readings, strict=True):
            transform, constant = fit_kept(reading, kept)
            kernel, layout = self._change(reader.kernel), reader.kernel.layout
            # (..., channels made, channels read)
            rows = layout.split(kernel.value)
            kernel.take(layout, kept, width.size)
            kernel.value = layout.join(rows @ transform.T, kernel.value.ndim)
            if reader.is_affine:
                shift = (rows @ constant).reshape(-1, rows.shape[-2]).sum(axis=0)
                bias = self._change(reader.bias)
                bias.value = bias.value + shift
        self._sizes.append((width, len(kept)))

    def add(self, width: Width, count: int, rng: np.random.Generator) -> None:
        """Adds channels that no layer reads yet, so that outputs stay the same.

        Their columns in the kernels that make them are orthogonal to the present ones,
        and end where there are no more; other variables get the mean of their entries.
        """
        kernels = [self._change(maker.kernel) for maker in width.makers]
        drawn = [
            draw_columns(kernel.value.reshape(-1, width.size), count, rng)
            for kernel in kernels
        ]
        count = min(columns.shape[1] for columns in drawn)
        if count == 0:
            return
        channels = np.append(np.arange(width.size), np.full(count, -1))
        new = slice(width.size, None)
        for part in width.parts:
            change = self._change(part)
            mean = part.layout.split(change.value).mean(axis=-1, keepdims=True)
            change.take(part.layout, channels, width.size)
            values = part.layout.split(change.value).copy()
            values[..., new] = mean
            change.value = part.layout.join(values, change.value.ndim)
        for kernel, columns in zip(kernels, drawn, strict=True):
            shape = kernel.value.shape[:-1]
            kernel.value[..., new] = columns[:, :count].reshape(*shape, count)
        for reader in width.readers:
            part = reader.kernel
            self._change(part).take(part.layout, channels, width.size)
        self._sizes.append((width, width.size + count))

    def perform(self) -> None:
        """Makes the changes, in the layers, the graph and the optimizer."""
        if not self._sizes:
            return
        by_layer: dict[int, list[_Change]] = {}
        for change in self._changes.values():
            by_layer.setdefault(id(change.part.layer), []).append(change)
        with capacity.variable_scope(self._model):
            for changes in by_layer.values():
                _replace(changes[0].part.layer, changes)
            self._update_optimizer()
        for width, size in self._sizes:
            _resize(width, size)
        changed = {id(t) for width, _ in self._sizes for t, _ in width.tensors}
        for _, node in walk_nodes(self._model):
            if any(id(tensor) in changed for tensor in node.input_tensors):
                _update_spec(node)
        for part in self._model._flatten_layers():
            if isinstance(part, keras.Model):
                part.train_function = part.test_function = part.predict_function = None

    def _change(self, part: Part) -> "_Change":
        key = id(part.variable)
        if key not in self._changes:
            self._changes[key] = _Change(part)
        return self._changes[key]

    def _update_optimizer(self) -> None:
        """Gives the optimizer the new variables; slots of kept channels stay."""
        optimizer: Any = getattr(self._model, "optimizer", None)
        wrappers = []
        while hasattr(optimizer, "inner_optimizer"):
            wrappers.append(optimizer)
            optimizer = optimizer.inner_optimizer
        if optimizer is None or not optimizer.built:
            return
        old = optimizer._trainable_variables
        owners = {
            id(slot): self._changes.get(id(old[index]))
            for _, slots in optimizer_slots.slot_lists(optimizer)
            for index, slot in enumerate(slots)
        }

        def carry(slot: keras.Variable, fresh: keras.Variable) -> np.ndarray:
            change = owners.get(id(slot))
            if change is not None and tuple(slot.shape) == change.old_shape:
                return change.carry(slot.numpy(), fresh.numpy())
            # Some slots have another shape, as the factored ones of Adafactor.
            return slot.numpy() if slot.shape == fresh.shape else fresh.numpy()

        variables = [
            self._changes[id(v)].part.variable if id(v) in self._changes else v
            for v in old
        ]
        optimizer_slots.rebuild(optimizer, variables, carry)
        for wrapper in wrappers:
            optimizer_slots.follow(wrapper, variables)


class _Change:
    """A variable that gets another value, and perhaps another shape."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.old_shape = tuple(part.variable.shape)
        self.value = np.array(part.variable.numpy(), "float64")
        self._moves: list[tuple[int, np.ndarray]] = []

    def take(self, layout: Layout, channels: np.ndarray, size: int) -> None:
        """Takes the slices of some of `size` channels; zeros where a number is -1."""
        indices = layout.find_indices(channels, size)
        self.value = _take(self.value, indices, layout.axis)
        self._moves.append((layout.axis, indices))

    def carry(self, slot: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Takes the same slices of an optimizer's slot; fresh ones for new channels."""
        known = np.ones(slot.shape, bool)
        for axis, indices in self._moves:
            slot, known = _take(slot, indices, axis), _take(known, indices, axis)
        return np.where(known, slot, fresh)


def _take(array: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    result = np.take(array, np.maximum(indices, 0), axis)
    np.moveaxis(result, axis, 0)[indices < 0] = 0
    return result


def _replace(layer: Layer, changes: list[_Change]) -> None:
    """Gives a layer new variables, in the order of the old ones."""
    by_variable = {id(change.part.variable): change for change in changes}
    trainable = list(layer._trainable_variables)
    held = trainable + list(layer._non_trainable_variables)
    for variable in held:
        layer._untrack_variable(variable)
    for variable in trainable:
        # Frozen ones are in this list too, and would be tracked in the other.
        variable.trainable = True
    layer._tracker.unlock()
    for variable in held:
        change = by_variable.get(id(variable))
        if change is None:
            layer._track_variable(variable)
            continue
        new = layer.add_weight(
            name=variable.name,
            shape=change.value.shape,
            initializer=change.value,
            dtype=variable.dtype,
            trainable=variable.trainable,
            autocast=variable._autocast,
            regularizer=variable.regularizer,
            constraint=variable.constraint,
            aggregation=variable.aggregation,
        )
        new._path = variable._path
        setattr(layer, change.part.attribute, new)
    layer._tracker.lock()


def _resize(width: Width, size: int) -> None:
    """Tells layers and symbolic tensors of a new number of channels."""
    width.size = size
    for maker in width.makers:
        setattr(maker.layer, maker.rule.size, size)
    for tensor, layout in width.tensors:
        shape = list(tensor.shape)
        shape[layout.axis] = layout.before * size * layout.after
        # Keras has no public way to change it.
        tensor._shape = tuple(shape)


def _update_spec(node: Any) -> None:
    """Tells a layer the new shape of its input, which it checks and saves."""
    layer, tensors = node.operation, node.input_tensors
    given = [tensor.shape for tensor in tensors]
    spec: Any = getattr(layer, "input_spec", None)
    if len(given) == 1 and getattr(spec, "axes", None):
        spec.axes = {axis: given[0][axis] for axis in spec.axes}
    shapes = getattr(layer, "_build_shapes_dict", None)
    if shapes is not None and len(shapes) == 1:
        (name,) = shapes
        shapes[name] = given[0] if len(given) == 1 else given
