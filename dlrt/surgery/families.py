"""How layers of Keras become low-rank layers, and how these go back.

A family is a kind of layer: what it needs is in one class, `FAMILIES` has them all.
"""

import abc
import math
import string
from typing import Any, TypeAlias

import keras
import numpy as np

from dlrt.factors import Factors
from dlrt.layers import (
    CachedMultiHeadAttention,
    LowRankConv1D,
    LowRankConv2D,
    LowRankDense,
    LowRankEinsumDense,
    LowRankEmbedding,
    LowRankMultiHeadAttention,
)
from dlrt.layers.low_rank_conv import LowRankConv, unfold_filters
from dlrt.layers.low_rank_einsum_dense import axes_of, is_matrix_product, unfold_kernel
from dlrt.surgery.rebuild import Replacement, copy_layer
from dlrt.surgery.replacements import (
    KERAS_ONLY,
    LOW_RANK_ONLY,
    POINTWISE,
    bias_of,
    chain_layers,
    config_of,
    first_of_pair,
    inner_conv,
    last_conv,
    pair_config,
    plain_type,
    second_of_pair,
)

Layer: TypeAlias = keras.layers.Layer


class Family(abc.ABC):
    """A kind of layer with one kernel, or of several such layers in one.

    Attributes:
        keras_types: The layers of Keras, without subclasses that compute something
            else, see `plain_type`.
        low_rank_type: The low-rank layer.
    """

    keras_types: tuple[type[Layer], ...]
    low_rank_type: type[Layer]

    def by_default(self, layer: Layer) -> bool:
        """Whether a Keras layer is to be converted if nobody says which."""
        return True

    def obstacle(self, layer: Layer) -> str | None:
        """Why a Keras layer has no low-rank form, `None` if it has."""
        for part in self.parts(layer):
            if part.quantization_mode is not None:
                return "is quantised"
            for name in ("kernel_constraint", "embeddings_constraint"):
                if getattr(part, name, None) is not None:
                    return f"has a `{name}`, which a low-rank matrix can't keep"
        return None

    def parts(self, layer: Layer) -> list[Layer]:
        """The layers with a kernel that a layer consists of."""
        return [layer]

    @abc.abstractmethod
    def matrices(self, layer: Layer) -> list[np.ndarray]:
        """The kernel `(n, m)` of each part of a Keras layer."""

    @abc.abstractmethod
    def low_rank(self, layer: Layer, factors: list[Factors]) -> Replacement:
        """The low-rank layer with the factors given for each part."""

    @abc.abstractmethod
    def dense(self, layer: Layer) -> Replacement:
        """The Keras layer that a low-rank layer stands for."""

    @abc.abstractmethod
    def merged(self, layer: Layer) -> Replacement:
        """The form of a low-rank layer for prediction where `merging_pays`."""

    def merging_pays(self, layer: Layer) -> bool:
        """Whether the merged form has fewer parameters than the dense one."""
        parts = self.parts(layer)
        merged = sum(part.rank * sum(part.matrix_shape) for part in parts)
        return merged < sum(math.prod(part.matrix_shape) for part in parts)


class OneKernel(Family):
    """Layers with one kernel, which have a form as two layers in a row."""

    def matrices(self, layer: Layer) -> list[np.ndarray]:
        return [np.asarray(layer.kernel)]

    def kernel(self, layer: Layer) -> np.ndarray:
        """The kernel of a low-rank layer as Keras has it."""
        return layer.factors.to_dense()

    def low_rank(self, layer: Layer, factors: list[Factors]) -> Replacement:
        (kept,) = factors
        config = config_of(layer, KERAS_ONLY, rank=kept.s.shape[0])
        weights = [*map(np.asarray, kept), *bias_of(layer)]
        return Replacement(self.low_rank_type.from_config(config), weights)

    def dense(self, layer: Layer) -> Replacement:
        new = self.keras_types[0].from_config(config_of(layer, LOW_RANK_ONLY))
        return Replacement(new, [self.kernel(layer), *bias_of(layer)])

    def merged(self, layer: Layer) -> Replacement:
        u, s, v = layer.factors
        return self.pair(layer, u @ s, v.T)

    def pair(self, layer: Layer, k: np.ndarray, vt: np.ndarray) -> Replacement:
        """Two layers of Keras in place of a low-rank layer, or of one of Keras.

        Args:
            layer: The layer.
            k: `(n, r)`, what the first multiplies with.
            vt: `(r, m)`, what the second multiplies with.
        """
        layers = [*self.inputs(layer), *self.two_layers(layer, len(vt))]
        return chain_layers(layer, layers, self.two_kernels(layer, k, vt))

    def inputs(self, layer: Layer) -> list[Any]:
        """The input of the two layers, where it can't be told from the first."""
        return []

    @abc.abstractmethod
    def two_layers(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        """Layers of Keras that multiply with `(n, rank)` and with `(rank, m)`."""

    def two_kernels(
        self, layer: Layer, k: np.ndarray, vt: np.ndarray
    ) -> list[np.ndarray]:
        """The kernels of these layers."""
        return [k, vt]


class _Dense(OneKernel):
    keras_types = (keras.layers.Dense,)
    low_rank_type = LowRankDense

    def two_layers(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        config = pair_config(layer)
        first = keras.layers.Dense(rank, use_bias=False, **first_of_pair(layer))
        return first, keras.layers.Dense.from_config(
            {**config, **second_of_pair(layer)}
        )


class _EinsumDense(OneKernel):
    keras_types = (keras.layers.EinsumDense,)
    low_rank_type = LowRankEinsumDense

    def by_default(self, layer: Layer) -> bool:
        return is_matrix_product(layer.equation)

    def obstacle(self, layer: Layer) -> str | None:
        if not is_matrix_product(layer.equation):
            return (
                f"has the equation {layer.equation!r}, which is no product with one "
                "matrix"
            )
        return super().obstacle(layer)

    def matrices(self, layer: Layer) -> list[np.ndarray]:
        return [unfold_kernel(layer.equation, np.asarray(layer.kernel))]

    def kernel(self, layer: Layer) -> np.ndarray:
        return np.asarray(layer.fold(layer.factors.to_dense()))

    def two_layers(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        x, kernel, y = axes_of(layer.equation)
        between = next(a for a in string.ascii_letters if a not in layer.equation)
        rows = "".join(axis for axis in kernel if axis not in y)
        columns = "".join(axis for axis in kernel if axis in y)
        hidden = "".join(axis for axis in x if axis not in rows) + between
        left = "..." if layer.equation.startswith("...") else ""
        right = "..." if layer.equation.endswith("...") else ""
        # Without an ellipsis in front, the first axis is the batch.
        skipped = 0 if left else 1
        lengths = dict(zip(y[skipped:], layer.partial_output_shape, strict=True))
        kept = [lengths.get(axis) for axis in hidden[skipped:-1]]
        first = keras.layers.EinsumDense(
            f"{left}{x}{right},{rows}{between}->{left}{hidden}{right}",
            output_shape=(*kept, rank),
            **first_of_pair(layer),
        )
        config = pair_config(layer)
        config["equation"] = (
            f"{left}{hidden}{right},{between}{columns}->{left}{y}{right}"
        )
        return first, keras.layers.EinsumDense.from_config(
            {**config, **second_of_pair(layer)}
        )

    def two_kernels(
        self, layer: Layer, k: np.ndarray, vt: np.ndarray
    ) -> list[np.ndarray]:
        _, axes, y = axes_of(layer.equation)
        lengths = dict(zip(axes, layer.kernel.shape, strict=True))
        rows = [lengths[axis] for axis in axes if axis not in y]
        columns = [lengths[axis] for axis in axes if axis in y]
        return [k.reshape(*rows, -1), vt.reshape(-1, *columns)]


class _Conv(OneKernel):
    def __init__(self, low_rank_type: type[LowRankConv]) -> None:
        self.low_rank_type = low_rank_type
        self.keras_types = (low_rank_type.keras_type,)

    def by_default(self, layer: Layer) -> bool:
        return layer.groups == 1

    def obstacle(self, layer: Layer) -> str | None:
        if layer.groups != 1:
            return f"has {layer.groups} groups, each with a matrix of its own"
        return super().obstacle(layer)

    def matrices(self, layer: Layer) -> list[np.ndarray]:
        return [unfold_filters(np.asarray(layer.kernel))]

    def kernel(self, layer: Layer) -> np.ndarray:
        return np.asarray(layer.fold(layer.factors.to_dense()))

    def two_layers(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        return (
            inner_conv(layer, filters=rank, **first_of_pair(layer)),
            last_conv(layer, **POINTWISE),
        )

    def two_kernels(
        self, layer: Layer, k: np.ndarray, vt: np.ndarray
    ) -> list[np.ndarray]:
        point = (1,) * len(layer.kernel_size)
        return [
            k.reshape(*layer.kernel_size, -1, len(vt)),
            vt.reshape(*point, *vt.shape),
        ]


class _Embedding(OneKernel):
    keras_types = (keras.layers.Embedding,)
    low_rank_type = LowRankEmbedding

    def by_default(self, layer: Layer) -> bool:
        return False

    def matrices(self, layer: Layer) -> list[np.ndarray]:
        return [np.asarray(layer.embeddings)]

    def inputs(self, layer: Layer) -> list[Any]:
        # Otherwise Keras would make numbers of the indices.
        shape = layer.get_build_config()["input_shape"]
        return [keras.Input(batch_shape=(None,) * len(shape), dtype="int32")]

    def two_layers(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        first = keras.layers.Embedding(
            layer.input_dim, rank, mask_zero=layer.mask_zero, **first_of_pair(layer)
        )
        second = keras.layers.Dense(
            layer.output_dim,
            use_bias=False,
            activity_regularizer=layer.activity_regularizer,
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
            **second_of_pair(layer),
        )
        return first, second


class _Attention(Family):
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

    def low_rank(self, layer: Layer, factors: list[Factors]) -> Replacement:
        ranks = [kept.s.shape[0] for kept in factors]
        by_name = dict(zip(self._named_parts(layer), ranks, strict=True))
        config = config_of(layer, KERAS_ONLY, rank=by_name)
        weights = [
            weight
            for part, kept in zip(self.parts(layer), factors, strict=True)
            for weight in (*map(np.asarray, kept), *bias_of(part))
        ]
        return self._made(LowRankMultiHeadAttention, layer, config, weights)

    def dense(self, layer: Layer) -> Replacement:
        weights = [
            weight
            for part in self.parts(layer)
            for weight in (
                np.asarray(part.fold(part.factors.to_dense())),
                *bias_of(part),
            )
        ]
        config = config_of(layer, LOW_RANK_ONLY)
        return self._made(CachedMultiHeadAttention, layer, config, weights)

    def merged(self, layer: Layer) -> Replacement:
        copy = copy_layer(layer)
        # As `_made` does.
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

    def _made(
        self, kind: type[Layer], layer: Layer, config: dict, weights: list
    ) -> Replacement:
        # Keras leaves this out of the configuration: it depends on the machine.
        config = {**config, "flash_attention": layer._flash_attention}
        return Replacement(kind.from_config(config), weights)


FAMILIES: tuple[Family, ...] = (
    _Dense(),
    _EinsumDense(),
    _Conv(LowRankConv1D),
    _Conv(LowRankConv2D),
    _Embedding(),
    _Attention(),
)


def family_of(layer: Layer) -> Family | None:
    """The family of a Keras layer."""
    return next((f for f in FAMILIES if plain_type(layer) in f.keras_types), None)


def stranger(layer: Layer) -> str | None:
    """Why a subclass of a Keras layer of a family is none, `None` for other layers."""
    if family_of(layer) is not None or family_of_low_rank(layer) is not None:
        return None
    for family in FAMILIES:
        if isinstance(layer, family.keras_types) and family.by_default(layer):
            return (
                f"is of type {type(layer).__name__}, a subclass of "
                f"{family.keras_types[0].__name__} that overrides what it computes"
            )
    return None


def family_of_low_rank(layer: Layer) -> Family | None:
    """The family of a low-rank layer."""
    return next((f for f in FAMILIES if isinstance(layer, f.low_rank_type)), None)
