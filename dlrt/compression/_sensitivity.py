"""Shares the total rank by the loss with each layer decomposed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import keras
import numpy as np

from dlrt.backend.structure import is_graph
from dlrt.checks import check_positive_integer
from dlrt.compression._allocation import (
    Context,
    Table,
    allocate_by_shares,
    register_allocation,
)
from dlrt.compression.structures import Choice, Structure
from dlrt.surgery.rebuild import rebuild

_BATCH_SIZE = 256


@dataclass(frozen=True)
class Sensitivity:
    """Ranks in proportion to the loss of the model with one layer decomposed.

    Each layer alone is decomposed at a trial rank. The total rank, as large as the
    budget allows, is shared out in proportion to
    `(1 - size_share) loss_i / Σ loss + size_share size_i / Σ size`: the loss of the
    model with layer `i` decomposed, on the data, without penalties on weights, and the
    number of parameters of layer `i` at the trial rank. Rank selection by sensitivity
    is due to Astrid & Lee, 2017, arXiv:1701.07148. Two ranks of a Tucker decomposition
    count as their mean, those of groups as their sum.

    Args:
        trial_rank: Positive integer, the rank of the trial; a layer that can't have it
            gets the next lower one that it can.
        size_share: The weight of sizes, in `[0, 1]`; with 1, large layers get large
            ranks, whatever the loss.
        loss: A loss of Keras, its name or a function; for several outputs a list or
            dictionary of these. Defaults to the loss that the model is compiled with.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((12, 12, 1)), keras.layers.Conv2D(16, 3),
    ...      keras.layers.Conv2D(16, 3), keras.layers.GlobalMaxPooling2D()])
    >>> x, y = np.ones((8, 12, 12, 1)), np.zeros((8, 16))
    >>> smaller, report = dlrt.compress(
    ...     model, "svd", {"ratio": 2}, data=(x, y),
    ...     allocation=dlrt.compression.Sensitivity(loss="mse"))
    """

    trial_rank: int = 5
    size_share: float = 0.0
    loss: Any = None

    def __post_init__(self) -> None:
        check_positive_integer("trial_rank", self.trial_rank)
        share = self.size_share
        if not isinstance(share, Real) or not 0 <= share <= 1:
            raise ValueError(
                f"`size_share` must lie in [0, 1]. Received: size_share={share!r}"
            )

    def __call__(
        self, tables: Sequence[Table], limit: float, context: Context
    ) -> list[int]:
        """The index of a row of each table: an allocation of `dlrt.compress`."""
        return allocate_by_shares(tables, limit, self.measure_shares(tables, context))

    def measure_shares(self, tables: Sequence[Table], context: Context) -> list[float]:
        """The share of each layer, with the sum 1.

        Raises:
            ValueError: If the data does not fit the model, there is no loss, or a loss
                is negative or not finite.
        """
        model, data, compiled = context
        x, y = _check_data(data, model)
        loss = self.loss if self.loss is not None else getattr(compiled, "loss", None)
        if loss is None:
            raise ValueError(
                "`allocation='sensitivity'` needs a loss: compile `model`, or give one "
                "as `allocation=dlrt.compression.Sensitivity(loss=...)`."
            )
        compilation = {"loss": loss}
        if self.loss is None and is_graph(model) and len(model.outputs) > 1:
            compilation["loss_weights"] = compiled.get_compile_config()["loss_weights"]
        losses, sizes = np.zeros(len(tables)), np.zeros(len(tables))
        for i, table in enumerate(tables):
            trial = _find_trial(table, self.trial_rank)
            if trial is not None:
                decomposed = _decompose_one(model, table.structure, trial)
                decomposed.compile(**compilation)
                losses[i] = _measure_loss(decomposed, x, y, table.structure.layer.name)
                sizes[i] = trial.parameters
        shared = (1 - self.size_share) * _normalise(losses)
        return list(shared + self.size_share * _normalise(sizes))


register_allocation("sensitivity")(Sensitivity())


def _find_trial(table: Table, rank: int) -> Choice | None:
    """The last choice of at most a rank, or the cheapest."""
    below = int(np.searchsorted(table.ranks, rank, side="right")) - 1
    within = [c for c in table.choices[: max(below, 0) + 1] if c is not None]
    return within[-1] if within else None


def _decompose_one(
    model: keras.Model, structure: Structure, choice: Choice
) -> keras.Model:
    """A copy of a model with one layer decomposed."""
    replacement = structure.build_replacement(choice)
    return rebuild(
        model, lambda layer: replacement if layer is structure.layer else None
    )


def _measure_loss(model: keras.Model, x: Any, y: Any, name: str) -> float:
    found = model.evaluate(x, y, batch_size=_BATCH_SIZE, verbose=0, return_dict=True)
    # The part common to all layers; factors have none of the penalties of kernels.
    penalty = sum(
        float(weight.regularizer(weight))
        for weight in model.trainable_weights
        if weight.regularizer is not None
    )
    loss = float(found["loss"]) - penalty
    if not math.isfinite(loss) or loss < -1e-6 * abs(float(found["loss"])):
        raise ValueError(
            "Shares by sensitivity need losses that are numbers and not negative. "
            f"Received: {loss} for the model with {name!r} decomposed"
        )
    return max(loss, 0.0)


def _normalise(values: np.ndarray) -> np.ndarray:
    """Values divided by their sum; equal values if that is 0."""
    total = values.sum()
    return values / total if total > 0 else np.full(len(values), 1 / len(values))


def _check_data(data: Any, model: keras.Model) -> tuple[Any, Any]:
    if data is None:
        raise ValueError(
            "`allocation='sensitivity'` needs `data`, a pair (x, y) to measure losses "
            "on. Received: data=None"
        )
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ValueError(
            "`data` must be a pair (x, y) of inputs and targets. Received: "
            f"data of type {type(data).__name__}"
        )
    x, y = data
    inputs, targets = keras.tree.flatten(x), keras.tree.flatten(y)
    shapes = sorted(map(np.shape, inputs), key=len)
    # The input shapes of models of a user's class are unknown.
    known = is_graph(model)
    wanted = sorted((t.shape for t in model.inputs), key=len) if known else shapes
    if len(shapes) != len(wanted) or not all(map(_fits, shapes, wanted)):
        raise ValueError(
            f"`data` must have inputs of the shapes {wanted}. Received: {shapes}"
        )
    lengths = {np.shape(value)[:1] for value in (*inputs, *targets)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            "`data` must have as many targets as inputs, and at least one. Received: "
            f"{sorted(lengths)} of them"
        )
    return x, y


def _fits(shape: tuple, wanted: tuple) -> bool:
    return len(shape) == len(wanted) and all(
        want in (have, None) for have, want in zip(shape[1:], wanted[1:], strict=True)
    )
