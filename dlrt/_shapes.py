"""What a backend can do with shapes that are known at run time only."""

from typing import Any

import keras


def dynamic_shapes() -> bool:
    """Whether compiled functions may compute with shapes known at run time only.

    Then factors of adaptive rank are computed with at their rank. Otherwise columns of
    zeros pad them to the width of the variables that hold them.
    """
    return keras.backend.backend() == "tensorflow"


def with_shape(tensor: Any, shape: tuple[int | None, ...]) -> Any:
    """A tensor of a shape that TensorFlow can't tell from how it was made."""
    if dynamic_shapes():
        tensor.set_shape(shape)
    return tensor
