"""The gradient at augmented bases, from the pass that augmented them.

`Û = [U, Ũ]` and `V̂ = [V, Ṽ]` represent the same matrix as `U` and `V`, and so have the
same `G = ∂loss/∂W`. Of `ÛᵀGV̂`, the first pass has three blocks in `UᵀGV`, `GV` and
`GᵀU`; the fourth, `ŨᵀGṼ`, takes two products with what that pass recorded.
"""

from typing import Any

from keras import ops

from dlrt.backend.shapes import as_rows, padded
from dlrt.layers import LowRankLayer
from dlrt.linalg import transpose
from dlrt.training._layer_step import LayerStep

Tensor = Any

# A layer, the input `x` of a product `y = x U S Vᵀ`, and the gradient of its output.
Product = tuple[LowRankLayer, Tensor, Tensor]


def augmented_gradients(
    steps: list[LayerStep],
    variables: list,
    values: list[Tensor],
    gradients: list[Tensor],
    products: list[Product],
) -> list[Tensor]:
    """Gradients for the second phase of an integrator that augments bases.

    Args:
        steps: The second phase of the low-rank layers, before it begins.
        variables: The trainable variables.
        values: Their values after the first phase.
        gradients: Their gradients at the values before the first phase.
        products: The low-rank products recorded in the pass of these gradients.

    Returns:
        The gradients, with those of coefficients taken at the augmented bases.
    """
    index = {id(variable): i for i, variable in enumerate(variables)}
    result = list(gradients)
    for step in steps:
        layer = step.layer
        u, s, v = (index[id(getattr(layer, name))] for name in "usv")
        pairs = [(x, dy) for owner, x, dy in products if owner is layer]
        if not pairs:
            continue
        rank = step.columns_before()
        new_u, new_v = (values[i][:, rank : 2 * rank] for i in (u, v))
        corner = sum(
            transpose(layer.coordinates(x, new_u))
            @ (as_rows(dy) @ ops.cast(new_v, dy.dtype))
            for x, dy in pairs
        )
        upper = [
            gradients[s][:rank, :rank],
            transpose(gradients[v][:, :rank]) @ new_v,
        ]
        lower = [
            transpose(new_u) @ gradients[u][:, :rank],
            ops.cast(corner, upper[0].dtype),
        ]
        whole = ops.concatenate(
            [ops.concatenate(blocks, axis=1) for blocks in (upper, lower)], axis=0
        )
        result[s] = padded(whole, layer.s)
    return result
