"""`EinsumDense` layers whose equation is a product with one matrix."""

import string

import keras
import numpy as np

from dlrt.layers import LowRankEinsumDense
from dlrt.layers.low_rank_einsum_dense import axes_of, is_matrix_product, unfold_kernel
from dlrt.surgery.families.base import OneKernel, register_family
from dlrt.surgery.replacements import Layer, first_config, last_config


class EinsumDense(OneKernel):
    """`EinsumDense` and `LowRankEinsumDense`."""

    keras_types = (keras.layers.EinsumDense,)
    low_rank_type = LowRankEinsumDense

    def by_default(self, layer: Layer) -> bool:
        return is_matrix_product(layer.equation)

    def obstacle(self, layer: Layer) -> str | None:
        if not is_matrix_product(layer.equation):
            return (
                f"has the equation {layer.equation!r}, which is not a product with one "
                "matrix"
            )
        return super().obstacle(layer)

    def unfold(self, layer: Layer, kernel: np.ndarray) -> np.ndarray:
        return unfold_kernel(layer.equation, kernel)

    def fold(self, layer: Layer, matrix: np.ndarray) -> np.ndarray:
        return np.asarray(layer.fold(matrix))

    def make_pair(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        x, kernel, y = axes_of(layer.equation)
        between = next(a for a in string.ascii_letters if a not in layer.equation)
        rows = "".join(axis for axis in kernel if axis not in y)
        columns = "".join(axis for axis in kernel if axis in y)
        hidden = "".join(axis for axis in x if axis not in rows) + between
        left = "..." if layer.equation.startswith("...") else ""
        right = "..." if layer.equation.endswith("...") else ""
        # Without an ellipsis in front, the first axis is the batch.
        skipped = 0 if left else 1
        lengths = dict(zip(y[skipped:], layer.partial_output_shape, strict=True))
        kept = [lengths.get(axis) for axis in hidden[skipped:-1]]
        first = keras.layers.EinsumDense(
            f"{left}{x}{right},{rows}{between}->{left}{hidden}{right}",
            output_shape=(*kept, rank),
            **first_config(layer),
        )
        equation = f"{left}{hidden}{right},{between}{columns}->{left}{y}{right}"
        config = last_config(layer, equation=equation)
        return first, keras.layers.EinsumDense.from_config(config)

    def fold_pair(
        self, layer: Layer, k: np.ndarray, vt: np.ndarray
    ) -> list[np.ndarray]:
        _, axes, y = axes_of(layer.equation)
        lengths = dict(zip(axes, layer.kernel.shape, strict=True))
        rows = [lengths[axis] for axis in axes if axis not in y]
        columns = [lengths[axis] for axis in axes if axis in y]
        return [k.reshape(*rows, -1), vt.reshape(-1, *columns)]


register_family(EinsumDense())
