"""A densely connected layer whose kernel has low rank."""

from typing import Any

import keras

from dlrt.checks import check_positive_integer
from dlrt.layers.low_rank_affine import LowRankAffine

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class LowRankDense(LowRankAffine):
    """`keras.layers.Dense` with a kernel of low rank, `activation(x U S Vᵀ + b)`.

    The kernel `W: (n, units)` is kept as `U: (n, r)`, `S: (r, r)` and `V: (units, r)`
    with orthonormal `U` and `V`, see `LowRankLayer`. Compile the model with
    `dlrt.optimizers.LowRank`.

    A layer costs less than a dense one below rank `n * units / (n + units)`.

    Args:
        units: Positive integer, dimensionality of the output space.
        activation: Activation function. Defaults to none (linear).
        use_bias: Whether the layer has a bias.
        kernel_initializer: Initializer of the kernel. For one that draws independent
            entries (Glorot, He, LeCun, random normal or uniform) the bases are random
            orthonormal and `S = σ I`, with `σ` such that the outputs have the same
            variance as in a `Dense` layer. For any other, the dense kernel is drawn
            once and approximated by truncated SVD.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the represented kernel `W = U S Vᵀ`. `L2`
            is `l2 ‖W‖_F² = l2 ‖S‖_F²`, the same number as for a dense kernel. `L1`
            acts on the singular values of `W`, `l1 Σ σ_j` (the nuclear norm), since
            an entrywise norm would need the dense product and says nothing about
            rank. `L1L2` is the sum of both. Any other regularizer is applied to the
            dense kernel, at the cost of forming it.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Must be `None`: a projection of the entries of the kernel
            would not keep its rank.
        bias_constraint: Constraint of the bias.
        rank: Positive integer, at most `min(n, units)`; the starting rank if the rank
            is adaptive.
        tolerance: Float in `(0, 1)`; overrides that of the optimizer.
        max_rank: Upper bound of an adaptive rank; overrides that of the optimizer.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        `(batch, ..., n)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If an argument is out of range; for ranks above `min(n, units)` when
            the layer is built.

    Example:

    >>> layer = dlrt.layers.LowRankDense(500, rank=40, activation="relu")
    >>> tuple(layer(np.ones((2, 784), "float32")).shape)
    (2, 500)

    References:
        - Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
          arXiv:2205.13571.
    """

    def __init__(
        self,
        units: int,
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
        check_positive_integer("units", units)
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
        self.units = units
        self.use_bias = use_bias
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                "The last dimension of the input must be known. Received: "
                f"input_shape={input_shape}"
            )
        self.add_factors(
            (features, self.units), self.kernel_initializer, self.kernel_regularizer
        )
        if self.use_bias:
            self.add_bias((self.units,))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})
        self.built = True

    @property
    def kernel(self) -> Tensor:
        """The represented kernel `U S Vᵀ`, a dense `(n, units)` tensor."""
        return self.matrix()

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        return self.activate(self.multiply(inputs))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "use_bias": self.use_bias}
