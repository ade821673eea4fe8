"""A low-rank layer, `LowRankConv1DTranspose`, and its conversion both ways."""

import keras
from keras import ops

from dlrt.accounting import known_size, register_positions
from dlrt.layers import LowRankAffine
from dlrt.surgery import OneKernel, last_config, register_family


@keras.saving.register_keras_serializable(package="dlrt_extras")
class LowRankConv1DTranspose(LowRankAffine):
    """`keras.layers.Conv1DTranspose` with a kernel of low rank.

    The kernel `(size, filters, channels)` stands for the matrix `(channels, size *
    filters)`: what each position adds to the positions around it.

    Args:
        filters: Number of channels of the output.
        kernel_size: Number of positions that a position adds to.
        strides: Distance of the positions in the output.
        padding: `"valid"` or `"same"`.
        use_bias: Whether there is a bias.
        activation, kernel_initializer, ..., bias_constraint: As in Keras.
        rank: Positive integer, at most `min(channels, kernel_size * filters)`.
        **kwargs: `tolerance` and `max_rank`, see `dlrt.layers.LowRankLayer`, and the
            arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        *,
        rank,
        **kwargs,
    ):
        super().__init__(
            activation=activation,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            rank=rank,
            **kwargs,
        )
        # Keras says what these may be, and what they are short for.
        plain = keras.layers.Conv1DTranspose(filters, kernel_size, strides, padding)
        self.filters = filters
        (self.kernel_size,) = plain.kernel_size
        (self.strides,) = plain.strides
        self.padding = plain.padding
        self.use_bias = use_bias

    def build(self, input_shape):
        channels = input_shape[-1]
        size, filters = self.kernel_size, self.filters
        self.add_factors(
            (channels, size * filters),
            self.kernel_initializer,
            self.kernel_regularizer,
            kernel_shape=(size, filters, channels),
            unfold=unfold,
        )
        if self.use_bias:
            self.add_bias((filters,))
        self.built = True

    def call(self, inputs):
        length, size, stride = ops.shape(inputs)[1], self.kernel_size, self.strides
        # `multiply` keeps the product in low rank, and records it for integrators.
        taps = ops.split(self.multiply(inputs), size, axis=-1)
        beyond = max(size - stride, 0)
        y = sum(
            ops.pad(self._spread(tap), [[0, 0], [j, beyond + stride - 1 - j], [0, 0]])
            for j, tap in enumerate(taps)
        )
        if self.padding == "same":
            y = y[:, beyond // 2 : beyond // 2 + length * stride]
        return self.activate(y)

    def _spread(self, x):
        """`x: (batch, length, filters)` with `strides - 1` zeros between positions."""
        if self.strides == 1:
            return x
        spread = ops.pad(x[:, :, None], [[0, 0], [0, 0], [0, self.strides - 1], [0, 0]])
        spread = ops.reshape(spread, (-1, ops.shape(x)[1] * self.strides, self.filters))
        return spread[:, : -(self.strides - 1)]

    def compute_output_shape(self, input_shape):
        batch, length, _ = input_shape
        if length is not None:
            length *= self.strides
            if self.padding == "valid":
                length += max(self.kernel_size - self.strides, 0)
        return batch, length, self.filters

    def get_config(self):
        config = super().get_config()
        config.update(
            filters=self.filters,
            kernel_size=self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            use_bias=self.use_bias,
        )
        return config


@register_positions(LowRankConv1DTranspose)
def count_positions(layer, input_shape):
    """The kernel is multiplied with at every position of the input."""
    return known_size(input_shape[1:-1])


def unfold(kernel):
    """The matrix `(channels, size * filters)` of a kernel."""
    return kernel.transpose(2, 0, 1).reshape(kernel.shape[2], -1)


class TransposedConvolution(OneKernel):
    """Tells `dlrt.convert` and what goes with it how the two layers correspond."""

    keras_types = (keras.layers.Conv1DTranspose,)
    low_rank_type = LowRankConv1DTranspose
    dense_only = ("data_format", "dilation_rate", "output_padding", "groups")

    def obstacle(self, layer):
        if layer.data_format != "channels_last":
            return "has its channels first"
        if layer.dilation_rate != (1,) or layer.output_padding not in (None, (None,)):
            return "has a dilation or an output padding"
        return super().obstacle(layer)

    def unfold(self, layer, kernel):
        return unfold(kernel)

    def fold(self, layer, matrix):
        return self._fold(layer, matrix)

    def make_pair(self, layer, rank):
        first = keras.layers.Conv1D(rank, 1, use_bias=False, name=f"{layer.name}_k")
        return first, keras.layers.Conv1DTranspose.from_config(last_config(layer))

    def fold_pair(self, layer, k, vt):
        return [k[None], self._fold(layer, vt)]

    def _fold(self, layer, matrix):
        folded = matrix.reshape(len(matrix), -1, layer.filters)
        return folded.transpose(1, 2, 0)


register_family(TransposedConvolution())
