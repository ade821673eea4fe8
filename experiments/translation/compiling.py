"""How a transformer is trained: optimizer, loss and metrics."""

from typing import Any

import keras

import dlrt
from experiments.translation.config import Config, truncation_schedule
from experiments.translation.network import WarmUp


def compile_model(model: keras.Model, config: Config, steps_per_epoch: int) -> None:
    """Compiles the network for training.

    Loss and accuracy count tokens that are no padding: their weight is 1, that of
    padding 0. The loss of an epoch is a mean over its batches.

    Args:
        model: The network.
        config: The settings of the run, with its number of warm-up steps.
        steps_per_epoch: Number of batches.
    """
    rate = WarmUp(config.dim, config.warm_up_steps, config.learning_rate_factor)
    optimizer = keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.98, epsilon=1e-9)
    if config.integrator is not None:
        adaptation: dict[str, Any] = {}
        if config.adaptive:
            adaptation = {
                "tolerance": config.tolerance,
                "max_rank": config.max_rank,
                **truncation_schedule(config.epochs, steps_per_epoch),
            }
        optimizer = dlrt.optimizers.LowRank(
            optimizer, integrator=config.integrator, **adaptation
        )
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
