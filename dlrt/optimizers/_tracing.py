"""Functions whose traces layers, models and repeated compilations share."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

from dlrt._values import raw


def applicable() -> bool:
    """Whether traces can be shared: on TensorFlow, and on one device."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync == 1


def shared(owner: Any, name: str, any_height: bool = False) -> Callable:
    """A method of a stateless object, traced once for all arguments of like shapes.

    On TensorFlow, where tracing is most of the wait for the first training step. Layers
    of equal kernels, equal networks, and functions that are traced anew after a layer
    has been resized then share a trace. Elsewhere this is the method itself.

    Variables among the arguments are those of the backend within the method, and what
    it assigns to them is seen outside.

    Args:
        owner: The object, hashable.
        name: Name of the method.
        any_height: Whether arguments are also alike that differ in their number of
            rows. Then they must be tensors, or `None`.
    """
    if not applicable():
        return getattr(owner, name)

    def call(*arguments: Any) -> Any:
        arguments = tree.map_structure(raw, arguments)
        specs = tuple(_spec(leaf, any_height) for leaf in tree.flatten(arguments))
        function = _traced(owner, name, specs)
        if any_height:
            # Kept by the function, which finds it by the specifications.
            like = tree.pack_sequence_as(arguments, list(specs))
            function = function.get_concrete_function(*like)
        else:
            # TensorFlow takes variables that were made within a traced function for the
            # function's own, even as arguments, and refuses a call when they are gone.
            # Keras makes the slots of a plain model so, in its first step.
            function.get_concrete_function(*arguments).graph.variables = ()
        return function(*arguments)

    return call


def _spec(argument: Any, any_height: bool) -> Any:
    """What arguments that share a trace have in common."""
    if not ops.is_tensor(argument):
        return argument
    import tensorflow as tf

    shape = list(argument.shape)
    if any_height and shape:
        shape[0] = None
    return tf.TensorSpec(shape, argument.dtype)


# Enough for the layers of some networks. One process may train thousands.
@functools.lru_cache(maxsize=64)
def _traced(owner: Any, name: str, specs: tuple) -> Any:
    import tensorflow as tf

    # Not to be written out at every call, or all copies would be optimised one by one.
    return tf.function(
        getattr(owner, name),
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
