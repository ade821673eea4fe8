"""A training step with one gradient for each phase of the integrator (JAX)."""

from collections.abc import Callable
from typing import Any

import jax
import keras
from jax.extend import core as jax_core
from keras import ops

from dlrt.layers.recording import Recording, recording
from dlrt.training._augmented_gradients import augmented_gradients
from dlrt.training._phased_step import phased_step
from dlrt.training.optimizer import LowRank

Tensor = Any


def train_step(
    model: keras.Model, optimizer: LowRank, state: tuple, data: Any
) -> tuple[dict[str, Any], tuple]:
    """`keras.Model.train_step` with a gradient for each phase, on one batch."""
    trainable, non_trainable, optimizer_variables, metrics_variables = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    records: list[Recording] = []

    def compute_loss(trainable: list, probes: list | None) -> tuple[Tensor, tuple]:
        with recording(Recording(_trace, probes)) as record:
            loss, auxiliary = model.compute_loss_and_updates(
                trainable,
                non_trainable,
                metrics_variables,
                x,
                y,
                sample_weight,
                training=True,
                optimizer_variables=optimizer_variables,
            )
        records.append(record)
        # Without probes the inputs may be inaccessible.
        return loss, (auxiliary, [] if probes is None else record.inputs)

    differentiate = jax.value_and_grad(compute_loss, argnums=(0, 1), has_aux=True)
    probes = None
    if optimizer.integrator.one_pass:
        probes = _probes(compute_loss, trainable, records)
    weights = model.trainable_variables
    if len(weights) != len(optimizer._trainable_variables):
        raise ValueError(
            f"The optimizer is for {len(optimizer._trainable_variables)} variables, "
            f"and {len(weights)} are trainable. Call `compile` with a new optimizer "
            "after a change of `trainable`."
        )
    variables = [*weights, *model.optimizer.variables]
    values = [*trainable, *optimizer_variables]
    first: Any = None
    with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
        step = phased_step(model.optimizer, optimizer, weights)
    for index in range(len(optimizer.integrator.phases)):
        if index == 0 or probes is None:
            (_, (auxiliary, inputs)), (gradients, output_gradients) = differentiate(
                trainable, probes
            )
            unscaled_loss, prediction, non_trainable, metrics_variables = auxiliary
            first = first or (unscaled_loss, prediction)
        else:
            gradients = augmented_gradients(
                optimizer.steps(weights, index),
                weights,
                trainable,
                gradients,
                list(zip(records[-1].layers, inputs, output_gradients, strict=True)),
            )
        with scope:
            step.apply(index, gradients)
        trainable = [scope.get_current_value(weight) for weight in weights]
    with scope:
        step.finish()
    trainable, optimizer_variables = (
        [scope.get_current_value(variable) for variable in part]
        for part in (weights, model.optimizer.variables)
    )
    logs, metrics_variables = model._update_metrics_variables(
        metrics_variables, *first[:1], x, y, first[1], sample_weight
    )
    return logs, (trainable, non_trainable, optimizer_variables, metrics_variables)


def _probes(
    compute_loss: Callable, trainable: list, records: list[Recording]
) -> list[Tensor] | None:
    """Zeros like the outputs of the low-rank products of a pass.

    Their gradients are those of the outputs. `None` if these would not account for all
    of the gradients of low-rank layers.
    """

    def products(trainable: list) -> list[Tensor]:
        compute_loss(trainable, None)
        return records[-1].outputs if records[-1].complete else []

    shapes = jax.eval_shape(products, trainable)
    if not records[-1].complete:
        return None
    return [ops.zeros(shape.shape, shape.dtype) for shape in shapes]


def _trace() -> Any:
    """The trace that operations are put in."""
    return jax_core.get_opaque_trace_state(convention="flax")
