"""How networks are compiled for training."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

import dlrt
from experiments.runs.network_settings import ImageSettings, LowRankSettings
from experiments.runs.phases import Phase

# Steps that TensorFlow runs without returning to Python, which is a third of the time
# of a step at width 500. JAX would compile each of them.
_STEPS_PER_EXECUTION = 16

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def low_rank(
    optimizer: keras.optimizers.Optimizer,
    settings: LowRankSettings,
    schedule: Mapping[str, int | None] | None,
) -> keras.optimizers.Optimizer:
    """Wraps an optimizer, unless the network is dense.

    Ranks change as the schedule says, see `Phase.truncation`.
    """
    if settings.integrator is None:
        return optimizer
    adaptation: dict[str, Any] = {}
    if schedule is not None:
        bounds = {"tolerance": settings.tolerance, "max_rank": settings.max_rank}
        adaptation = bounds | schedule
    return dlrt.optimizers.LowRank(
        optimizer, integrator=settings.integrator, **adaptation
    )


def compile_classifier(
    model: keras.Model,
    settings: ImageSettings,
    phase: Phase,
    steps_per_epoch: int,
    *,
    momentum: float,
    metrics: Sequence[Any] = ("accuracy",),
) -> None:
    """Compiles a network that classifies for a phase of its training.

    Args:
        model: The network, whose outputs are logits.
        settings: The settings of the run.
        phase: The phase.
        steps_per_epoch: Number of batches.
        momentum: Momentum of SGD.
        metrics: The metrics besides the loss.
    """
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        steps = phase.epochs * steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    momenta = {"momentum": momentum} if settings.optimizer == "sgd" else {}
    optimizer = _OPTIMIZERS[settings.optimizer](rate, **momenta)
    optimizer = low_rank(optimizer, settings, phase.truncation(steps_per_epoch))
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
        steps_per_execution=steps_per_execution(steps_per_epoch),
    )


def steps_per_execution(steps_per_epoch: int) -> int:
    """How many steps of an epoch to run at a time."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return min(_STEPS_PER_EXECUTION, steps_per_epoch)
