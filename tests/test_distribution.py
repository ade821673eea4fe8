"""Data parallel training, on TensorFlow's logical devices."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow_only

# Devices must be known before TensorFlow starts, so this is a process of its own.
COMPARE = """
import json
import keras, numpy as np, tensorflow as tf
import dlrt

(cpu,) = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
random = np.random.default_rng(0)
x = random.standard_normal((256, 12)).astype("float32")
y = (x @ random.standard_normal((12, 3))).argmax(1)


def train(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((12,))
        layer = dlrt.layers.LowRankDense(16, rank=8, activation="relu")
        model = dlrt.Model(inputs, keras.layers.Dense(3)(layer(inputs)))
        model.compile(
            dlrt.optimizers.LowRank(
                keras.optimizers.Adam(1e-2), "augmented_bug", tolerance=0.4
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    history = model.fit(x, y, batch_size=64, epochs=4, shuffle=False, verbose=0)
    u, _, v = layer.factors
    error = max(abs(b.T @ b - np.eye(layer.rank)).max() for b in (u, v))
    losses = history.history["loss"]
    return {"losses": losses, "rank": layer.rank, "error": float(error)}


one = train(tf.distribute.get_strategy())
two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
print(json.dumps([one, two]))
"""


def test_two_devices_train_as_one():
    finished = subprocess.run(
        [sys.executable, "-c", COMPARE], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    one, two = json.loads(finished.stdout.splitlines()[-1])
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)
    assert two["rank"] == one["rank"]
    assert one["rank"] < 8
    assert two["error"] < 1e-5
