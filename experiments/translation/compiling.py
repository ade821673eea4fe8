"""How a transformer is trained: optimizer, loss and metrics."""

import keras

from experiments.runs import optimizers, truncation
from experiments.translation.config import WARM_UP_STEPS, Config
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
    schedule = None
    if config.adaptive:
        schedule = truncation.schedule(config.epochs, steps_per_epoch)
    optimizer = optimizers.low_rank(
        keras.optimizers.Adam(
            learning_rate(config), beta_1=0.9, beta_2=0.98, epsilon=1e-9
        ),
        config,
        schedule,
    )
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )


def learning_rate(config: Config) -> WarmUp:
    """The schedule of a run, with its number of warm-up steps.

    The peak of Vaswani et al. rises as the warm-up gets shorter, until short runs
    diverge: here it is never above that of the usual warm-up.
    """
    share = min(1.0, config.warm_up_steps / WARM_UP_STEPS)
    factor = config.learning_rate_factor * share**0.5
    return WarmUp(config.dim, config.warm_up_steps, factor)
