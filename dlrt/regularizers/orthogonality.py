"""A penalty on vectors that are not orthonormal."""

from typing import Any

import keras
from keras import ops

from dlrt import linalg
from dlrt.regularizers.amount import check_amount

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class Orthogonality(keras.regularizers.Regularizer):
    """`amount ‖UᵀU - I‖_F² / r²` for the `r` vectors `U: (n, r)` that are in a kernel.

    It keeps the length of the vectors too, which
    `keras.regularizers.OrthogonalRegularizer` leaves free, so that singular values
    between two such kernels stay what they are: Yang et al., 2020, arXiv:2004.09031.

    Args:
        amount: Factor, at least 0; 1 in the paper's code.
        axis: The axis of the kernel with an index for each vector. All others are
            folded to the `n` entries of a vector; there must be `r` of these at least,
            or the penalty can't be zero. The last axis are the columns of a matrix, and
            the filters of a convolution.

    Raises:
        ValueError: If `amount` is not a number of at least 0, or `axis` no integer.

    Example:

    >>> orthogonality = dlrt.regularizers.Orthogonality(1.0)
    >>> float(orthogonality(np.eye(5)[:, :3])), float(orthogonality(2 * np.eye(3)))
    (0.0, 3.0)
    """

    def __init__(self, amount: float = 1.0, axis: int = -1) -> None:
        self.amount = check_amount(amount)
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise ValueError(f"`axis` must be an integer. Received: axis={axis!r}")
        self.axis = axis

    def __call__(self, x: Tensor) -> Tensor:
        vectors = ops.moveaxis(ops.convert_to_tensor(x), self.axis, -1)
        matrix = ops.reshape(vectors, (-1, vectors.shape[-1]))
        count = matrix.shape[1]
        gram = linalg.transpose(matrix) @ matrix
        distance = (gram - ops.eye(count, dtype=gram.dtype)) / count
        return self.amount * ops.sum(ops.square(distance))

    def get_config(self) -> dict[str, Any]:
        return {"amount": self.amount, "axis": self.axis}
