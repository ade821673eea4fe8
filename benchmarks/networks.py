"""The networks that are compared: one for each way to hold and train four layers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import dlrt

HIDDEN_LAYERS = 4
INPUTS = 784
CLASSES = 10

DENSE = "dense"
TWO_FACTOR = "two-factor"
INTEGRATORS = dlrt.integrators.names()
_ADAPTIVE = ", adaptive"
KINDS = (
    TWO_FACTOR,
    *INTEGRATORS,
    *(
        name + _ADAPTIVE
        for name in INTEGRATORS
        if dlrt.integrators.get(name).rank_adaptive
    ),
    DENSE,
)

# So small that weights hardly move: no time may depend on how far training has come.
LEARNING_RATE = 1e-6
# So small that no rank falls, and none rises without candidates.
HELD = {"tolerance": 1e-5, "truncation_interval": 1, "candidates": 0}


@dataclass(frozen=True)
class Case:
    """The size of a network and of its batches.

    Args:
        width: Units of a hidden layer.
        rank: Rank of a hidden layer's kernel; a dense network has none.
        batch: Images in a batch.
        steps_per_execution: Training steps in a call of the compiled function.
    """

    width: int
    rank: int
    batch: int = 256
    steps_per_execution: int = 1

    @property
    def training(self) -> str:
        """The name of what is measured when it is trained."""
        steps = self.steps_per_execution
        return "training" if steps == 1 else f"training, {steps} steps a call"

    @property
    def kernel_shapes(self) -> list[tuple[int, int]]:
        """Shapes of the kernels of the hidden layers."""
        return [(INPUTS, self.width)] + [(self.width, self.width)] * (HIDDEN_LAYERS - 1)


def make_network(kind: str, case: Case) -> keras.Model:
    """A compiled network with four hidden layers.

    Args:
        kind: One of `KINDS`. `"two-factor"` has two plain Dense layers in place of
            each hidden layer: the same products without geometry, the floor for a
            low-rank step. The adaptive ones choose a rank at every step, between
            bounds that leave them no choice but that of the case.
        case: The size.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
    low_rank: dict[str, Any] | None = None
    if kind in (DENSE, TWO_FACTOR):
        model = _make_plain_network(
            case.width, case.rank if kind == TWO_FACTOR else None
        )
    else:
        model = make_low_rank_network(case.width, [case.rank] * HIDDEN_LAYERS)
        low_rank = {"integrator": kind.removesuffix(_ADAPTIVE)}
        if kind.endswith(_ADAPTIVE):
            low_rank |= {"tolerance": 0.1, "truncation_interval": 1}
            low_rank |= {"min_rank": case.rank, "max_rank": case.rank}
    adam = keras.optimizers.Adam(LEARNING_RATE)
    steps = case.steps_per_execution
    return compile_model(model, adam, low_rank, steps_per_execution=steps)


def make_low_rank_network(width: int, ranks: Iterable[int]) -> dlrt.Model:
    """A network with low-rank hidden layers, not compiled."""
    inputs = x = keras.Input((INPUTS,))
    for rank in ranks:
        x = dlrt.layers.LowRankDense(width, rank=rank, activation="relu")(x)
    return dlrt.Model(inputs, keras.layers.Dense(CLASSES)(x))


def compile_model(
    model: keras.Model,
    optimizer: Any,
    low_rank: Mapping[str, Any] | None = None,
    **options: Any,
) -> keras.Model:
    """Compiles a classifier and returns it.

    Args:
        model: The model; its outputs are logits.
        optimizer: The optimizer.
        low_rank: Options of `LowRank`, which wraps the optimizer unless this is `None`.
        options: Of `compile`.
    """
    if low_rank is not None:
        optimizer = dlrt.optimizers.LowRank(optimizer, **low_rank)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **options)
    return model


def images(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels: no time depends on what is in them."""
    random = np.random.default_rng(0)
    return (
        random.standard_normal((number, INPUTS), dtype=np.float32),
        random.integers(0, CLASSES, number),
    )


def _make_plain_network(width: int, rank: int | None) -> keras.Model:
    inputs = x = keras.Input((INPUTS,))
    for _ in range(HIDDEN_LAYERS):
        if rank is not None:
            x = keras.layers.Dense(rank, use_bias=False)(x)
        x = keras.layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
