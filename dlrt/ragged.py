"""Batches of matrices that differ in height."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

Tensor = Any


class Ragged(NamedTuple):
    """Matrices of one width and several heights, in place of a batch of equal ones.

    Formulas for a tall matrix then serve several at once: `A @ s` takes a batch
    `s: (k, r, r)` of small matrices, and `transpose(A) @ B` results in one, so that
    what is small is computed together, whatever the heights are. Operands are other
    ragged batches, or tensors with a leading axis of the same length.

    Attributes:
        parts: The matrices; tensors, with leading batch axes or without, or ragged
            batches themselves.
    """

    parts: tuple[Any, ...]

    @property
    def dtype(self) -> Any:
        return self.parts[0].dtype

    @property
    def T(self) -> "_Transposed":
        """The transposes, to be multiplied with another ragged batch."""
        return _Transposed(self)

    def __matmul__(self, other: Any) -> "Ragged":
        return self._combine(operator.matmul, other)

    def __add__(self, other: Any) -> "Ragged":
        return self._combine(operator.add, other)

    def __sub__(self, other: Any) -> "Ragged":
        return self._combine(operator.sub, other)

    def __mul__(self, other: Any) -> "Ragged":
        return self._combine(operator.mul, other)

    def __truediv__(self, other: Any) -> "Ragged":
        return self._combine(operator.truediv, other)

    def _combine(self, operation: Callable, other: Any) -> "Ragged":
        return Ragged(tuple(map(operation, self.parts, unstack(other, self))))


class _Transposed(NamedTuple):
    ragged: Ragged

    def __matmul__(self, other: Ragged) -> Tensor:
        return ops.stack(list(map(_transposed_product, self.ragged.parts, other.parts)))


def _transposed_product(left: Any, right: Any) -> Tensor:
    if isinstance(left, Ragged):
        return left.T @ right
    return ops.swapaxes(left, -1, -2) @ right


def unstack(value: Any, like: Ragged) -> tuple[Any, ...] | list[Any]:
    """What belongs to each matrix of a ragged batch, of another batch or scalar."""
    if isinstance(value, Ragged):
        return value.parts
    if not getattr(value, "shape", ()):
        return [value] * len(like.parts)
    return ops.unstack(value, len(like.parts))


def stack_each(function: Callable, matrix: Any) -> Tensor:
    """A function of one matrix; of a ragged batch, its values in one tensor."""
    if isinstance(matrix, Ragged):
        return ops.stack([stack_each(function, part) for part in matrix.parts])
    return function(matrix)


def concatenate_columns(left: Any, right: Any) -> Any:
    """`[left, right]`, for tensors and ragged batches alike."""
    if isinstance(left, Ragged):
        return left._combine(concatenate_columns, right)
    return ops.concatenate([left, right], axis=-1)


def height(matrix: Tensor) -> Tensor | int:
    """The number of rows; of a ragged batch, `(k, 1, 1)`."""
    if isinstance(matrix, Ragged):
        heights = [float(ops.shape(part)[-2]) for part in matrix.parts]
        return ops.reshape(ops.convert_to_tensor(heights), (-1, 1, 1))
    return ops.shape(matrix)[-2]
