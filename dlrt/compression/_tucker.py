"""Convolutions between fewer channels: the Tucker-2 decomposition of kernels."""

from collections.abc import Sequence

import numpy as np

from dlrt.accounting import known_size, positions
from dlrt.compression._spectral import singular_values
from dlrt.compression._structures import (
    Choice,
    Layer,
    Shape,
    Spatial,
    input_positions,
    tails,
)
from dlrt.surgery.families.convolutions import POINTWISE, inner_conv, last_conv
from dlrt.surgery.replacements import Replacement, chain_layers

# Ranks of the input channels that are tried, evenly spread where there are more.
_MOST_INPUT_RANKS = 48


class Tucker(Spatial):
    """Convolutions between `r` and `r'` channels; other layers as `Pointwise`.

    The kernel is `core ×_c P ×_m Q` with orthonormal `P: (c, r)` and `Q: (m, r')`, by
    the sequentially truncated higher-order SVD (Vannieuwenhoven et al., 2012, SIAM J.
    Sci. Comput. 34), input channels first. A convolution of size 1 to `r` channels, one
    with the core, one of size 1 to `m` filters: Kim et al., 2016, arXiv:1511.06530.
    """

    name = "tucker"

    def choices(self, layer: Layer, shapes: Sequence[Shape]) -> list[Choice]:
        decomposition = _Decomposition(np.asarray(layer.kernel, "float64"))
        channels = layer.kernel.shape[-2]
        count = min(channels, _MOST_INPUT_RANKS)
        input_ranks = np.unique(np.linspace(1, channels, count).round().astype(int))
        return [
            choice
            for rank in input_ranks
            for choice in _of_input_rank(layer, shapes, decomposition, int(rank))
        ]

    def of_ranks(
        self,
        layer: Layer,
        shapes: Sequence[Shape],
        ranks: tuple[int, ...],
        groups: int = 1,
    ) -> Choice | None:
        if len(ranks) != 2 or ranks[0] > layer.kernel.shape[-2] or groups != 1:
            return None
        decomposition = _Decomposition(np.asarray(layer.kernel, "float64"))
        found = _of_input_rank(layer, shapes, decomposition, ranks[0])
        return next((choice for choice in found if choice.ranks == ranks), None)

    def replacement(self, layer: Layer, choice: Choice) -> Replacement:
        decomposition = _Decomposition(np.asarray(layer.kernel, "float64"))
        p, core, q = decomposition.factors(*choice.ranks)
        layers = [
            inner_conv(layer, filters=p.shape[1], name=f"{layer.name}_in", **POINTWISE),
            inner_conv(layer, filters=core.shape[-1], name=f"{layer.name}_core"),
            last_conv(layer, **POINTWISE),
        ]
        point = (1,) * len(layer.kernel_size)
        kernels = [p.reshape(*point, *p.shape), core, q.T.reshape(*point, *q.T.shape)]
        return chain_layers(layer, layers, kernels)


class _Decomposition:
    """The higher-order SVD of a kernel `(..., c, m)`, truncated in `c` first.

    Args:
        kernel: Float64.
    """

    def __init__(self, kernel: np.ndarray) -> None:
        *_, channels, filters = kernel.shape
        by_channel = np.moveaxis(kernel, -2, 0).reshape(channels, -1)
        u, s, vt = np.linalg.svd(by_channel, full_matrices=False)
        self._basis, self.input_values = u, s
        rows = (s[:, None] * vt).reshape(len(s), *kernel.shape[:-2], filters)
        self._rotated = np.moveaxis(rows, 0, -2)
        self.largest = float(singular_values(kernel.reshape(-1, filters))[0]) or 1.0
        self.norm = float(np.linalg.norm(s)) or 1.0

    @property
    def input_rank(self) -> int:
        """The largest rank of the input channels."""
        return len(self.input_values)

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


def _of_input_rank(
    layer: Layer, shapes: Sequence[Shape], decomposition: _Decomposition, rank: int
) -> list[Choice]:
    if rank > decomposition.input_rank:
        return []
    *size, channels, filters = layer.kernel.shape
    entries = known_size(size) * rank
    squares = decomposition.output_squares(rank)
    left_out = np.sum(decomposition.input_values[rank:] ** 2)
    errors = np.sqrt(left_out + np.append(tails(squares)[1:] ** 2, 0.0))
    before = sum(input_positions(layer, shape) for shape in shapes)
    after = sum(positions(layer, shape) for shape in shapes)
    found = []
    for output_rank in range(1, min(filters, entries) + 1):
        first, rest = channels * rank, output_rank * (entries + filters)
        error = float(errors[output_rank - 1])
        found.append(
            Choice(
                1,
                (rank, output_rank),
                first + rest,
                2 * (first * before + rest * after),
                error / decomposition.norm,
                # The spectral norm is at most the Frobenius norm.
                error / decomposition.largest,
            )
        )
    return found
