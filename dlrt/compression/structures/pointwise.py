"""One matrix for each kernel: its inputs by its outputs at each position."""

from typing import Any

import keras
import numpy as np

from dlrt.accounting import positions
from dlrt.compression.structures._structure import register_structure
from dlrt.compression.structures.folded import Folded, Pair
from dlrt.surgery.families.base import family_of
from dlrt.surgery.replacements import Replacement


@register_structure
class Pointwise(Folded):
    """A matrix `(n, m)`, as low-rank layers have it.

    A convolution becomes one to `r` filters and one of size 1: Zhang et al., 2016,
    arXiv:1505.06798, without its data.
    """

    name = "pointwise"

    @property
    def family(self) -> Any:
        """The family of the layer, which knows its matrix and its low-rank form."""
        return family_of(self.layer)

    def fold(self, groups: int = 1) -> list[np.ndarray]:
        return self.family.matrices(self.layer)

    def unit_costs(self, groups: int = 1) -> tuple[int, int]:
        n, m = self.fold()[0].shape
        # Rows of an embedding are looked up.
        multiplied = m if isinstance(self.layer, keras.layers.Embedding) else n + m
        return n + m, 2 * multiplied * self.count_products()

    def count_products(self) -> int:
        """How often the kernel is used in a product, for one sample."""
        return sum(positions(self.layer, shape) for shape in self.shapes)

    def build_layers(self, pairs: list[Pair]) -> Replacement:
        return self.family.to_pair(self.layer, *pairs[0])
