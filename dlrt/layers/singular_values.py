"""A factor for each channel."""

from typing import Any

import keras
from keras import initializers, ops, regularizers

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class SingularValues(keras.layers.Layer):
    """Multiplies the channels by a trainable vector `s`, `y = x diag(s)`.

    Between a layer with a kernel `U` and one with `Vᵀ`, of orthonormal columns and
    rows, these are the singular values of `U diag(s) Vᵀ`, up to signs and order:
    `dlrt.decompose` makes such rows of layers.

    Args:
        axis: The axis of the channels, 1 if they come first.
        initializer: Initializer of `s`.
        regularizer: Regularizer of `s`, `dlrt.regularizers.Hoyer` for one.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        `(batch, ..., r)`, or with the `r` channels at `axis`.

    Output shape:
        Same as the input.

    Raises:
        ValueError: When the layer is built, if the input has no such axis, the axis is
            the batch axis, or its length is unknown.

    Example:

    >>> layer = dlrt.layers.SingularValues(initializer=keras.initializers.Constant(3.0))
    >>> np.asarray(layer(np.ones((1, 2), "float32"))).tolist()
    [[3.0, 3.0]]
    """

    def __init__(
        self,
        axis: int = -1,
        initializer: Any = "ones",
        regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise ValueError(f"`axis` must be an integer. Received: axis={axis!r}")
        self.axis = axis
        self.initializer = initializers.get(initializer)
        self.regularizer = regularizers.get(regularizer)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank = len(input_shape)
        if not -rank <= self.axis < rank or self.axis % rank == 0:
            raise ValueError(
                "`axis` must be one of the input, and not that of the batch. Received: "
                f"axis={self.axis}, input_shape={input_shape}"
            )
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(
                f"The channels of the input must be known. Received: axis={self.axis}, "
                f"input_shape={input_shape}"
            )
        self.s = self.add_weight(
            name="s",
            shape=(channels,),
            initializer=self.initializer,
            regularizer=self.regularizer,
        )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={self.axis: channels})
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        shape = [1] * len(inputs.shape)
        shape[self.axis] = -1
        return inputs * ops.reshape(self.s, shape)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "initializer": initializers.serialize(self.initializer),
            "regularizer": regularizers.serialize(self.regularizer),
        }
