"""Ways to run a layer with fewer parameters: what they cost, and layers of Keras."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import keras
import numpy as np

from dlrt.accounting import known_size, positions
from dlrt.compression._spectral import balanced_factors, best_factors, singular_values
from dlrt.factors import Factors
from dlrt.surgery.families import OneKernel, family_of
from dlrt.surgery.families.convolutions import POINTWISE, inner_conv, last_conv
from dlrt.surgery.replacements import (
    Replacement,
    bias_of,
    chain_layers,
    first_config,
    last_config,
)

Layer: TypeAlias = keras.layers.Layer
Shape = tuple[int | None, ...]
# Two factors `(n, r)` and `(r, m)`.
Pair = tuple[np.ndarray, np.ndarray]

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)
_MAX_GROUPS = 8


class Choice(NamedTuple):
    """A way to run a layer.

    Attributes:
        groups: Number of groups of input channels with a decomposition for each.
        ranks: Ranks of the decomposition.
        parameters: Parameters of the kernels.
        flops: Flops of the products with them.
        error: Relative error of the kernel in the Frobenius norm.
        bound: Bound of its relative error in the spectral norm, as a matrix.
        degeneracy: Squared norms of the components of a CP decomposition by that of
            the kernel; `None` for others, and before it is known.
    """

    groups: int
    ranks: tuple[int, ...]
    parameters: int
    flops: int
    error: float
    bound: float
    degeneracy: float | None = None


class Structure(abc.ABC):
    """What a kernel is decomposed into, and which layers run that.

    Attributes:
        name: What `dlrt.compress` calls it.
    """

    name: ClassVar[str]

    def for_layer(self, layer: Layer) -> "Structure":
        """This one, or that in its place for layers that it has no form for."""
        return self

    @abc.abstractmethod
    def choices(self, layer: Layer, shapes: Sequence[Shape]) -> list[Choice]:
        """What there is to choose from.

        Args:
            layer: A built layer of Keras with one kernel.
            shapes: The shapes of its input, one for each time that it is applied;
                unknown axes count as 1.
        """

    @abc.abstractmethod
    def replacement(self, layer: Layer, choice: Choice) -> Replacement:
        """Layers of Keras that take the layer's place."""

    def of_ranks(
        self,
        layer: Layer,
        shapes: Sequence[Shape],
        ranks: tuple[int, ...],
        groups: int = 1,
    ) -> Choice | None:
        """The choice of these ranks; `None` if there is none."""
        return next(
            (
                choice
                for choice in self.choices(layer, shapes)
                if (choice.groups, choice.ranks) == (groups, ranks)
            ),
            None,
        )

    def exact(self, layer: Layer, shapes: Sequence[Shape], choice: Choice) -> Choice:
        """A choice with its exact error, where that of `choices` is an estimate."""
        return choice


class Folded(Structure):
    """The kernel is folded into a matrix, or several; two layers in a row."""

    def for_layer(self, layer: Layer) -> "Folded":
        return self

    def groups(self, layer: Layer, input_shape: Shape) -> list[int]:
        """The numbers of matrices that a kernel can be folded into."""
        return [1]

    @abc.abstractmethod
    def matrices(self, layer: Layer, groups: int) -> list[np.ndarray]:
        """The matrices, all of one shape, with the entries of the kernel."""

    @abc.abstractmethod
    def unit_costs(
        self, layer: Layer, groups: int, input_shape: Shape
    ) -> tuple[int, int]:
        """Parameters and flops of rank 1 in every matrix; those of rank r are r times.

        Args:
            layer: A built layer of Keras.
            groups: Number of matrices.
            input_shape: Shape of its input; unknown axes count as 1.
        """

    @abc.abstractmethod
    def two_layers(self, layer: Layer, pairs: list[Pair]) -> Replacement:
        """Layers of Keras that run the factors of each matrix."""

    def choices(self, layer: Layer, shapes: Sequence[Shape]) -> list[Choice]:
        spectrum = _spectra(self.matrices(layer, 1))
        norm, largest = np.linalg.norm(spectrum) or 1.0, spectrum.max() or 1.0
        found = []
        for groups in self.groups(layer, shapes[0]):
            one = groups == 1
            values = spectrum if one else _spectra(self.matrices(layer, groups))
            errors = np.append(tails(np.sum(values**2, axis=0))[1:], 0.0) / norm
            left_out = np.append(values.max(axis=0)[1:], 0.0)
            bounds = np.sqrt(groups) * left_out / largest
            costs = [self.unit_costs(layer, groups, shape) for shape in shapes]
            parameters, flops = costs[0][0], sum(cost[1] for cost in costs)
            found += [
                Choice(groups, (r,), r * parameters, r * flops, float(e), float(b))
                for r, (e, b) in enumerate(zip(errors, bounds, strict=True), start=1)
            ]
        return found

    def replacement(self, layer: Layer, choice: Choice) -> Replacement:
        (rank,) = choice.ranks
        matrices = self.matrices(layer, choice.groups)
        return self.two_layers(layer, [balanced_factors(w, rank) for w in matrices])


class Pointwise(Folded):
    """One matrix `(n, m)`: what goes in, by what comes out at each position.

    A convolution becomes one to `r` filters and one of size 1: Zhang et al., 2016,
    arXiv:1505.06798, without its data.
    """

    name = "pointwise"

    def matrices(self, layer: Layer, groups: int) -> list[np.ndarray]:
        return _family(layer).matrices(layer)

    def unit_costs(
        self, layer: Layer, groups: int, input_shape: Shape
    ) -> tuple[int, int]:
        n, m = self.matrices(layer, 1)[0].shape
        # Rows of an embedding are looked up.
        multiplied = m if isinstance(layer, keras.layers.Embedding) else n + m
        return n + m, 2 * multiplied * positions(layer, input_shape)

    def two_layers(self, layer: Layer, pairs: list[Pair]) -> Replacement:
        return _family(layer).to_pair(layer, *pairs[0])


class Manifold(Pointwise):
    """As `Pointwise`, in a low-rank layer, to be trained by `dlrt.optimizers.LowRank`.

    What it costs is that of the two layers that `dlrt.merge` makes of it.
    """

    name = "manifold"

    def replacement(self, layer: Layer, choice: Choice) -> Replacement:
        family = _family(layer)
        (matrix,) = family.matrices(layer)
        left, right = best_factors(matrix, *choice.ranks)
        (u, a), (v, b) = np.linalg.qr(left), np.linalg.qr(right.T)
        return family.to_low_rank(layer, [Factors(u, a @ b.T, v)])


class Separable(Folded):
    """Convolutions over one axis after the other; other layers as `Pointwise`.

    The kernel `(k, k', c, m)` is the matrix `(k' c, k m)`: a convolution `1 × k'` to
    `r` filters, then one `k × 1`. Jaderberg et al., 2014, arXiv:1405.3866, scheme 2.
    """

    name = "separable"

    def for_layer(self, layer: Layer) -> Folded:
        plane = isinstance(layer, keras.layers.Conv2D) and _is_spatial(layer)
        return self if plane else Pointwise()

    def matrices(self, layer: Layer, groups: int) -> list[np.ndarray]:
        high, wide, channels, filters = layer.kernel.shape
        kernel = np.transpose(np.asarray(layer.kernel), (1, 2, 0, 3))
        return [kernel.reshape(wide * channels, high * filters)]

    def unit_costs(
        self, layer: Layer, groups: int, input_shape: Shape
    ) -> tuple[int, int]:
        high, wide, channels, filters = layer.kernel.shape
        rows = 2 if layer.data_format == "channels_first" else 1
        output = layer.compute_output_shape(input_shape)
        size = (
            output[rows] if high == 1 else input_shape[rows],
            input_shape[rows + 1] if wide == 1 else output[rows + 1],
        )
        between = known_size(size)
        first, second = wide * channels, high * filters
        flops = first * between + second * positions(layer, input_shape)
        return first + second, 2 * flops

    def two_layers(self, layer: Layer, pairs: list[Pair]) -> Replacement:
        ((k, vt),) = pairs
        rank = len(vt)
        high, wide, channels, filters = layer.kernel.shape
        # Strides along an axis of length 1 are for the convolution that has a longer
        # one: see `_subsampled`.
        down, right = layer.strides
        columns = (down if high == 1 else 1, right if wide > 1 else 1)
        rows = (down if high > 1 else 1, right if wide == 1 else 1)
        layers = [
            inner_conv(layer, filters=rank, strides=columns, **_along(layer, 1)),
            last_conv(layer, strides=rows, **_along(layer, 0)),
        ]
        kernels = [
            k.reshape(1, wide, channels, rank),
            np.transpose(vt.reshape(rank, high, 1, filters), (1, 2, 0, 3)),
        ]
        return chain_layers(layer, layers, kernels)


class Grouped(Pointwise):
    """One matrix for each group of input channels; other layers as `Pointwise`.

    A layer with `k` groups, of `r` channels each, and one that joins them: Liebenwein
    et al., 2021, arXiv:2107.11442, section 2.
    """

    name = "grouped"

    def groups(self, layer: Layer, input_shape: Shape) -> list[int]:
        if not isinstance(layer, (keras.layers.Dense, *CONVOLUTIONS)):
            return [1]
        if isinstance(layer, keras.layers.Dense) and input_shape[1:-1].count(None) > 1:
            # Keras can't split the last axis of such an input.
            return [1]
        channels = layer.kernel.shape[-2]
        return [k for k in range(1, _MAX_GROUPS + 1) if channels % k == 0]

    def matrices(self, layer: Layer, groups: int) -> list[np.ndarray]:
        if groups == 1:
            return super().matrices(layer, groups)
        parts = np.split(np.asarray(layer.kernel), groups, axis=-2)
        return [part.reshape(-1, part.shape[-1]) for part in parts]

    def unit_costs(
        self, layer: Layer, groups: int, input_shape: Shape
    ) -> tuple[int, int]:
        if groups == 1:
            return super().unit_costs(layer, groups, input_shape)
        n, m = super().matrices(layer, 1)[0].shape
        parameters = n + groups * m
        return parameters, 2 * parameters * positions(layer, input_shape)

    def two_layers(self, layer: Layer, pairs: list[Pair]) -> Replacement:
        if len(pairs) == 1:
            return super().two_layers(layer, pairs)
        of = _grouped_dense if isinstance(layer, keras.layers.Dense) else _grouped_conv
        return of(layer, pairs)


class Spatial(Structure):
    """For convolutions of more than one position; other layers as `Pointwise`."""

    def for_layer(self, layer: Layer) -> Structure:
        return self if _is_spatial(layer) else Pointwise()


def supports(layer: Layer) -> bool:
    """Whether a layer has one kernel that can be folded."""
    return isinstance(family_of(layer), OneKernel)


def input_positions(layer: Layer, shape: Shape) -> int:
    """The number of positions of a tensor that a convolution takes or gives."""
    first = layer.data_format == "channels_first"
    return known_size(shape[2:] if first else shape[1:-1])


def tails(squares: np.ndarray) -> np.ndarray:
    """`(Σ_{j ≥ i} squares_j)^½` for every `i`, the last summed up first."""
    return np.sqrt(np.cumsum(squares[::-1])[::-1])


def _spectra(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """The singular values of matrices of one shape, `(matrices, min(n, m))`."""
    return np.array([singular_values(w) for w in matrices])


def _family(layer: Layer) -> OneKernel:
    family = family_of(layer)
    if not isinstance(family, OneKernel):
        raise TypeError(f"No layer with one kernel: {layer!r}")
    return family


def _is_spatial(layer: Layer) -> bool:
    """Whether it is a convolution of more than one position."""
    return isinstance(layer, CONVOLUTIONS) and known_size(layer.kernel_size) > 1


def _subsampled(layer: Layer, x: Any) -> tuple[Any, dict[str, Any]]:
    """What a convolution of size 1 takes of `x`, and its strides if not taken before.

    With strides, few channels and an odd batch size, TensorFlow 2.21 writes beyond the
    gradient of such a kernel, and the process dies (oneDNN, on a CPU with AVX-512).
    """
    if _is_spatial(layer) or max(layer.strides) == 1:
        return x, {}
    kind = {1: keras.layers.MaxPooling1D, 2: keras.layers.MaxPooling2D}
    pool = kind[len(layer.strides)](
        1,
        layer.strides,
        data_format=layer.data_format,
        name=f"{layer.name}_positions",
        dtype=layer.dtype_policy,
    )
    return pool(x), {"strides": 1}


def _along(layer: Layer, axis: int) -> dict[str, tuple[int, ...]]:
    """Size and dilation of a convolution along one axis of two."""
    return {
        name: tuple(
            value if number == axis else 1
            for number, value in enumerate(getattr(layer, name))
        )
        for name in ("kernel_size", "dilation_rate")
    }


def _grouped_conv(layer: Layer, pairs: list[Pair]) -> Replacement:
    # One convolution a group: Keras's grouped ones run through XLA on TensorFlow's CPU,
    # where a training step of LeNet-5 takes ten times as long.
    groups, (rank, filters) = len(pairs), pairs[0][1].shape
    size, name = layer.kernel_size, layer.name
    axis = 1 if layer.data_format == "channels_first" else -1
    inputs = keras.Input(layer.get_build_config()["input_shape"][1:])
    taken, strides = _subsampled(layer, inputs)
    convolved = [
        inner_conv(layer, filters=rank, name=f"{name}_k_{number}", **strides)(x)
        for number, x in enumerate(keras.ops.split(taken, groups, axis), start=1)
    ]
    joined = keras.layers.Concatenate(axis, name=f"{name}_groups")(convolved)
    outputs = last_conv(layer, **POINTWISE)(joined)
    kernels = [k.reshape(*size, -1, rank) for k, _ in pairs]
    kernels.append(
        np.concatenate([vt for _, vt in pairs]).reshape(*[1] * len(size), -1, filters)
    )
    row = keras.Model(inputs, outputs, name=name)
    return Replacement(row, [*kernels, *bias_of(layer)])


def _grouped_dense(layer: Layer, pairs: list[Pair]) -> Replacement:
    groups, (rank, units) = len(pairs), pairs[0][1].shape
    between = layer.get_build_config()["input_shape"][1:-1]
    lengths = [-1 if length is None else length for length in between]
    config = last_config(layer)
    use_bias = config.pop("use_bias")
    del config["units"]
    layers = [
        keras.layers.Reshape(
            (*lengths, groups, len(pairs[0][0])), name=f"{layer.name}_groups"
        ),
        keras.layers.EinsumDense(
            "...gi,gij->...gj", (groups, rank), **first_config(layer)
        ),
        keras.layers.EinsumDense.from_config(
            {
                **config,
                "equation": "...gj,gjm->...m",
                "output_shape": (units,),
                "bias_axes": "m" if use_bias else None,
            }
        ),
    ]
    kernels = [np.stack([k for k, _ in pairs]), np.stack([vt for _, vt in pairs])]
    return chain_layers(layer, layers, kernels)
