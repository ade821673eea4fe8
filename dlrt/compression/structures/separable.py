"""Convolutions along one axis after the other."""

import keras
import numpy as np

from dlrt.accounting import known_size, positions
from dlrt.compression.structures._convolutions import is_spatial, keep_axis
from dlrt.compression.structures._structure import Layer, Shape, register_structure
from dlrt.compression.structures.folded import Folded, Pair
from dlrt.surgery.families.convolutions import inner_conv, last_conv
from dlrt.surgery.replacements import Replacement, chain_layers


@register_structure
class Separable(Folded):
    """Convolutions over a plane become one `1 × k'` to `r` filters, then one `k × 1`.

    The kernel `(k, k', c, m)` is the matrix `(k' c, k m)`: Jaderberg et al., 2014,
    arXiv:1405.3866, scheme 2.
    """

    name = "separable"

    @classmethod
    def supports(cls, layer: Layer) -> bool:
        return isinstance(layer, keras.layers.Conv2D) and is_spatial(layer)

    def fold(self, groups: int = 1) -> list[np.ndarray]:
        high, wide, channels, filters = self.layer.kernel.shape
        kernel = np.transpose(np.asarray(self.layer.kernel), (1, 2, 0, 3))
        return [kernel.reshape(wide * channels, high * filters)]

    def unit_costs(self, groups: int = 1) -> tuple[int, int]:
        high, wide, channels, filters = self.layer.kernel.shape
        first, second = wide * channels, high * filters
        products = sum(
            first * self._positions_between(shape)
            + second * positions(self.layer, shape)
            for shape in self.shapes
        )
        return first + second, 2 * products

    def _positions_between(self, input_shape: Shape) -> int:
        """The number of positions of the output of the first convolution."""
        high, wide = self.layer.kernel_size
        rows = 2 if self.layer.data_format == "channels_first" else 1
        output = self.layer.compute_output_shape(input_shape)
        height = output[rows] if high == 1 else input_shape[rows]
        width = input_shape[rows + 1] if wide == 1 else output[rows + 1]
        return known_size([height, width])

    def build_layers(self, pairs: list[Pair]) -> Replacement:
        layer, ((k, vt),) = self.layer, pairs
        rank = len(vt)
        high, wide, channels, filters = layer.kernel.shape
        # Strides along an axis of length 1 are left to the longer convolution, so that
        # none of size 1 has any: see `grouped._subsample`.
        down, right = layer.strides
        columns = (down if high == 1 else 1, right if wide > 1 else 1)
        rows = (down if high > 1 else 1, right if wide == 1 else 1)
        layers = [
            inner_conv(layer, filters=rank, strides=columns, **keep_axis(layer, 1)),
            last_conv(layer, strides=rows, **keep_axis(layer, 0)),
        ]
        kernels = [
            k.reshape(1, wide, channels, rank),
            np.transpose(vt.reshape(rank, high, 1, filters), (1, 2, 0, 3)),
        ]
        return chain_layers(layer, layers, kernels)
