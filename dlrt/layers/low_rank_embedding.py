"""An embedding whose table has low rank."""

from typing import Any

import keras
from keras import initializers, ops, regularizers

from dlrt.checks import check_positive_integer
from dlrt.layers._arguments import refuse_constraint
from dlrt.layers.low_rank_layer import LowRankLayer

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class LowRankEmbedding(LowRankLayer):
    """`keras.layers.Embedding` with a table of low rank.

    The table `W: (input_dim, output_dim)` is kept as `U S Vᵀ`, see `LowRankLayer`. Only
    the rows of `U` that are looked up are multiplied.

    Args:
        input_dim: Positive integer, size of the vocabulary.
        output_dim: Positive integer, length of a row.
        embeddings_initializer: Initializer of the table; rows have the same variance as
            in an `Embedding` layer.
        embeddings_regularizer: Regularizer of the table, see `LowRankDense`.
        embeddings_constraint: Must be `None`.
        mask_zero: Whether index 0 is padding to be masked.
        activity_regularizer: Regularizer of the output.
        rank: Positive integer, at most `min(input_dim, output_dim)`; the starting rank
            if the rank is adaptive.
        tolerance: Float in `(0, 1)`; overrides that of the optimizer.
        max_rank: Upper bound of an adaptive rank; overrides that of the optimizer.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        Integers, `(batch, ...)`.

    Output shape:
        `(batch, ..., output_dim)`.

    Raises:
        ValueError: If an argument is out of range; for ranks above
            `min(input_dim, output_dim)` when the layer is built.

    Example:

    >>> layer = dlrt.layers.LowRankEmbedding(8000, 512, rank=50, mask_zero=True)
    >>> tuple(layer(np.ones((2, 5), "int32")).shape)
    (2, 5, 512)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        activity_regularizer: Any = None,
        *,
        rank: int,
        tolerance: float | None = None,
        max_rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_positive_integer("input_dim", input_dim)
        check_positive_integer("output_dim", output_dim)
        refuse_constraint("embeddings_constraint", embeddings_constraint)
        super().__init__(
            rank=rank,
            tolerance=tolerance,
            max_rank=max_rank,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        # Indices must not be cast to a floating point dtype.
        self.autocast = False

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        self.add_factors(
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            self.embeddings_regularizer,
        )
        self.built = True

    @property
    def embeddings(self) -> Tensor:
        """The represented table `U S Vᵀ`, a dense `(input_dim, output_dim)` tensor."""
        return self.matrix()

    def call(self, inputs: Tensor) -> Tensor:
        if keras.backend.standardize_dtype(inputs.dtype) not in ("int32", "int64"):
            inputs = ops.cast(inputs, "int32")
        return self.look_up(inputs)

    def coordinates(self, x: Tensor, basis: Tensor) -> Tensor:
        # Indices stand for rows of the identity.
        return ops.take(basis, x, axis=0)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(
                self.embeddings_initializer
            ),
            "embeddings_regularizer": regularizers.serialize(
                self.embeddings_regularizer
            ),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "mask_zero": self.mask_zero,
        }
