"""A training step with one gradient for each phase of the integrator (TensorFlow)."""

from typing import Any

import keras
import tensorflow as tf
from keras import tree

from dlrt.optimizers import LowRank
from dlrt.optimizers._layer_step import phase_variables


def train_step(model: keras.Model, optimizer: LowRank, data: Any) -> dict[str, Any]:
    """`keras.Model.train_step` with a gradient for each phase, on one batch."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    weights = model.trainable_weights
    first_prediction = None
    for index in range(len(optimizer.integrator.phases)):
        wanted = phase_variables(optimizer, index, weights)
        with tf.GradientTape() as tape:
            prediction = model(x, training=True)
            loss = model._compute_loss(
                x=x,
                y=y,
                y_pred=prediction,
                sample_weight=sample_weight,
                training=True,
            )
            if first_prediction is None:
                first_prediction = prediction
                batch = tf.shape(next(i for i in tree.flatten(x) if i is not None))[0]
                # Keras divides a replica's loss, so that gradients can be summed.
                replicas = tf.distribute.get_strategy().num_replicas_in_sync
                model._loss_tracker.update_state(loss * replicas, sample_weight=batch)
            loss = model.optimizer.scale_loss(loss)
        found = iter(tape.gradient(loss, [w for w in weights if id(w) in wanted]))
        gradients = [next(found) if id(w) in wanted else None for w in weights]
        with optimizer.phase(index):
            model.optimizer.apply(gradients, weights)
    return model.compute_metrics(x, y, first_prediction, sample_weight=sample_weight)
