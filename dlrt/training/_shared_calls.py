"""Calls of layers, traced once for all similar layers of a model.

On TensorFlow most of the wait for the first training step is for tracing it and
optimising its graph, and a network of equal blocks has every operation many times.
"""

import contextlib
import contextvars
import functools
import weakref
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops, tree
from keras.src.backend import AutocastScope  # not exported by Keras

from dlrt import layers
from dlrt.backend import tracing
from dlrt.backend.values import value_of

Tensor = Any

# Layers whose output depends on arguments, weights, seeds and what `_described` finds,
# and whose calls change nothing but seeds.
_PURE = (
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.EinsumDense,
    keras.layers.LayerNormalization,
    keras.layers.MultiHeadAttention,
    keras.layers.Softmax,
    layers.CachedMultiHeadAttention,
    layers.LowRankDense,
    layers.LowRankEinsumDense,
    layers.LowRankMultiHeadAttention,
)

# Similar layers share a trace if there are at least this many of them, and at least
# this many in the model. Calling a function costs some tens of microseconds in every
# step, which would slow down a network of a few small layers for no gain.
_ALIKE, _ALL = 8, 32

# Attributes that matter when a layer is built, not when it is called.
_BUILDING = (
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    weakref.ref,
    weakref.WeakSet,
)

_PRESENT: contextvars.ContextVar[Any] = contextvars.ContextVar("present layer")


class _Alike(NamedTuple):
    """Layers that differ only in the values of their variables.

    Attributes:
        description: The description that they share, see `_described`.
    """

    description: Hashable

    def call(
        self, values: list[Tensor], args: tuple, kwargs: dict
    ) -> tuple[Any, list[Tensor]]:
        """The output of the current layer, and the states of its seeds afterwards.

        Args:
            values: Values to use in place of its variables.
            args: Arguments of the call.
            kwargs: Arguments of the call.
        """
        layer = _PRESENT.get()
        variables = zip(layer.variables, values, strict=True)
        with keras.StatelessScope(list(variables)) as scope:
            output = type(layer).call(layer, *args, **kwargs)
            seeds = [scope.get_current_value(seed) for seed in _seeds(layer)]
        return output, seeds


@contextlib.contextmanager
def shared_calls(model: keras.Model) -> Iterator[None]:
    """Within this context the calls of similar layers share a trace.

    Only on TensorFlow, on one device, where operations are traced; elsewhere nothing
    changes.
    """
    found = _alike(model) if tracing.tracing() else []
    for layer, alike in found:
        # Past `__setattr__`, which would track it.
        layer.__dict__["call"] = functools.partial(_call, layer, alike)
    try:
        yield
    finally:
        for layer, _ in found:
            # Another thread may have traced a model with the same layers.
            layer.__dict__.pop("call", None)


def _call(layer: keras.Layer, alike: _Alike, *args: Any, **kwargs: Any) -> Any:
    """`layer.call`, by the trace that similar layers share."""
    if not all(map(_can_be_handed_over, tree.flatten((args, kwargs)))):
        return type(layer).call(layer, *args, **kwargs)
    for part in layer._flatten_layers():
        if isinstance(part, layers.LowRankLayer):
            part.remember_model()
    with AutocastScope(None):
        values = list(map(value_of, layer.variables))
    token = _PRESENT.set(layer)
    try:
        output, seeds = tracing.shared(alike, "call")(values, args, kwargs)
    finally:
        _PRESENT.reset(token)
    for seed, value in zip(_seeds(layer), seeds, strict=True):
        seed.assign(value)
    return output


def _can_be_handed_over(argument: Any) -> bool:
    """Whether an argument is a flag, or a tensor that a trace may know by its shape."""
    if ops.is_tensor(argument):
        return argument.shape.rank is not None
    return argument is None or isinstance(argument, (bool, int, float, str))


def _seeds(layer: keras.Layer) -> list[keras.Variable]:
    """The variables of a layer that its calls change."""
    weights = set(map(id, layer.weights))
    return [v for v in layer.variables if id(v) not in weights]


def _alike(model: keras.Model) -> list[tuple[keras.Layer, _Alike]]:
    """The layers that share traces, each with the description of its group."""
    candidates = {id(layer): (layer, _Alike(d)) for layer, d in _candidates(model)}
    counts = Counter(alike for _, alike in candidates.values())
    found = [pair for pair in candidates.values() if counts[pair[1]] >= _ALIKE]
    return found if len(found) >= _ALL else []


def _candidates(part: keras.Layer) -> Iterator[tuple[keras.Layer, Hashable]]:
    """The outermost layers that may share traces, and their descriptions."""
    for layer in part._flatten_layers(recursive=False, include_self=False):
        try:
            description = _described(layer)
            hash(description)
        except TypeError:
            yield from _candidates(layer)
        else:
            yield layer, description


def _described(value: Any) -> Hashable:
    """Describes whatever affects the calls of a layer, or of one of its attributes.

    Unknown objects describe themselves, so that layers that hold different ones are not
    similar.

    Raises:
        TypeError: For layers whose calls may have side effects.
    """
    if isinstance(value, keras.Layer):
        if type(value) not in _PURE or not value.built:
            raise TypeError(type(value))
        if any(
            part.activity_regularizer is not None
            for part in value._flatten_layers(include_self=False)
        ):
            # Their losses would be lost inside the trace.
            raise TypeError(type(value))
        attributes = {
            name: attribute
            for name, attribute in vars(value).items()
            # TensorFlow's own have this prefix.
            if name not in _of_every_layer() and not name.startswith("_self_")
        }
        return type(value), value.dtype_policy.name, _described(attributes)
    if isinstance(value, keras.Variable):
        return tuple(value.shape), value.dtype
    if isinstance(value, keras.random.SeedGenerator):
        # Its state is a variable.
        return keras.random.SeedGenerator
    if isinstance(value, _BUILDING):
        return None
    if isinstance(value, dict):
        return tuple(sorted((name, _described(v)) for name, v in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(_described, value))
    return value


@functools.cache
def _of_every_layer() -> frozenset[str]:
    return frozenset(vars(keras.layers.Layer(name="any")))
