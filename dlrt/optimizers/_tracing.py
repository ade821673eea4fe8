"""Functions that layers and traces of one model share."""

from collections.abc import Callable
from typing import Any

import keras


def shared(owner: Any, name: str) -> Callable:
    """A method of a stateless object, traced once for all arguments of like shapes.

    TensorFlow can compute with shapes known at run time only. Layers of equal kernels
    then share one trace, and so do the functions that are traced anew after a layer
    has been resized. Elsewhere this is the method itself.
    """
    method = getattr(owner, name)
    if keras.backend.backend() != "tensorflow":
        return method
    import tensorflow as tf

    traces = vars(owner).setdefault("_traces", {})
    if name not in traces:
        traces[name] = tf.function(method, autograph=False)
    return traces[name]
