"""`MultiHeadAttention` layers, with a kernel for each projection."""

import math

import keras
import numpy as np

from dlrt.factors import Factors
from dlrt.layers import CachedMultiHeadAttention, LowRankMultiHeadAttention
from dlrt.layers.low_rank_einsum_dense import unfold_kernel
from dlrt.surgery.copies import copy_layer
from dlrt.surgery.families.base import Family, register_family
from dlrt.surgery.replacements import (
    KERAS_ONLY,
    LOW_RANK_ONLY,
    Layer,
    Replacement,
    bias_of,
    config_of,
)


class Attention(Family):
    """`MultiHeadAttention` and `LowRankMultiHeadAttention`."""

    keras_types = (keras.layers.MultiHeadAttention, CachedMultiHeadAttention)
    low_rank_type = LowRankMultiHeadAttention

    def parts(self, layer: Layer) -> list[Layer]:
        # In the order of the weights.
        return list(self._named_parts(layer).values())

    def matrices(self, layer: Layer) -> list[np.ndarray]:
        return [
            unfold_kernel(part.equation, np.asarray(part.kernel))
            for part in self.parts(layer)
        ]

    def to_low_rank(self, layer: Layer, factors: list[Factors]) -> Replacement:
        names = self._named_parts(layer)
        ranks = {
            name: kept.s.shape[0] for name, kept in zip(names, factors, strict=True)
        }
        config = config_of(layer, KERAS_ONLY, rank=ranks)
        weights = [list(map(np.asarray, kept)) for kept in factors]
        return self._make(LowRankMultiHeadAttention, layer, config, weights)

    def to_dense(self, layer: Layer) -> Replacement:
        config = config_of(layer, LOW_RANK_ONLY)
        parts = self.parts(layer)
        kernels = [[np.asarray(part.fold(part.factors.to_dense()))] for part in parts]
        return self._make(CachedMultiHeadAttention, layer, config, kernels)

    def to_merged(self, layer: Layer) -> Replacement:
        copy = copy_layer(layer)
        # As `_make` does.
        copy.layer._flash_attention = layer._flash_attention
        return copy

    def merging_pays(self, layer: Layer) -> bool:
        # It keeps its `S`.
        parts = self.parts(layer)
        kept = sum(part.rank * (part.rank + sum(part.matrix_shape)) for part in parts)
        return kept < sum(math.prod(part.matrix_shape) for part in parts)

    def _named_parts(self, layer: Layer) -> dict[str, Layer]:
        return {
            "query": layer.query_dense,
            "key": layer.key_dense,
            **({"gate": layer._gate_dense} if layer._use_gate else {}),
            "value": layer.value_dense,
            "output": layer.output_dense,
        }

    def _make(
        self, kind: type[Layer], layer: Layer, config: dict, kernels: list[list]
    ) -> Replacement:
        """Another kind of layer with the same biases and other weights for kernels."""
        # Keras leaves this out of the configuration: it depends on the machine.
        new = kind.from_config({**config, "flash_attention": layer._flash_attention})
        parts = zip(self.parts(layer), kernels, strict=True)
        return Replacement(
            new, [w for part, ws in parts for w in (*ws, *bias_of(part))]
        )


register_family(Attention())
