"""Functions whose traces layers, models and repeated compilations share."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree


def shared(owner: Any, name: str) -> Callable:
    """A method of a stateless object, traced once for all arguments of like shapes.

    On TensorFlow, where tracing is most of the wait for the first training step. Layers
    of equal kernels, equal networks, and functions that are traced anew after a layer
    has been resized then share a trace. Elsewhere this is the method itself.
    """
    if keras.backend.backend() != "tensorflow":
        return getattr(owner, name)

    def call(*arguments: Any) -> Any:
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
