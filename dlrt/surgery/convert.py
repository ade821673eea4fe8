"""From dense to low-rank models and back."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from dlrt.checks import check_positive_integer, check_share
from dlrt.factors import Factors
from dlrt.surgery.decomposed import is_decomposed, recompose, recompose_row
from dlrt.surgery.families.base import Family, family_of_low_rank
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.recurrent import restore_recurrent
from dlrt.surgery.replacements import Layer, Replacement
from dlrt.surgery.selection import (
    LayerFilter,
    check_built,
    describe_choices,
    find_left_alone,
    select,
)


def convert(
    model: keras.Model,
    rank: int | None = None,
    tolerance: float | None = None,
    ratio: float | None = None,
    layers: LayerFilter = None,
) -> keras.Model:
    """A copy of a model with layers in low-rank form, by truncated SVD.

    `Dense`, `EinsumDense`, `Conv1D`, `Conv2D`, `MultiHeadAttention` and `Embedding`
    become `LowRankDense` and so on. Exactly one of `rank`, `tolerance` and `ratio` sets
    how much is kept of every kernel, seen as the matrix of its low-rank layer; an
    attention layer has one kernel for each projection.

    Layers inside layers and models of your own classes are converted as well, if these
    can be copied from their configuration; the containers become a
    `dlrt.surgery.exchanged.Exchanged`. So are the projections of attention layers of
    your own classes, and layers of your own classes that override only the constructor.
    Others are left alone, and so are layers inside other Keras layers: a warning says
    which and why, unless `layers` is given. A layer that can't be copied and contains
    nothing to convert is copied in memory, with a warning. The three layers that
    `dlrt.decompose` makes of one count as one.

    Args:
        model: A built Keras model; it is not changed.
        rank: Rank to keep of every kernel, at least 1. A smaller kernel keeps its full
            rank, `min(n, m)`.
        tolerance: Relative Frobenius error allowed in every kernel, in `(0, 1)`.
        ratio: Share of the parameters of a kernel to keep, in `(0, 1)`:
            `rank = ratio n m / (n + m)`, at least 1.
        layers: Which layers: a regular expression or a list of names, matched in full,
            or a function of the layer. Defaults to all whose low-rank form has fewer
            parameters, except the model's last `Dense` or `EinsumDense`, embeddings
            (whose rows have little in common, so that truncation costs the most there;
            name them to convert them), `EinsumDense` with an equation that isn't a
            product with one matrix, and convolutions with groups.

    Returns:
        A new model of the same kind, or an `Exchanged` for a model of your own class,
        not compiled.

    Raises:
        ValueError: If an argument is out of range, the model is not built or can't be
            copied, layers share weights that their copies would not share, `layers`
            selects none, or one that has no low-rank form: with a constraint of the
            kernel, quantised, with such an equation or groups, with NaN or infinity in
            the kernel, or inside a layer that can't be copied.
        TypeError: If `model` is not a model.

    Example:

    >>> dense = keras.Sequential(
    ...     [keras.Input((784,)), keras.layers.Dense(500), keras.layers.Dense(10)])
    >>> low_rank = dlrt.convert(dense, rank=20)
    >>> dense.count_params(), low_rank.count_params()
    (397510, 31590)
    """
    possible = {"rank": rank, "tolerance": tolerance, "ratio": ratio}
    amount: dict[str, Any] = {k: v for k, v in possible.items() if v is not None}
    _check_amount(amount)
    check_built(model)
    model = recompose(model)
    replacements: dict[int, Replacement] = {}
    for layer, family in select(model, layers):
        matrices = family.matrices(layer)
        if not all(np.all(np.isfinite(matrix)) for matrix in matrices):
            raise ValueError(
                f"Layer {layer.name!r} has a kernel that contains NaN or infinity. "
                "Leave the layer out with `layers`."
            )
        kept = [_truncate(matrix, **amount) for matrix in matrices]
        if layers is not None or _size(kept) < sum(map(np.size, matrices)):
            replacements[id(layer)] = family.to_low_rank(layer, kept)
    if not replacements:
        raise ValueError(
            "`layers` selects no layer that would become smaller. Received: "
            f"layers={layers!r}. {describe_choices(model)}"
        )
    if layers is None:
        for sentence in find_left_alone(model):
            warnings.warn(sentence, stacklevel=2)
    return rebuild(model, lambda layer: replacements.get(id(layer)))


def to_dense(model: keras.Model) -> keras.Model:
    """A copy of a model with every low-rank layer replaced by its dense counterpart.

    These are Keras layers; a `LowRankMultiHeadAttention` becomes a
    `CachedMultiHeadAttention`, which is called in the same ways. The three layers that
    `dlrt.decompose` makes of one become that one again, and a
    `dlrt.layers.ProjectedRNN` whose products are then `Dense` layers becomes the Keras
    recurrent layer.

    Args:
        model: A built Keras model; it is not changed.
    """
    return _restore(model, lambda family, layer: family.to_dense(layer))


def merge(model: keras.Model) -> keras.Model:
    """A copy of a model in its fastest form for prediction.

    Every low-rank layer becomes two layers in a row, with kernels `K = U S` and `Vᵀ`,
    or one dense layer where that has at most as many parameters: two `Dense`, two
    `EinsumDense`, two convolutions, the second of size 1, or an `Embedding` and a
    `Dense`. A `LowRankMultiHeadAttention` has no such form; it stays as it is, or
    becomes a `CachedMultiHeadAttention` where that has at most as many parameters. The
    three layers that `dlrt.decompose` makes of one, at full rank, become that one.
    Without attention and `dlrt.layers.ProjectedRNN`, the result has standard Keras
    layers only; it can be exported, quantised and loaded without dlrt.

    Args:
        model: A built Keras model; it is not changed.
    """

    def form(family: Family, layer: Layer) -> Replacement:
        pays = family.merging_pays(layer)
        return family.to_merged(layer) if pays else family.to_dense(layer)

    return _restore(model, form)


def _restore(
    model: keras.Model, form: Callable[[Family, Layer], Replacement]
) -> keras.Model:
    """A copy of a model with another form of low-rank and decomposed layers."""
    check_built(model)

    def replace(layer: Layer) -> Replacement | None:
        if is_decomposed(layer):
            return recompose_row(layer)
        family = family_of_low_rank(layer)
        return None if family is None else form(family, layer)

    return restore_recurrent(rebuild(model, replace))


def _check_amount(amount: dict[str, Any]) -> None:
    if len(amount) != 1:
        raise ValueError(
            "Exactly one of `rank`, `tolerance` and `ratio` must be given. "
            f"Received: {amount or 'none of them'}"
        )
    for name, value in amount.items():
        if name == "rank":
            check_positive_integer(name, value)
        else:
            check_share(name, value)


def _truncate(
    matrix: np.ndarray,
    rank: int | None = None,
    tolerance: float | None = None,
    ratio: float | None = None,
) -> Factors:
    """The factors of a matrix that are kept, by the one amount that is given."""
    n, m = matrix.shape
    if tolerance is not None:
        return Factors.from_dense(matrix, tolerance=tolerance)
    if ratio is not None:
        return Factors.from_dense(matrix, max(1, int(ratio * n * m / (n + m))))
    return Factors.from_dense(matrix, min(rank or n, n, m))


def _size(factors: list[Factors]) -> int:
    """Number of parameters of two factors in place of three each."""
    return sum(math.prod(f.u.shape) + math.prod(f.v.shape) for f in factors)
