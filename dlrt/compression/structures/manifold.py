"""Low-rank layers, to be trained on the manifold of matrices of their rank."""

import numpy as np

from dlrt.compression.structures._spectral import best_factors
from dlrt.compression.structures._structure import Choice, register_structure
from dlrt.compression.structures.pointwise import Pointwise
from dlrt.factors import Factors
from dlrt.surgery.replacements import Replacement


@register_structure
class Manifold(Pointwise):
    """As `Pointwise`, in a low-rank layer, to be trained by `dlrt.optimizers.LowRank`.

    It costs as much as the two layers that `dlrt.merge` makes of it.
    """

    name = "manifold"
    any_size = True

    def build_replacement(self, choice: Choice) -> Replacement:
        (matrix,) = self.fold()
        left, right = best_factors(matrix, *choice.ranks)
        (u, a), (v, b) = np.linalg.qr(left), np.linalg.qr(right.T)
        return self.family.to_low_rank(self.layer, [Factors(u, a @ b.T, v)])
