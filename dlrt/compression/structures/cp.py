"""Convolutions of one axis each: the CP decomposition of kernels."""

import functools

import keras
import numpy as np

from dlrt.compression.structures._canonical import (
    Canonical,
    OrthogonalTerms,
    decompose_canonically,
)
from dlrt.compression.structures._convolutions import (
    count_positions,
    is_spatial,
    keep_axis,
)
from dlrt.compression.structures._spectral import tail_norms
from dlrt.compression.structures._structure import (
    Choice,
    Layer,
    Shape,
    Structure,
    register_structure,
)
from dlrt.surgery.families.convolutions import POINTWISE, inner_conv, last_conv
from dlrt.surgery.replacements import Replacement, chain_layers

# Sweeps and flops of each decomposition from which errors are estimated.
_TRIAL_SWEEPS = 10
_TRIAL_FLOPS = 10**10


@register_structure
class CP(Structure):
    """Convolutions along one axis each, of `R` channels.

    The kernel `(k, k', c, m)` is `Σ_r a_r ⊗ b_r ⊗ p_r ⊗ q_r`: a convolution of size 1
    to `R` channels, depthwise ones `k × 1` and `1 × k'`, and one of size 1 to `m`
    filters: Lebedev et al., 2015, arXiv:1412.6553; Astrid & Lee, 2017,
    arXiv:1701.07148. An axis of length 1 has no convolution, unless it has strides.

    A decomposition for every rank would take too long. The errors to choose from are
    estimates: those of the orthogonal terms that decompositions start from, which are
    known for all ranks, times a factor that is interpolated between decompositions of a
    few sweeps at ranks that double each time. `measure` gives the exact error.
    """

    name = "cp"

    @classmethod
    def supports(cls, layer: Layer) -> bool:
        return is_spatial(layer)

    def list_choices(self) -> list[Choice]:
        errors = enumerate(self._estimate_errors(), start=1)
        return [self._make_choice(rank, float(error)) for rank, error in errors]

    def find_choice(self, ranks: tuple[int, ...], groups: int = 1) -> Choice | None:
        if len(ranks) != 1 or ranks[0] > len(self._terms.values) or groups != 1:
            return None
        found = self._decompose(ranks[0])
        choice = self._make_choice(ranks[0], found.error)
        return choice._replace(degeneracy=found.degeneracy)

    def measure(self, choice: Choice) -> Choice:
        return self.find_choice(choice.ranks) or choice

    def build_replacement(self, choice: Choice) -> Replacement:
        layer, (rank,) = self.layer, choice.ranks
        *spatial, first, last = self._decompose(rank).factors
        point = (1,) * len(spatial)
        layers = [
            inner_conv(layer, filters=rank, name=f"{layer.name}_in", **POINTWISE),
            *_pad_causally(layer),
        ]
        kernels = []
        for axis, factor in enumerate(spatial):
            if axis in self._axes:
                layers += _convolve_along(layer, axis)
                shape = (*point[:axis], len(factor), *point[axis + 1 :], rank, 1)
                kernels.append(factor.reshape(shape))
            else:
                first = first * factor
        layers.append(last_conv(layer, **POINTWISE))
        first, last = (x.reshape(*point, *x.shape) for x in (first, last.T))
        return chain_layers(layer, layers, [first, *kernels, last])

    # The following is computed once for each layer.

    @functools.cached_property
    def _axes(self) -> list[int]:
        """The axes that have their own convolution."""
        lengths = zip(self.layer.kernel_size, self.layer.strides, strict=True)
        return [axis for axis, both in enumerate(lengths) if both != (1, 1)]

    @functools.cached_property
    def _kernel(self) -> np.ndarray:
        return np.asarray(self.layer.kernel, "float64")

    @functools.cached_property
    def _terms(self) -> OrthogonalTerms:
        return OrthogonalTerms(self._kernel)

    @functools.cached_property
    def _norms(self) -> tuple[float, float]:
        """Norm and largest singular value of the kernel as a matrix, 1 for 0."""
        matrix = self._kernel.reshape(-1, self._kernel.shape[-1])
        largest = float(np.linalg.norm(matrix, 2)) or 1.0
        return float(np.linalg.norm(self._kernel)) or 1.0, largest

    @functools.cached_property
    def _decomposed(self) -> dict[int, Canonical]:
        """Decompositions by rank, as far as computed."""
        return {}

    def _decompose(self, rank: int) -> Canonical:
        found = self._decomposed
        if rank not in found:
            found[rank] = decompose_canonically(self._kernel, self._terms, rank)
        return found[rank]

    def _estimate_errors(self) -> np.ndarray:
        """Choices for every rank at which the layers cost at most the kernel."""
        size, terms = self._kernel.size, self._terms
        most = min(len(terms.values), size // self._unit_parameters())
        if not most:
            return np.zeros(0)
        starts = tail_norms(terms.values**2) / self._norms[0]
        halves = [most >> i for i in range(most.bit_length())]
        ranks = [r for r in halves if 8 * size * r + 4 * r**3 <= _TRIAL_FLOPS][::-1]
        factors = []
        for rank in ranks:
            start = starts[rank - 1]
            trial = decompose_canonically(self._kernel, terms, rank, _TRIAL_SWEEPS)
            factors.append(trial.error / start if start else 1.0)
        every = np.arange(1, most + 1)
        return starts[:most] * np.interp(np.log(every), np.log(ranks), factors)

    def _make_choice(self, rank: int, error: float) -> Choice:
        norm, largest = self._norms
        parameters = rank * self._unit_parameters()
        flops = rank * sum(self._unit_flops(shape) for shape in self.shapes)
        # The spectral norm is at most the Frobenius norm.
        return Choice((rank,), parameters, flops, error, error * norm / largest)

    def _unit_parameters(self) -> int:
        """Parameters of rank 1; those of rank `R` are `R` times."""
        *size, channels, filters = self.layer.kernel.shape
        return channels + filters + sum(size[axis] for axis in self._axes)

    def _unit_flops(self, input_shape: Shape) -> int:
        """Flops of rank 1 for an input; those of rank `R` are `R` times."""
        *size, channels, filters = self.layer.kernel.shape
        first = 2 if self.layer.data_format == "channels_first" else 1
        output = self.layer.compute_output_shape(input_shape)
        shape = list(input_shape)
        products = channels * count_positions(self.layer, input_shape)
        for axis in self._axes:
            shape[first + axis] = output[first + axis]
            products += size[axis] * count_positions(self.layer, tuple(shape))
        return 2 * (products + filters * count_positions(self.layer, output))


def _convolve_along(layer: Layer, axis: int) -> list[Layer]:
    """A convolution along one axis within every channel."""
    stride, plane = layer.strides[axis], len(layer.kernel_size) == 2
    kind = keras.layers.DepthwiseConv2D if plane else keras.layers.DepthwiseConv1D
    convolution = kind(
        strides=stride,
        # The input of a causal convolution has been padded.
        padding="valid" if layer.padding == "causal" else layer.padding,
        data_format=layer.data_format,
        use_bias=False,
        name=f"{layer.name}_axis_{axis}",
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
        **keep_axis(layer, axis),
    )
    if stride == 1 or not plane:
        return [convolution]
    # Without oneDNN, TensorFlow's depthwise convolutions have one stride for both axes.
    # So the other axis is repeated first, and the stride skips the copies. Grouped
    # convolutions take more than ten times as long on a CPU.
    repeated = keras.layers.UpSampling2D(
        (1, stride) if axis == 0 else (stride, 1),
        data_format=layer.data_format,
        name=f"{layer.name}_repeated_{axis}",
        dtype=layer.dtype_policy,
    )
    return [repeated, *_state_shape(layer, axis), convolution]


def _state_shape(layer: Layer, axis: int) -> list[Layer]:
    """Layers that tell TensorFlow the shape of an input repeated along an axis.

    TensorFlow can't infer it where both axes have strides, and LiteRT does not support
    depthwise convolutions of unknown channels.
    """
    channels_first = layer.data_format == "channels_first"
    plane = slice(2, 4) if channels_first else slice(1, 3)
    input_shape = layer.get_build_config()["input_shape"]
    size = list(input_shape[plane])
    if min(layer.strides) == 1 or None in size:
        return []
    if axis == 1:
        # The second axis comes after the first.
        size[0] = layer.compute_output_shape(input_shape)[plane][0]
    size[1 - axis] *= layer.strides[axis]
    shape = (-1, *size) if channels_first else (*size, -1)
    name = f"{layer.name}_shape_{axis}"
    return [keras.layers.Reshape(shape, name=name, dtype=layer.dtype_policy)]


def _pad_causally(layer: Layer) -> list[Layer]:
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
