"""Shapes of factors and of their operands, some known only at run time."""

from typing import Any

import keras
from keras import ops

Tensor = Any


def dynamic_shapes() -> bool:
    """Whether compiled functions may use shapes known only at run time.

    If so, computations use factors of adaptive rank at their rank. Otherwise columns of
    zeros pad them to the width of their variables.
    """
    return keras.backend.backend() == "tensorflow"


def with_shape(tensor: Any, shape: tuple[int | None, ...]) -> Any:
    """A tensor with a static shape that TensorFlow can't infer."""
    if dynamic_shapes():
        tensor.set_shape(shape)
    return tensor


def padded(value: Tensor, like: Any) -> Tensor:
    """Zero columns (and rows) up to the shape of a variable or tensor."""
    shape = tuple(like.shape)
    if tuple(value.shape) == shape:
        return value
    return with_shape(_extended(value, ops.shape(like)), shape)


def padded_to(value: Tensor, shape: tuple[int, int]) -> Tensor:
    """Zero columns and rows up to a shape."""
    return with_shape(_extended(value, shape), shape)


def _extended(value: Tensor, shape: Any) -> Tensor:
    have = ops.shape(value)
    return ops.pad(value, [[0, size - h] for size, h in zip(shape, have, strict=True)])


def cropped(value: Tensor, name: str, width: Tensor | int) -> Tensor:
    """The columns of a factor that are in use (and the rows, for coefficients)."""
    if isinstance(width, int) and width == value.shape[1]:
        return value
    rows = width if name == "s" else value.shape[0]
    if rows is None:
        rows = ops.shape(value)[0]
    return ops.slice(value, (0, 0), (rows, width))


def as_rows(x: Tensor) -> Tensor:
    """A tensor `(batch, ..., m)` as a matrix `(rows, m)`."""
    return x if len(x.shape) == 2 else ops.reshape(x, (-1, ops.shape(x)[-1]))
