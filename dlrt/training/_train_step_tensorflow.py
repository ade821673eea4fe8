"""A training step with one gradient for each phase of the integrator (TensorFlow)."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import tree

from dlrt.layers.recording import Recording, recording
from dlrt.training._augmented_gradients import Product, augmented_gradients
from dlrt.training._phased_step import phase_weights, phased_step
from dlrt.training.optimizer import LowRank

Tensor = Any


class _Pass(NamedTuple):
    """A pass through the model and back.

    Attributes:
        prediction: The output of the model.
        loss: The unscaled loss.
        gradients: The gradients of the weights, `None` for those not needed.
        products: Layer, input and gradient of the output of each low-rank product;
            `None` if they don't account for all of the gradients of kernels.
    """

    prediction: Any
    loss: Tensor
    gradients: list[Tensor]
    products: list[Product] | None


def train_step(model: keras.Model, optimizer: LowRank, data: Any) -> dict[str, Any]:
    """`keras.Model.train_step` with a gradient for each phase, on one batch."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    weights = model.trainable_weights
    first = _differentiate(model, optimizer, 0, x, y, sample_weight)
    batch = tf.shape(next(i for i in tree.flatten(x) if i is not None))[0]
    # Keras divides a replica's loss, so that gradients can be summed.
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    model._loss_tracker.update_state(first.loss * replicas, sample_weight=batch)
    step = phased_step(model.optimizer, optimizer, weights)
    for index in range(len(optimizer.integrator.phases)):
        if index == 0:
            gradients = first.gradients
        elif first.products is not None:
            values = [tf.convert_to_tensor(weight) for weight in weights]
            gradients = augmented_gradients(
                optimizer.steps(weights, index),
                weights,
                values,
                first.gradients,
                first.products,
            )
        else:
            later = _differentiate(model, optimizer, index, x, y, sample_weight)
            gradients = later.gradients
        step.apply(index, gradients)
    step.finish()
    return model.compute_metrics(x, y, first.prediction, sample_weight=sample_weight)


def _differentiate(
    model: keras.Model,
    optimizer: LowRank,
    phase: int,
    x: Any,
    y: Any,
    sample_weight: Any,
) -> _Pass:
    """One pass, with the gradients that a phase needs; all, if one pass may suffice."""
    weights = model.trainable_weights
    with tf.GradientTape() as tape, recording(Recording(_graph)) as record:
        prediction = model(x, training=True)
        loss = model._compute_loss(
            x=x, y=y, y_pred=prediction, sample_weight=sample_weight, training=True
        )
        scaled = model.optimizer.scale_loss(loss)
    wanted = phase_weights(optimizer.integrator, phase, weights)
    outputs: list[Tensor] = []
    if optimizer.integrator.one_pass and record.complete:
        wanted = {id(w) for w in weights}
        outputs = record.outputs
    sources = [w for w in weights if id(w) in wanted]
    found = tape.gradient(scaled, sources + outputs)
    by_id = dict(zip(map(id, sources), found, strict=False))
    output_gradients = found[len(sources) :]
    products = None
    # Rematerialised layers have no such gradient. Nor have outputs on which nothing
    # depends, although these need no second pass.
    if outputs and all(g is not None for g in output_gradients):
        products = list(
            zip(record.layers, record.inputs, output_gradients, strict=True)
        )
    gradients = [by_id.get(id(weight)) for weight in weights]
    return _Pass(prediction, loss, gradients, products)


def _graph() -> Any:
    """The graph to which operations are added, `None` in eager execution."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
