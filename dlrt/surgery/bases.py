"""A start whose bases are directions of the data."""

from typing import Any

import keras
import numpy as np
from keras import ops

from dlrt import accounting
from dlrt.checks import check_positive_integer
from dlrt.factors import Factors
from dlrt.layers import LowRankLayer
from dlrt.layers.recording import Recording, recording

Tensor = Any

# As many directions more as a subspace iteration needs to be sure of the others, and
# its steps (Halko, Martinsson & Tropp, SIAM Review 53, 2011, Algorithm 4.4).
_OVERSAMPLING, _ITERATIONS = 10, 3


def align_bases(
    model: keras.Model, x: Any, max_rows: int = 4096, seed: int = 0
) -> None:
    """Turns the input bases of low-rank layers to what a batch makes their inputs.

    At the start of training `U` is random and sees `r` directions of `n`. This function
    replaces it by the leading principal directions of the layer's inputs, not centred,
    as the layers in front make them that have been aligned before. `S` becomes a
    multiple of the identity for which outputs have the size that a dense kernel of the
    same Frobenius norm would give them; `V` stays. Singular values are then about as
    large as a dense layer's, where a random start makes them `√(n/r)` times as large,
    and learning rates of SGD that suit a dense network suit this one.

    Call it before training, with a few hundred samples. A layer within a loop that the
    backend compiles, as in recurrent networks, stays as it is, and so does one whose
    inputs are zero.

    Args:
        model: A built model with low-rank layers. Its weights are changed in place.
        x: A batch of its inputs, as in `model(x)`.
        max_rows: Rows of a layer's input matrix to use, drawn at random where there are
            more. A convolution has one for each position of each image.
        seed: Seed of the draws.

    Raises:
        ValueError: If the model has no low-rank layers, or their inputs are not finite.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((20,)), dlrt.layers.LowRankDense(30, rank=4)])
    >>> dlrt.align_bases(model, np.random.default_rng(0).normal(size=(64, 20)))
    """
    check_positive_integer("max_rows", max_rows)
    if not accounting.low_rank_layers(model):
        raise ValueError(
            f"`model` must have low-rank layers. Received: {model.name!r}, without any"
        )
    aligner = _Aligner(max_rows, np.random.default_rng(seed))
    with recording(aligner):
        model(x, training=False)


class _Aligner(Recording):
    """Aligns each layer when it makes its first product, before others see that."""

    def __init__(self, max_rows: int, random: np.random.Generator) -> None:
        super().__init__(lambda: None)
        self._max_rows = max_rows
        self._random = random

    def add(self, layer: LowRankLayer, x: Tensor, y: Tensor) -> Tensor:
        if any(layer is seen for seen in self.layers):
            return y
        super().add(layer, x, y)
        try:
            rows = np.asarray(layer.coordinates(x, np.eye(layer.matrix_shape[0])))
        except (TypeError, NotImplementedError):
            # A symbolic tensor of TensorFlow's or JAX's.
            return y
        rows = rows.astype("float32")
        if not np.isfinite(rows).all():
            raise ValueError(
                "The inputs of low-rank layers must be finite. Received: others in "
                f"layer {layer.name!r}"
            )
        if len(rows) > self._max_rows:
            rows = rows[self._random.choice(len(rows), self._max_rows, replace=False)]
        norm = np.linalg.norm(rows)
        if norm == 0:
            return y
        u, s, v = layer.factors
        basis = _leading_directions(rows / norm, len(s), self._random)
        share = np.linalg.norm(rows @ basis) / norm
        size = np.linalg.norm(s) / (share * len(u) ** 0.5)
        core = size * np.eye(len(s), dtype=s.dtype)
        layer.set_factors(Factors(basis.astype(u.dtype), core, v), layer.capacity)
        outputs = layer.coordinates(x, basis) @ ops.cast(core @ v.T, y.dtype)
        return ops.reshape(outputs, ops.shape(y))


def _leading_directions(
    rows: np.ndarray, rank: int, random: np.random.Generator
) -> np.ndarray:
    """The leading right singular vectors of `(k, n)`, of Frobenius norm 1: `(n, rank)`.

    Beyond the rank of the matrix they are random directions.
    """
    width = min(rows.shape[1], rank + _OVERSAMPLING)
    basis = random.standard_normal((rows.shape[1], width), "float32")
    for _ in range(_ITERATIONS):
        # With something of the old basis, where the rows have fewer directions.
        basis, _ = np.linalg.qr(rows.T @ (rows @ basis) + 1e-6 * basis)
    images = rows @ basis
    _, vectors = np.linalg.eigh(images.T @ images)
    return basis @ vectors[:, ::-1][:, :rank]
