"""A dense layer on several axes whose kernel has low rank."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.layers.core import einsum_dense  # parses equations; not exported

from dlrt.layers.low_rank_affine import LowRankAffine

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class LowRankEinsumDense(LowRankAffine):
    """`keras.layers.EinsumDense` with a kernel of low rank.

    The kernel is folded to a matrix `W: (n, m)`: the axes that the equation sums over
    are its rows, the axes that go into the output its columns. `W = U S Vᵀ` is kept in
    factors, see `LowRankLayer`.

    Args:
        equation: An equation of `EinsumDense`, `"abc,cde->abde"` or with an ellipsis
            `"...x,xy->...y"`. Every axis of the kernel must be summed over or go into
            the output; an axis that input, kernel and output have in common, one
            matrix for each index, is refused.
        output_shape: Shape of the output without the batch axis (and without axes in
            the ellipsis); `None` for axes of unknown length.
        bias_axes: Axes of the output that have a bias. Defaults to none.
        rank: Positive integer, at most `min(n, m)`; the starting rank if the rank is
            adaptive.
        **kwargs: Arguments of `keras.layers.Layer`. All others are as for
            `LowRankDense`, of the matrix and of the bias.

    Raises:
        ValueError: If an argument is out of range, or the equation is not a matrix
            product; for ranks above `min(n, m)` when the layer is built.

    Example:

    >>> layer = dlrt.layers.LowRankEinsumDense("abc,cde->abde", (None, 8, 64), rank=40)
    >>> tuple(layer(np.ones((2, 5, 512), "float32")).shape)
    (2, 5, 8, 64)
    """

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        rank: int,
        tolerance: float | None = None,
        max_rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not is_matrix_product(equation):
            raise ValueError(
                "`equation` must be a product with one matrix: some axes of the kernel "
                "summed over, all others new in the output, and none of the input "
                f"lost. Received: equation={equation!r}"
            )
        super().__init__(
            activation=activation,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            rank=rank,
            tolerance=tolerance,
            max_rank=max_rank,
            **kwargs,
        )
        self.equation = equation
        single = isinstance(output_shape, int)
        self.partial_output_shape = (output_shape,) if single else tuple(output_shape)
        self.bias_axes = bias_axes

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        kernel_shape, bias_shape, _, rows, columns = (
            einsum_dense._analyze_einsum_string(
                self.equation, self.bias_axes, input_shape, self.partial_output_shape
            )
        )
        if None in kernel_shape:
            raise ValueError(
                "The axes of the kernel must be known. Received: "
                f"equation={self.equation!r}, input_shape={input_shape}, "
                f"output_shape={self.partial_output_shape}"
            )
        self._kernel_shape = tuple(kernel_shape)
        self._kernel_order = (*rows, *columns)
        self.row_shape = tuple(kernel_shape[axis] for axis in rows)
        self.column_shape = tuple(kernel_shape[axis] for axis in columns)
        self.add_factors(
            (math.prod(self.row_shape), math.prod(self.column_shape)),
            self.kernel_initializer,
            self.kernel_regularizer,
            self._kernel_shape,
            self.unfold,
        )
        if bias_shape is not None:
            self.add_bias(tuple(bias_shape))
        # The orders of axes that make the equation a product of matrices.
        x, kernel, y = all_axes_of(self.equation, len(input_shape))
        summed = [axis for axis in kernel if axis not in y]
        kept = [axis for axis in x if axis not in summed]
        made = [axis for axis in kernel if axis in y]
        self._num_kept = len(kept)
        self._input_order = _order(x, [*kept, *summed])
        self._output_order = _order([*kept, *made], y)
        self.built = True

    def unfold(self, kernel: np.ndarray) -> np.ndarray:
        """The matrix `(n, m)` that a kernel of the equation stands for."""
        return unfold_kernel(self.equation, kernel)

    def fold(self, matrix: Tensor) -> Tensor:
        """The kernel of the equation that a matrix `(n, m)` stands for."""
        permuted = ops.reshape(
            matrix, [self._kernel_shape[axis] for axis in self._kernel_order]
        )
        return ops.transpose(permuted, np.argsort(self._kernel_order).tolist())

    @property
    def kernel(self) -> Tensor:
        """The represented kernel, a dense tensor with the axes of the equation."""
        return self.fold(self.matrix())

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = inputs
        if self._input_order is not None:
            x = ops.transpose(x, self._input_order)
        shape = ops.shape(x)
        kept = shape[: self._num_kept]
        # Directly to (batch, n): axes that are summed over are merged here too.
        x = self.multiply(ops.reshape(x, (-1, self.matrix_shape[0])))
        x = ops.reshape(x, (*kept, *self.column_shape))
        if self._output_order is not None:
            x = ops.transpose(x, self._output_order)
        return self.activate(x)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        kernel_shape = einsum_dense._analyze_einsum_string(
            self.equation, self.bias_axes, input_shape, self.partial_output_shape
        )[0]
        x, kernel, y = all_axes_of(self.equation, len(input_shape))
        # From the input where possible: with several axes in a leading ellipsis, Keras
        # reverses their order in the output.
        lengths = {
            **dict(zip(kernel, kernel_shape, strict=True)),
            **dict(zip(x, input_shape, strict=True)),
        }
        return tuple(lengths[axis] for axis in y)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "equation": self.equation,
            "output_shape": self.partial_output_shape,
            "bias_axes": self.bias_axes,
        }


def axes_of(equation: str) -> list[str]:
    """The axes of input, kernel and output, without those in an ellipsis."""
    return equation.replace("...", "").replace("->", ",").split(",")


def all_axes_of(equation: str, ndim: int) -> tuple[list[str], list[str], list[str]]:
    """The axes of an input of `ndim` axes, the kernel and the output."""
    x, kernel, y = map(list, axes_of(equation))
    elided = [f"#{axis}" for axis in range(ndim - len(x))]
    if equation.startswith("..."):
        return [*elided, *x], kernel, [*elided, *y]
    return [*x, *elided], kernel, [*y, *elided]


def is_matrix_product(equation: str) -> bool:
    """Whether an equation multiplies with one matrix, see `LowRankEinsumDense`."""
    axes = axes_of(equation)
    if len(axes) != 3:
        return False
    x, kernel, y = map(set, axes)
    return not (x & kernel & y or x - kernel - y) and bool(x & kernel and kernel & y)


def unfold_kernel(equation: str, kernel: np.ndarray) -> np.ndarray:
    """The matrix `(n, m)` that a kernel of an equation stands for."""
    _, axes, y = axes_of(equation)
    rows = [i for i, axis in enumerate(axes) if axis not in y]
    columns = [i for i, axis in enumerate(axes) if axis in y]
    count = math.prod(kernel.shape[i] for i in rows)
    return np.transpose(kernel, [*rows, *columns]).reshape(count, -1)


def _order(axes: list[str], wanted: list[str]) -> list[int] | None:
    """The permutation from one order of axes to another, `None` if they agree."""
    return None if axes == wanted else [axes.index(axis) for axis in wanted]
