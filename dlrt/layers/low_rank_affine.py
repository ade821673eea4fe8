"""What low-rank layers with a kernel, a bias and an activation have in common."""

from typing import Any

from keras import activations, constraints, initializers, ops, regularizers

from dlrt.layers._arguments import refuse_constraint
from dlrt.layers.low_rank_layer import LowRankLayer

Tensor = Any


class LowRankAffine(LowRankLayer):
    """Base of layers that compute `activation(x W + b)`.

    The arguments are those of `LowRankDense`, and further ones of `LowRankLayer`.
    """

    def __init__(
        self,
        *,
        activation: Any,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        **kwargs: Any,
    ) -> None:
        refuse_constraint("kernel_constraint", kernel_constraint)
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)

    def add_bias(self, shape: tuple[int, ...]) -> None:
        """Makes the variable `bias`."""
        self.bias = self.add_weight(
            name="bias",
            shape=shape,
            initializer=self.bias_initializer,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def apply_bias(self, x: Tensor) -> Tensor:
        """`x + b`."""
        if self.bias is None:
            return x
        return ops.add(x, ops.cast(self.bias, x.dtype))

    def activate(self, x: Tensor) -> Tensor:
        """`activation(x + b)`."""
        x = self.apply_bias(x)
        return x if self.activation is None else self.activation(x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }
