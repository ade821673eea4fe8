"""A penalty on the number of entries that matter, whatever their size."""

from typing import Any

import keras
from keras import ops

from dlrt.regularizers.amount import check_amount

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class Hoyer(keras.regularizers.Regularizer):
    """`amount ‖s‖₁ / ‖s‖₂`, least where one entry is left, and the same for `c s`.

    For `r` entries the ratio lies between 1, where one of them is not zero, and `√r`,
    where all have one size (Hoyer, 2004, JMLR 5). On singular values it makes a kernel
    low-rank without making it small: Yang et al., 2020, arXiv:2004.09031. With
    `squared=True`, it is `amount ‖s‖₁² / ‖s‖₂²`, between 1 and `r`: Yang, Wen & Li,
    2020, arXiv:1908.09979.

    The gradient has a size of `1 / ‖s‖₂`, and is zero at `s = 0`.

    Args:
        amount: Factor, at least 0. The code of the paper has 0.001 to 0.1 for residual
            networks on CIFAR-10, less the deeper they are, and about a tenth of that
            for squares.
        squared: Whether to take the square of the ratio.

    Raises:
        ValueError: If `amount` is not a number of at least 0.

    Example:

    >>> hoyer = dlrt.regularizers.Hoyer(0.1)
    >>> [round(float(hoyer(np.array(s))), 3) for s in ([5.0, 0.0], [5.0, 5.0])]
    [0.1, 0.141]
    """

    def __init__(self, amount: float = 0.1, squared: bool = False) -> None:
        self.amount = check_amount(amount)
        self.squared = squared

    def __call__(self, x: Tensor) -> Tensor:
        x = ops.convert_to_tensor(x)
        # Their size does not matter, but squares of small numbers are lost.
        size = ops.stop_gradient(ops.max(ops.absolute(x)))
        x = x / ops.where(size == 0, ops.ones_like(size), size)
        squares = ops.sum(ops.square(x))
        squares = ops.where(squares == 0, ops.ones_like(squares), squares)
        # Their absolute values, with a slope of zero at zero on every backend.
        ones = ops.sum(x * ops.stop_gradient(ops.sign(x)))
        if self.squared:
            return self.amount * ops.square(ones) / squares
        return self.amount * ones / ops.sqrt(squares)

    def get_config(self) -> dict[str, Any]:
        return {"amount": self.amount, "squared": self.squared}
