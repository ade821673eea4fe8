"""The learning rate of a transformer: it rises, then falls with the steps."""

from typing import Any

import keras
from keras import ops

from experiments.translation.config import WARM_UP_STEPS, Config


@keras.saving.register_keras_serializable(package="dlrt_translation")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """`factor d^-½ min(step^-½, step warm_up_steps^-3/2)` (Vaswani et al., 5.3).

    The width of the network is `d`, or `dim`, and the rate rises for `warm_up_steps`
    steps.
    """

    def __init__(self, dim: int, warm_up_steps: int, factor: float = 1.0) -> None:
        self.dim = dim
        self.warm_up_steps = warm_up_steps
        self.factor = factor

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32") + 1.0
        rate = ops.minimum(step**-0.5, step * self.warm_up_steps**-1.5)
        return self.factor * self.dim**-0.5 * rate

    def get_config(self) -> dict[str, Any]:
        return {
            "dim": self.dim,
            "warm_up_steps": self.warm_up_steps,
            "factor": self.factor,
        }


def learning_rate(config: Config) -> WarmUp:
    """The schedule of a run, with its number of warm-up steps.

    The peak of Vaswani et al. rises as the warm-up gets shorter, until short runs
    diverge: here it is never above that of the usual warm-up.
    """
    share = min(1.0, config.warm_up_steps / WARM_UP_STEPS)
    factor = config.learning_rate_factor * share**0.5
    return WarmUp(config.dim, config.warm_up_steps, factor)
