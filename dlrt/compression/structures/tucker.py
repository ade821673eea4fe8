"""Convolutions between fewer channels: the Tucker-2 decomposition of kernels."""

import numpy as np

from dlrt.accounting import known_size, positions
from dlrt.compression.structures._convolutions import count_positions, is_spatial
from dlrt.compression.structures._spectral import singular_values, tail_norms
from dlrt.compression.structures._structure import (
    Choice,
    Layer,
    Structure,
    register_structure,
)
from dlrt.surgery.families.convolutions import POINTWISE, inner_conv, last_conv
from dlrt.surgery.replacements import Replacement, chain_layers

# Ranks of the input channels that are tried, evenly spread where there are more.
_MOST_INPUT_RANKS = 48


@register_structure
class Tucker(Structure):
    """Convolutions between `r` and `r'` channels.

    The kernel is `core ×_c P ×_m Q` with orthonormal `P: (c, r)` and `Q: (m, r')`, by
    the sequentially truncated higher-order SVD (Vannieuwenhoven et al., 2012, SIAM J.
    Sci. Comput. 34), input channels first. A convolution of size 1 to `r` channels, one
    with the core, one of size 1 to `m` filters: Kim et al., 2016, arXiv:1511.06530.
    """

    name = "tucker"

    @classmethod
    def supports(cls, layer: Layer) -> bool:
        return is_spatial(layer)

    def list_choices(self) -> list[Choice]:
        decomposition = _Decomposition(self.layer)
        channels = self.layer.kernel.shape[-2]
        count = min(channels, _MOST_INPUT_RANKS)
        input_ranks = np.unique(np.linspace(1, channels, count).round().astype(int))
        return [
            choice
            for rank in input_ranks
            for choice in self._list_at(int(rank), decomposition)
        ]

    def find_choice(self, ranks: tuple[int, ...], groups: int = 1) -> Choice | None:
        if len(ranks) != 2 or groups != 1:
            return None
        found = self._list_at(ranks[0], _Decomposition(self.layer))
        return next((choice for choice in found if choice.ranks == ranks), None)

    def build_replacement(self, choice: Choice) -> Replacement:
        layer = self.layer
        p, core, q = _Decomposition(layer).factors(*choice.ranks)
        layers = [
            inner_conv(layer, filters=p.shape[1], name=f"{layer.name}_in", **POINTWISE),
            inner_conv(layer, filters=core.shape[-1], name=f"{layer.name}_core"),
            last_conv(layer, **POINTWISE),
        ]
        point = (1,) * len(layer.kernel_size)
        kernels = [p.reshape(*point, *p.shape), core, q.T.reshape(*point, *q.T.shape)]
        return chain_layers(layer, layers, kernels)

    def _list_at(self, rank: int, decomposition: "_Decomposition") -> list[Choice]:
        """The choices at a rank of the input channels."""
        if rank > len(decomposition.input_values):
            return []
        *size, channels, filters = self.layer.kernel.shape
        entries = known_size(size) * rank
        left_out = np.sum(decomposition.input_values[rank:] ** 2)
        squares = decomposition.output_squares(rank)
        errors = np.sqrt(left_out + tail_norms(squares) ** 2)
        before = sum(count_positions(self.layer, shape) for shape in self.shapes)
        after = sum(positions(self.layer, shape) for shape in self.shapes)
        found = []
        for output_rank in range(1, min(filters, entries) + 1):
            first, rest = channels * rank, output_rank * (entries + filters)
            error = float(errors[output_rank - 1])
            found.append(
                Choice(
                    ranks=(rank, output_rank),
                    parameters=first + rest,
                    flops=2 * (first * before + rest * after),
                    error=error / decomposition.norm,
                    # The spectral norm is at most the Frobenius norm.
                    bound=error / decomposition.largest,
                )
            )
        return found


class _Decomposition:
    """The higher-order SVD of a kernel `(..., c, m)`, truncated in `c` first."""

    def __init__(self, layer: Layer) -> None:
        kernel = np.asarray(layer.kernel, "float64")
        *size, channels, filters = kernel.shape
        by_channel = np.moveaxis(kernel, -2, 0).reshape(channels, -1)
        self._basis, s, vt = np.linalg.svd(by_channel, full_matrices=False)
        rows = (s[:, None] * vt).reshape(len(s), *size, filters)
        self._rotated = np.moveaxis(rows, 0, -2)
        self.input_values = s
        # Those of the kernel as a matrix, 1 if they are 0.
        self.largest = float(singular_values(kernel.reshape(-1, filters))[0]) or 1.0
        self.norm = float(np.linalg.norm(s)) or 1.0

    def output_squares(self, rank: int) -> np.ndarray:
        """Squared singular values of the filters at a rank of the input channels."""
        return singular_values(self._by_filter(rank)) ** 2

    def factors(
        self, rank: int, output_rank: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`P: (c, r)`, the core `(..., r, r')` and `Q: (m, r')`."""
        rows = self._by_filter(rank)
        q = np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :output_rank]
        return self._basis[:, :rank], self._rotated[..., :rank, :] @ q, q

    def _by_filter(self, rank: int) -> np.ndarray:
        """The rotated kernel `(... r, m)` at a rank of the input channels."""
        return self._rotated[..., :rank, :].reshape(-1, self._rotated.shape[-1])
