"""Convolutions whose kernel has low rank."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from dlrt.backend.shapes import as_rows
from dlrt.layers.low_rank_affine import LowRankAffine

Tensor = Any


class LowRankConv(LowRankAffine):
    """Base of convolutions over one or more axes, see `LowRankConv2D`.

    Attributes:
        keras_type: The corresponding Keras layer.
    """

    keras_type: Any

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
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
        if groups != 1:
            raise ValueError(
                "`groups` must be 1: a grouped convolution has a matrix for each "
                f"group. Received: groups={groups}"
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
        # Keras checks these and expands abbreviations.
        geometry = (filters, kernel_size, strides, padding, data_format, dilation_rate)
        plain = self.keras_type(*geometry, name=self.name)
        self.filters = filters
        self.kernel_size: tuple[int, ...] = plain.kernel_size
        self.strides: tuple[int, ...] = plain.strides
        self.padding: str = plain.padding
        self.data_format: str = plain.data_format
        self.dilation_rate: tuple[int, ...] = plain.dilation_rate
        self.use_bias = use_bias
        self.input_spec = plain.input_spec

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        axis = self._channel_axis
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                "The channels of the input must be known. Received: "
                f"input_shape={input_shape}, data_format={self.data_format!r}"
            )
        # Keras rejects inputs that are smaller than the kernel.
        self.compute_output_shape(input_shape)
        self._kernel_shape = (*self.kernel_size, channels, self.filters)
        field = math.prod(self.kernel_size)
        self.add_factors(
            (field * channels, self.filters),
            self.kernel_initializer,
            self.kernel_regularizer,
            self._kernel_shape,
            self.unfold,
            fans=(field * channels, field * self.filters),
        )
        if self.use_bias:
            self.add_bias((self.filters,))
        self.input_spec = keras.layers.InputSpec(
            min_ndim=len(self._kernel_shape), axes={axis: channels}
        )
        self.built = True

    def unfold(self, kernel: np.ndarray) -> np.ndarray:
        """The matrix `(n, filters)` that a kernel stands for."""
        return unfold_filters(kernel)

    def fold(self, matrix: Tensor) -> Tensor:
        """The kernel with the columns of a matrix `(n, q)` as filters."""
        return ops.reshape(matrix, (*self._kernel_shape[:-1], matrix.shape[1] or -1))

    @property
    def kernel(self) -> Tensor:
        """The represented kernel, dense: `(*kernel_size, channels, filters)`."""
        return self.fold(self.matrix())

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs
        if self._channel_axis == 1:
            x = ops.moveaxis(x, 1, -1)
        if self.padding == "causal":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            x = ops.pad(x, [[0, 0], [before, 0], [0, 0]])
        y = self.apply_bias(self.convolve(x, self._convolve))
        if self._channel_axis == 1:
            y = ops.moveaxis(y, -1, 1)
        return y if self.activation is None else self.activation(y)

    def coordinates(self, x: Tensor, basis: Tensor) -> Tensor:
        return as_rows(self._convolve(x, ops.cast(basis, x.dtype)))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        # It reads the same attributes.
        return self.keras_type.compute_output_shape(self, input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": 1,
            "use_bias": self.use_bias,
        }

    @property
    def _channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else -1

    def _convolve(self, x: Tensor, matrix: Tensor) -> Tensor:
        """The convolution of `(batch, ..., channels)` with filters in columns."""
        return ops.conv(
            x,
            self.fold(matrix),
            strides=list(self.strides),
            # Causal padding has been added already.
            padding="valid" if self.padding == "causal" else self.padding,
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )


@keras.saving.register_keras_serializable(package="dlrt")
class LowRankConv1D(LowRankConv):
    """`keras.layers.Conv1D` with a kernel of low rank, see `LowRankConv2D`.

    Example:

    >>> layer = dlrt.layers.LowRankConv1D(64, 5, padding="causal", rank=8)
    >>> tuple(layer(np.ones((2, 100, 32), "float32")).shape)
    (2, 100, 64)
    """

    keras_type = keras.layers.Conv1D


@keras.saving.register_keras_serializable(package="dlrt")
class LowRankConv2D(LowRankConv):
    """`keras.layers.Conv2D` with a kernel of low rank.

    The kernel `(k, k', channels, filters)` is unfolded to a matrix `W: (n, filters)`
    with `n = k k' channels`, one column a filter, and kept as `U S Vᵀ`, see
    `LowRankLayer`. The layer costs as much as a convolution to `r` filters followed by
    one of size 1 to `filters`.

    Args:
        filters: Positive integer, number of filters.
        kernel_size: Positive integer or one for each axis.
        strides: Positive integer or one for each axis.
        padding: `"valid"` or `"same"`; of a `LowRankConv1D`, `"causal"` too.
        data_format: `"channels_last"` or `"channels_first"`, which is transposed before
            and after. Defaults to Keras's `image_data_format`.
        dilation_rate: Positive integer or one for each axis; 1 with strides.
        groups: Must be 1.
        kernel_regularizer: Regularizer of the matrix, see `LowRankDense`; any but the
            L1 and L2 of Keras gets the matrix, not the kernel.
        rank: Positive integer, at most `min(n, filters)`; the starting rank if the rank
            is adaptive.
        **kwargs: Arguments of `keras.layers.Layer`. All others are as for
            `LowRankDense`.

    Raises:
        ValueError: If an argument is out of range; for ranks above `min(n, filters)`
            when the layer is built.

    Example:

    >>> layer = dlrt.layers.LowRankConv2D(64, 3, padding="same", rank=16)
    >>> tuple(layer(np.ones((2, 32, 32, 16), "float32")).shape)
    (2, 32, 32, 64)

    References:
        - Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
          arXiv:2205.13571: convolutions as matrices of this shape.
    """

    keras_type = keras.layers.Conv2D


def unfold_filters(kernel: np.ndarray) -> np.ndarray:
    """The matrix `(n, filters)` that the kernel of a convolution stands for."""
    return kernel.reshape(-1, kernel.shape[-1])
