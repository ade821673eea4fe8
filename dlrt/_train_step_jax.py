"""A training step with one gradient for each phase of the integrator (JAX)."""

from typing import Any

import jax
import keras

from dlrt.optimizers import LowRank
from dlrt.optimizers._layer_step import phase_variables


def train_step(
    model: keras.Model, optimizer: LowRank, state: tuple, data: Any
) -> tuple[dict[str, Any], tuple]:
    """`keras.Model.train_step` with a gradient for each phase, on one batch."""
    trainable, non_trainable, optimizer_variables, metrics_variables = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    gradient_function = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
    first: Any = None
    for index in range(len(optimizer.integrator.phases)):
        wanted = phase_variables(optimizer, index, model.trainable_variables)
        (
            (_, (unscaled_loss, prediction, non_trainable, metrics_variables)),
            gradients,
        ) = gradient_function(
            trainable,
            non_trainable,
            metrics_variables,
            x,
            y,
            sample_weight,
            training=True,
            optimizer_variables=optimizer_variables,
        )
        first = first or (unscaled_loss, prediction)
        gradients = [
            gradient if id(variable) in wanted else None
            for gradient, variable in zip(
                gradients, model.trainable_variables, strict=True
            )
        ]
        with optimizer.phase(index):
            trainable, optimizer_variables = model.optimizer.stateless_apply(
                optimizer_variables, gradients, trainable
            )
    logs, metrics_variables = model._update_metrics_variables(
        metrics_variables, *first[:1], x, y, first[1], sample_weight
    )
    return logs, (trainable, non_trainable, optimizer_variables, metrics_variables)
