"""Functions whose traces layers, models and repeated compilations share."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops, tree

from dlrt.backend.values import raw


def applicable() -> bool:
    """Whether traces can be shared: on TensorFlow, and on one device."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync == 1


def tracing() -> bool:
    """Whether traces can be shared, and operations are being traced."""
    if not applicable():
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def shared(owner: Any, name: str, any_height: bool = False) -> Callable:
    """A method of a stateless object, traced once for all arguments of like shapes.

    On TensorFlow, where tracing is most of the wait for the first training step. Layers
    of equal kernels, equal networks, and functions that are traced anew after a layer
    has been resized then share a trace. Elsewhere this is the method itself.

    For variables among the arguments the method gets proxies that it can read and
    assign to; assignments are visible outside.

    Args:
        owner: The object, hashable.
        name: Name of the method.
        any_height: Whether arguments that differ only in their number of rows count as
            alike.
    """
    if not applicable():
        return getattr(owner, name)

    def call(*arguments: Any) -> Any:
        leaves = list(map(raw, tree.flatten(arguments)))
        specs = tuple(_spec(leaf, any_height) for leaf in leaves)
        function = _traced(owner, name, specs)
        # The function keeps this trace and finds it by the specifications.
        like = tree.pack_sequence_as(arguments, list(map(_signature, specs)))
        handed_over = tree.pack_sequence_as(arguments, list(map(_handle, leaves)))
        return function.get_concrete_function(*like)(*handed_over)

    return call


class _VariableSpec(NamedTuple):
    """What variables that share a trace have in common."""

    shape: tuple[int | None, ...]
    dtype: Any


class _Variable:
    """A variable among the arguments of a trace, which knows only its handle.

    TensorFlow would distinguish its own variables by height, and would take those made
    in another traced function for variables of this one.
    """

    def __init__(self, handle: Any, spec: _VariableSpec) -> None:
        self.shape = spec.shape
        self.dtype = spec.dtype
        self._handle = handle

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        import tensorflow as tf

        value = tf.raw_ops.ReadVariableOp(resource=self._handle, dtype=self.dtype)
        value.set_shape(self.shape)
        return value

    def assign(self, value: Any) -> None:
        import tensorflow as tf

        tf.raw_ops.AssignVariableOp(resource=self._handle, value=value)


def _spec(argument: Any, any_height: bool) -> Any:
    """What arguments that share a trace have in common."""
    if not ops.is_tensor(argument):
        return argument
    import tensorflow as tf

    shape = list(argument.shape)
    if any_height and shape:
        shape[0] = None
    if isinstance(argument, tf.Variable):
        return _VariableSpec(tuple(shape), argument.dtype)
    return tf.TensorSpec(shape, argument.dtype)


def _signature(spec: Any) -> Any:
    """The specification of an argument for TensorFlow."""
    import tensorflow as tf

    if isinstance(spec, _VariableSpec):
        return tf.TensorSpec((), tf.resource)
    return spec


def _handle(argument: Any) -> Any:
    """What TensorFlow gets in place of an argument."""
    import tensorflow as tf

    return argument.handle if isinstance(argument, tf.Variable) else argument


# Enough for the layers of several networks. One process may train thousands.
@functools.lru_cache(maxsize=64)
def _traced(owner: Any, name: str, specs: tuple) -> Any:
    def call(*arguments: Any) -> Any:
        leaves = [
            _Variable(leaf, spec) if isinstance(spec, _VariableSpec) else leaf
            for leaf, spec in zip(tree.flatten(arguments), specs, strict=True)
        ]
        return getattr(owner, name)(*tree.pack_sequence_as(arguments, leaves))

    return called(call)


def called(function: Callable) -> Any:
    """A TensorFlow function that is not inlined at every call.

    Every inlined copy would be optimised separately.
    """
    import tensorflow as tf

    return tf.function(
        function, autograph=False, experimental_attributes={"_noinline": True}
    )
