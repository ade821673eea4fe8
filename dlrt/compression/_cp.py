"""Convolutions of one axis each: the CP decomposition of kernels."""

from collections.abc import Sequence

import keras
import numpy as np

from dlrt.compression._canonical import Canonical, OrthogonalTerms, canonical
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

# Of the decompositions that errors are estimated from: sweeps, and flops of each.
_TRIAL_SWEEPS = 10
_TRIAL_FLOPS = 10**10


class CP(Spatial):
    """Convolutions along one axis each, of `R` channels; other layers as `Pointwise`.

    The kernel `(k, k', c, m)` is `Σ_r a_r ⊗ b_r ⊗ p_r ⊗ q_r`: a convolution of size 1
    to `R` channels, depthwise ones `k × 1` and `1 × k'`, and one of size 1 to `m`
    filters: Lebedev et al., 2015, arXiv:1412.6553; Astrid & Lee, 2017,
    arXiv:1701.07148. An axis of length 1 has no convolution, unless it has strides.

    A decomposition for every rank would take too long. The errors to choose from are
    those of the orthogonal terms that decompositions start from, known for all ranks,
    by a factor that is interpolated between decompositions of a few sweeps at ranks
    each half of the next; `exact` has the error of one rank.
    """

    name = "cp"

    def __init__(self) -> None:
        self._decompositions: dict[int, _Decompositions] = {}

    def choices(self, layer: Layer, shapes: Sequence[Shape]) -> list[Choice]:
        decompositions = self._of(layer)
        return [
            self._choice(layer, shapes, rank, float(error))
            for rank, error in enumerate(decompositions.estimated_errors(), start=1)
        ]

    def of_ranks(
        self,
        layer: Layer,
        shapes: Sequence[Shape],
        ranks: tuple[int, ...],
        groups: int = 1,
    ) -> Choice | None:
        decompositions = self._of(layer)
        if len(ranks) != 1 or ranks[0] > decompositions.most or groups != 1:
            return None
        found = decompositions.of_rank(ranks[0])
        choice = self._choice(layer, shapes, ranks[0], found.error)
        return choice._replace(degeneracy=found.degeneracy)

    def exact(self, layer: Layer, shapes: Sequence[Shape], choice: Choice) -> Choice:
        return self.of_ranks(layer, shapes, choice.ranks) or choice

    def replacement(self, layer: Layer, choice: Choice) -> Replacement:
        (rank,) = choice.ranks
        *spatial, first, last = self._of(layer).of_rank(rank).factors
        kept = _axes(layer)
        for axis, factor in enumerate(spatial):
            if axis not in kept:
                first = first * factor
        layers = [
            inner_conv(layer, filters=rank, name=f"{layer.name}_in", **POINTWISE),
            *_causal_padding(layer),
            *(_depthwise(layer, axis) for axis in kept),
            last_conv(layer, **POINTWISE),
        ]
        point = (1,) * len(spatial)
        kernels = [
            first.reshape(*point, *first.shape),
            *(_depthwise_kernel(layer, axis, spatial[axis]) for axis in kept),
            last.T.reshape(*point, *last.T.shape),
        ]
        return chain_layers(layer, layers, kernels)

    def _of(self, layer: Layer) -> "_Decompositions":
        # It keeps the layer, so that no other one can get its id.
        if id(layer) not in self._decompositions:
            self._decompositions[id(layer)] = _Decompositions(layer)
        return self._decompositions[id(layer)]

    def _choice(
        self, layer: Layer, shapes: Sequence[Shape], rank: int, error: float
    ) -> Choice:
        decompositions = self._of(layer)
        return Choice(
            1,
            (rank,),
            rank * _unit_parameters(layer),
            rank * sum(_unit_flops(layer, shape) for shape in shapes),
            error,
            # The spectral norm is at most the Frobenius norm.
            error * decompositions.norm / decompositions.largest,
        )


class _Decompositions:
    """The decompositions of a kernel that have been asked for.

    Attributes:
        most: The largest rank there is.
        norm: That of the kernel, 1 if it is 0.
        largest: Largest singular value of the kernel as a matrix, likewise.
    """

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._kernel = np.asarray(layer.kernel, "float64")
        self._terms = OrthogonalTerms(self._kernel)
        self._found: dict[int, Canonical] = {}
        self.most = len(self._terms.values)
        self.norm = float(np.linalg.norm(self._kernel)) or 1.0
        matrix = self._kernel.reshape(-1, self._kernel.shape[-1])
        self.largest = float(np.linalg.norm(matrix, 2)) or 1.0

    def of_rank(self, rank: int) -> Canonical:
        if rank not in self._found:
            self._found[rank] = canonical(self._kernel, self._terms, rank)
        return self._found[rank]

    def estimated_errors(self) -> np.ndarray:
        """Of every rank at which the layers don't cost more than the kernel."""
        size = self._kernel.size
        most = min(self.most, size // _unit_parameters(self._layer))
        if not most:
            return np.zeros(0)
        starts = np.append(tails(self._terms.values**2)[1:], 0.0) / self.norm
        halves = [most >> i for i in range(most.bit_length())]
        ranks = [r for r in halves if 8 * size * r + 4 * r**3 <= _TRIAL_FLOPS][::-1]
        found = [canonical(self._kernel, self._terms, r, _TRIAL_SWEEPS) for r in ranks]
        factors = [
            trial.error / start if start else 1.0
            for trial, start in zip(found, starts[np.array(ranks) - 1], strict=True)
        ]
        every = np.arange(1, most + 1)
        return starts[:most] * np.interp(np.log(every), np.log(ranks), factors)


def _axes(layer: Layer) -> list[int]:
    """The axes with a convolution of their own."""
    lengths = zip(layer.kernel_size, layer.strides, strict=True)
    return [axis for axis, both in enumerate(lengths) if both != (1, 1)]


def _unit_parameters(layer: Layer) -> int:
    channels, filters = layer.kernel.shape[-2:]
    return channels + filters + sum(layer.kernel_size[axis] for axis in _axes(layer))


def _unit_flops(layer: Layer, input_shape: Shape) -> int:
    """Flops of rank 1; those of rank R are R times."""
    channels, filters = layer.kernel.shape[-2:]
    first = 2 if layer.data_format == "channels_first" else 1
    output = layer.compute_output_shape(input_shape)
    shape = list(input_shape)
    products = channels * input_positions(layer, input_shape)
    for axis in _axes(layer):
        shape[first + axis] = output[first + axis]
        products += layer.kernel_size[axis] * input_positions(layer, tuple(shape))
    return 2 * (products + filters * input_positions(layer, output))


def _depthwise(layer: Layer, axis: int) -> Layer:
    one = len(layer.kernel_size) == 1
    kind = keras.layers.DepthwiseConv1D if one else keras.layers.DepthwiseConv2D
    along = {
        name: tuple(
            value if number == axis else 1
            for number, value in enumerate(getattr(layer, name))
        )
        for name in ("kernel_size", "strides", "dilation_rate")
    }
    return kind(
        **along,
        # The input of a causal convolution has been padded.
        padding="valid" if layer.padding == "causal" else layer.padding,
        data_format=layer.data_format,
        use_bias=False,
        name=f"{layer.name}_axis_{axis}",
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
    )


def _depthwise_kernel(layer: Layer, axis: int, factor: np.ndarray) -> np.ndarray:
    shape = [1] * len(layer.kernel_size)
    shape[axis] = len(factor)
    return factor.reshape(*shape, -1, 1)


def _causal_padding(layer: Layer) -> list[Layer]:
    if layer.padding != "causal":
        return []
    before = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
    return [
        keras.layers.ZeroPadding1D(
            (before, 0),
            data_format=layer.data_format,
            name=f"{layer.name}_padding",
            dtype=layer.dtype_policy,
        )
    ]
