"""Kinds of layers: how each becomes low-rank and dense again."""

import abc
import math
from typing import Any

import numpy as np

from dlrt.factors import Factors
from dlrt.surgery.replacements import (
    KERAS_ONLY,
    LOW_RANK_ONLY,
    Layer,
    Replacement,
    bias_of,
    chain_layers,
    config_of,
    plain_type,
)


class Family(abc.ABC):
    """A kind of layer with one kernel, or of several such layers in one.

    `register_family` makes an instance known to `dlrt.convert`, `dlrt.to_dense` and
    `dlrt.merge`. Layers with one kernel derive from `OneKernel`, and are known to
    `dlrt.compress` as well.

    Attributes:
        keras_types: The dense layers. Subclasses count if they override only the
            constructor and the configuration, see `plain_type`. `to_dense` makes the
            first.
        low_rank_type: The low-rank layer.
    """

    keras_types: tuple[type[Layer], ...]
    low_rank_type: type[Layer]

    def by_default(self, layer: Layer) -> bool:
        """Whether a dense layer is converted if no layers are selected."""
        return True

    def obstacle(self, layer: Layer) -> str | None:
        """Why a dense layer has no low-rank form, `None` if it has one.

        The text follows the name of the layer: `"is quantised"`.
        """
        for part in self.parts(layer):
            if part.quantization_mode is not None:
                return "is quantised"
            for name in ("kernel_constraint", "embeddings_constraint"):
                if getattr(part, name, None) is not None:
                    return f"has a `{name}`, which a low-rank matrix can't keep"
        return None

    def parts(self, layer: Layer) -> list[Layer]:
        """The layers with a kernel of which a layer consists, dense or low-rank."""
        return [layer]

    @abc.abstractmethod
    def matrices(self, layer: Layer) -> list[np.ndarray]:
        """The kernel of each part of a dense layer, as a matrix `(n, m)`."""

    @abc.abstractmethod
    def to_low_rank(self, layer: Layer, factors: list[Factors]) -> Replacement:
        """The low-rank layer in place of a dense one.

        Args:
            layer: The dense layer.
            factors: The factors of each of its `matrices`.
        """

    @abc.abstractmethod
    def to_dense(self, layer: Layer) -> Replacement:
        """The dense layer that a low-rank layer stands for."""

    @abc.abstractmethod
    def to_merged(self, layer: Layer) -> Replacement:
        """The form of a low-rank layer for prediction if `merging_pays`."""

    def merging_pays(self, layer: Layer) -> bool:
        """Whether the merged form has fewer parameters than the dense one."""
        parts = self.parts(layer)
        merged = sum(part.rank * sum(part.matrix_shape) for part in parts)
        return merged < sum(math.prod(part.matrix_shape) for part in parts)


class OneKernel(Family):
    """Layers with one kernel, which have a form as two layers in a row.

    A family defines its layers, and how their kernel is unfolded to a matrix `(n, m)`
    and folded back, unless it is already a matrix. `make_pair` and `fold_pair` are for
    the two layers that multiply with `(n, r)` and `(r, m)`. If a layer does not
    multiply once for each row of its output, register how often it does with
    `dlrt.accounting.register_positions`.

    Attributes:
        dense_only: Arguments of the dense layer that the low-rank layer does not take,
            besides constraints of the kernel and what quantisation adds.
    """

    dense_only: tuple[str, ...] = ()

    def unfold(self, layer: Layer, kernel: np.ndarray) -> np.ndarray:
        """The matrix `(n, m)` of the kernel of a dense layer."""
        return kernel

    def fold(self, layer: Layer, matrix: np.ndarray) -> np.ndarray:
        """The kernel that the matrix of a low-rank layer represents."""
        return matrix

    @abc.abstractmethod
    def make_pair(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        """Layers of Keras that multiply with `(n, rank)` and with `(rank, m)`.

        Args:
            layer: A dense or low-rank layer. The first has no bias and no activation,
                see `first_config`, the second those of the layer, see `last_config`.
            rank: The rank.
        """

    def fold_pair(
        self, layer: Layer, k: np.ndarray, vt: np.ndarray
    ) -> list[np.ndarray]:
        """The kernels of these layers, from `k: (n, r)` and `vt: (r, m)`."""
        return [k, vt]

    def inputs(self, layer: Layer) -> list[Any]:
        """The input of the two layers, if the first does not determine it."""
        return []

    def matrices(self, layer: Layer) -> list[np.ndarray]:
        return [self.unfold(layer, np.asarray(layer.kernel))]

    def to_low_rank(self, layer: Layer, factors: list[Factors]) -> Replacement:
        (kept,) = factors
        without = (*KERAS_ONLY, *self.dense_only)
        config = config_of(layer, without, rank=kept.s.shape[0])
        weights = [*map(np.asarray, kept), *bias_of(layer)]
        return Replacement(self.low_rank_type.from_config(config), weights)

    def to_dense(self, layer: Layer) -> Replacement:
        new = self.keras_types[0].from_config(config_of(layer, LOW_RANK_ONLY))
        kernel = self.fold(layer, np.asarray(layer.factors.to_dense()))
        return Replacement(new, [kernel, *bias_of(layer)])

    def to_merged(self, layer: Layer) -> Replacement:
        u, s, v = layer.factors
        return self.to_pair(layer, u @ s, v.T)

    def to_pair(self, layer: Layer, k: np.ndarray, vt: np.ndarray) -> Replacement:
        """Two layers of Keras in place of a dense or low-rank layer.

        Args:
            layer: The layer.
            k: `(n, r)`, what the first multiplies with.
            vt: `(r, m)`, what the second multiplies with.
        """
        layers = [*self.inputs(layer), *self.make_pair(layer, len(vt))]
        return chain_layers(layer, layers, self.fold_pair(layer, k, vt))


FAMILIES: list[Family] = []


def register_family(family: Family) -> None:
    """Makes a kind of layer known to `dlrt.convert` and related functions.

    Raises:
        TypeError: If it is not an instance of `Family`.
        ValueError: If one of its types already belongs to another family.
    """
    if not isinstance(family, Family):
        raise TypeError(
            "`family` must be an instance of `dlrt.surgery.Family`. Received: "
            f"family={family!r}"
        )
    types = {*family.keras_types, family.low_rank_type}
    for other in FAMILIES:
        taken = types & {*other.keras_types, other.low_rank_type}
        if taken:
            names = sorted(kind.__name__ for kind in taken)
            raise ValueError(
                f"`family` must be for layers without one. Received: {names}, of which "
                f"{type(other).__name__} is the family"
            )
    FAMILIES.append(family)


def family_of(layer: Layer) -> Family | None:
    """The family of a dense layer."""
    return next((f for f in FAMILIES if plain_type(layer) in f.keras_types), None)


def family_of_low_rank(layer: Layer) -> Family | None:
    """The family of a low-rank layer."""
    # A later family may be for a subclass.
    kinds = reversed(FAMILIES)
    return next((f for f in kinds if isinstance(layer, f.low_rank_type)), None)


def explain_override(layer: Layer) -> str | None:
    """Why a subclass doesn't belong to its base's family, `None` for other layers."""
    if family_of(layer) is not None or family_of_low_rank(layer) is not None:
        return None
    for family in FAMILIES:
        if isinstance(layer, family.keras_types) and family.by_default(layer):
            return (
                f"is of type {type(layer).__name__}, a subclass of "
                f"{family.keras_types[0].__name__} that overrides what it computes"
            )
    return None
