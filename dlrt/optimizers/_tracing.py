"""Functions whose traces layers, models and repeated compilations share."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree


def applicable() -> bool:
    """Whether traces can be shared: on TensorFlow, and on one device."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync == 1


def raw(value: Any) -> Any:
    """What the backend knows of a variable of Keras; anything else as it is."""
    return value.value if isinstance(value, keras.Variable) else value


def shared(owner: Any, name: str) -> Callable:
    """A method of a stateless object, traced once for all arguments of like shapes.

    On TensorFlow, where tracing is most of the wait for the first training step. Layers
    of equal kernels, equal networks, and functions that are traced anew after a layer
    has been resized then share a trace. Elsewhere this is the method itself.

    Variables among the arguments are those of the backend within the method, and what
    it assigns to them is seen outside.
    """
    if not applicable():
        return getattr(owner, name)

    def call(*arguments: Any) -> Any:
        arguments = tree.map_structure(raw, arguments)
        likeness = tuple(
            (tuple(leaf.shape), leaf.dtype) if ops.is_tensor(leaf) else leaf
            for leaf in tree.flatten(arguments)
        )
        return _traced(owner, name, likeness)(*arguments)

    return call


# Enough for the layers of some networks. One process may train thousands.
@functools.lru_cache(maxsize=64)
def _traced(owner: Any, name: str, likeness: tuple) -> Callable:
    import tensorflow as tf

    # Not to be written out at every call, or all copies would be optimised one by one.
    return tf.function(
        getattr(owner, name),
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
