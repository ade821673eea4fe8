"""A structure for `dlrt.compress`: kernels of some of their own columns."""

import keras
import numpy as np
import scipy.linalg

from dlrt.compression import Choice, Structure, register_structure
from dlrt.surgery import chain_layers, first_config, last_config


@register_structure
class Interpolative(Structure):
    """The columns of a dense kernel as combinations of `r` of them.

    `W ≈ W[:, J] T`: the first of two layers computes `r` of the outputs as they are,
    the second all others from them. The columns are those that a QR decomposition with
    pivoting finds first.

    References:
        - Cheng et al., On the compression of low rank matrices, SIAM J. Sci. Comput. 26
          (2005), Theorem 3.
    """

    name = "interpolative"

    def __init__(self, layer, shapes=()):
        super().__init__(layer, shapes)
        self.kernel = np.asarray(layer.kernel, "float64")
        _, self.triangle, self.order = scipy.linalg.qr(
            self.kernel, mode="economic", pivoting=True
        )

    @classmethod
    def supports(cls, layer):
        return type(layer) is keras.layers.Dense

    def list_choices(self):
        n, m = self.kernel.shape
        rows = sum(int(np.prod([s or 1 for s in shape[1:-1]])) for shape in self.shapes)
        norm = np.linalg.norm(self.kernel) or 1.0
        spectral = np.linalg.norm(self.kernel, 2) or 1.0
        left_out = [self.triangle[r:, r:] for r in range(1, len(self.triangle) + 1)]
        return [
            Choice(
                ranks=(r,),
                parameters=r * (n + m),
                flops=2 * r * (n + m) * rows,
                error=float(np.linalg.norm(rest) / norm),
                bound=float(np.linalg.norm(rest, 2) / spectral) if rest.size else 0.0,
            )
            for r, rest in enumerate(left_out, start=1)
        ]

    def build_replacement(self, choice):
        (r,) = choice.ranks
        columns = self.kernel[:, self.order[:r]]
        combinations = np.linalg.lstsq(columns, self.kernel, rcond=None)[0]
        first = keras.layers.Dense(r, use_bias=False, **first_config(self.layer))
        last = keras.layers.Dense.from_config(last_config(self.layer))
        return chain_layers(self.layer, [first, last], [columns, combinations])
