"""Variables of other sizes in the layers and the optimizer of a model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from dlrt.evolution._channels import Reading, correction, new_columns
from dlrt.evolution._widths import Layer, Layout, Part, Width, all_nodes
from dlrt.training import capacity, optimizer_slots


class Surgery:
    """Collects changes of the widths of a model, and makes them all at once.

    Args:
        model: A built Sequential or functional model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._changes: dict[int, _Change] = {}
        self._sizes: list[tuple[Width, int]] = []

    def keep(self, width: Width, kept: np.ndarray, readings: Sequence[Reading]) -> None:
        """Removes channels, and corrects the kernels that read them.

        Args:
            width: A width of the model.
            kept: `(k,)`, the channels that stay.
            readings: Of the readers of the width.
        """
        kept = np.sort(kept)
        for part in width.parts:
            change = self._change(part)
            change.take(part.layout, kept, width.size)
        for reader, reading in zip(width.readers, readings, strict=True):
            transform, constant = correction(reading, kept)
            change = self._change(reader.kernel)
            layout = reader.kernel.layout
            # (..., channels out, channels in)
            rows = layout.split(change.value)
            change.take(layout, kept, width.size)
            change.value = layout.join(rows @ transform.T, change.value.ndim)
            if reader.affine:
                bias = self._change(Part(reader.layer, "bias", Layout(0)))
                shift = (rows @ constant).reshape(-1, rows.shape[-2]).sum(axis=0)
                bias.value = bias.value + shift
        self._sizes.append((width, len(kept)))

    def add(self, width: Width, count: int, rng: np.random.Generator) -> int:
        """Adds channels that no layer reads yet, so that outputs stay the same.

        Their columns in the kernels that make them are orthogonal to the present ones;
        all else that they have is the mean of what the present ones have.

        Args:
            width: A width of the model.
            count: How many at most.
            rng: Draws the columns.

        Returns:
            How many; the rows of a kernel bound how many columns can be orthogonal.
        """
        drawn = []
        for layer in width.makers:
            kernel = self._change(Part(layer, "_kernel", Layout(-1))).value
            drawn.append(new_columns(kernel.reshape(-1, width.size), count, rng))
        count = min(columns.shape[1] for columns in drawn)
        if count == 0:
            return 0
        present = np.arange(width.size)
        channels = np.concatenate([present, np.full(count, -1)])
        new = slice(width.size, None)
        for part in width.parts:
            change = self._change(part)
            mean = part.layout.split(change.value).mean(axis=-1, keepdims=True)
            change.take(part.layout, channels, width.size)
            values = part.layout.split(change.value).copy()
            values[..., new] = mean
            change.value = part.layout.join(values, change.value.ndim)
        for layer, columns in zip(width.makers, drawn, strict=True):
            kernel = self._change(Part(layer, "_kernel", Layout(-1))).value
            kernel[..., new] = columns[:, :count].reshape(*kernel.shape[:-1], count)
        for reader in width.readers:
            change = self._change(reader.kernel)
            change.take(reader.kernel.layout, channels, width.size)
        self._sizes.append((width, width.size + count))
        return count

    def perform(self) -> None:
        """Makes the changes, in the layers, the graph and the optimizer.

        Compiled functions are dropped. Safe between epochs of a `fit`, in a callback's
        `on_epoch_begin` or `on_epoch_end`, and outside of it.
        """
        if not self._sizes:
            return
        by_layer: dict[int, list[_Change]] = {}
        for change in self._changes.values():
            by_layer.setdefault(id(change.part.layer), []).append(change)
        with capacity.variable_scope(self._model):
            for changes in by_layer.values():
                _replace(changes[0].part.layer, changes)
            self._follow()
        for width, size in self._sizes:
            _resize(width, size)
        changed = {id(t) for width, _ in self._sizes for t, _ in width.tensors}
        for _, node in all_nodes(self._model):
            if any(id(tensor) in changed for tensor in node.input_tensors):
                _respecify(node)
        for part in self._model._flatten_layers():
            if isinstance(part, keras.Model):
                for name in ("train", "test", "predict"):
                    setattr(part, f"{name}_function", None)

    def _change(self, part: Part) -> "_Change":
        key = id(part.variable)
        if key not in self._changes:
            self._changes[key] = _Change(part)
        return self._changes[key]

    def _follow(self) -> None:
        """Takes the optimizer to the new variables, with what it knew of the old."""
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

        def carried(slot: keras.Variable, fresh: keras.Variable) -> np.ndarray:
            change = owners.get(id(slot))
            if change is not None and tuple(slot.shape) == change.old_shape:
                return change.moved(slot.numpy(), fresh.numpy())
            # Some slots have another shape, as the factored ones of Adafactor.
            return slot.numpy() if slot.shape == fresh.shape else fresh.numpy()

        variables = [
            self._changes[id(v)].part.variable if id(v) in self._changes else v
            for v in old
        ]
        optimizer_slots.rebuild(optimizer, variables, carried)
        for wrapper in wrappers:
            optimizer_slots.follow(wrapper, variables)


class _Change:
    """A variable that gets another value, and perhaps another shape.

    Args:
        part: Where it is.

    Attributes:
        value: What it is to hold.
        old_shape: The shape that it has.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.old_shape = tuple(part.variable.shape)
        self.value = np.array(part.variable.numpy(), "float64")
        self._moves: list[tuple[int, np.ndarray]] = []

    def take(self, layout: Layout, channels: np.ndarray, size: int) -> None:
        """Takes slices, of `size` channels; zeros where the number is -1."""
        indices = layout.indices(channels, size)
        self.value = _taken(self.value, indices, layout.axis)
        self._moves.append((layout.axis, indices))

    def moved(self, slot: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """An optimizer's slot after all that was taken; fresh where it is new."""
        known = np.ones(slot.shape, bool)
        for axis, indices in self._moves:
            slot, known = _taken(slot, indices, axis), _taken(known, indices, axis)
        return np.where(known, slot, fresh)


def _taken(array: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    result = np.take(array, np.maximum(indices, 0), axis)
    np.moveaxis(result, axis, 0)[indices < 0] = 0
    return result


def _replace(layer: Layer, changes: list[_Change]) -> None:
    """Gives a layer new variables; the order in which it holds them stays."""
    by_variable = {id(change.part.variable): change for change in changes}
    trainable = list(layer._trainable_variables)
    held = trainable + list(layer._non_trainable_variables)
    for variable in held:
        layer._untrack_variable(variable)
    for variable in trainable:
        # Those of a frozen layer are not, but are kept with those that can be.
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
            initializer=_constant(change.value),
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


def _constant(value: np.ndarray) -> Any:
    return lambda shape, dtype=None: ops.convert_to_tensor(value, dtype=dtype)


def _resize(width: Width, size: int) -> None:
    """Tells layers and symbolic tensors of a new number of channels."""
    width.size = size
    for layer in width.makers:
        setattr(layer, "units" if hasattr(layer, "units") else "filters", size)
    for tensor, layout in width.tensors:
        shape = list(tensor.shape)
        shape[layout.axis] = layout.before * size * layout.after
        # Immutable in what Keras offers.
        tensor._shape = tuple(shape)


def _respecify(node: Any) -> None:
    """Tells a layer the shape of its input, which it checks and saves."""
    layer, tensors = node.operation, node.input_tensors
    spec: Any = getattr(layer, "input_spec", None)
    if len(tensors) == 1 and getattr(spec, "axes", None):
        spec.axes = {axis: tensors[0].shape[axis] for axis in spec.axes}
    shapes = getattr(layer, "_build_shapes_dict", None)
    if shapes is not None and len(shapes) == 1:
        (name,) = shapes
        single = len(tensors) == 1
        shapes[name] = tensors[0].shape if single else [t.shape for t in tensors]
