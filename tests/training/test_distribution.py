"""Data parallel training, on two devices that share the processor."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

# Devices must be known before a backend starts, so this is a process of its own.
COMPARE = """
import contextlib, json
import keras, numpy as np
import dlrt


def devices_of(variable):
    if keras.backend.backend() == "tensorflow":
        return len(getattr(variable.value, "values", [0]))
    return len(variable.value.sharding.device_set)


def two_devices():
    if keras.backend.backend() == "tensorflow":
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()
    devices = keras.distribution.list_devices()
    return keras.distribution.DataParallel(devices=devices).scope()


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
random = np.random.default_rng(0)
x = random.standard_normal((256, 12)).astype("float32")
y = (x @ random.standard_normal((12, 3))).argmax(1)


def train(scope):
    keras.utils.set_random_seed(0)
    with scope:
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
    return {
        "devices": devices_of(layer.u),
        "losses": history.history["loss"],
        "rank": layer.rank,
        "error": float(error),
    }


print(json.dumps([train(contextlib.nullcontext()), train(two_devices())]))
"""


@pytest.mark.slow
def test_two_devices_train_as_one():
    flags = (
        f"--xla_force_host_platform_device_count=2 {os.environ.get('XLA_FLAGS', '')}"
    )
    finished = subprocess.run(
        [sys.executable, "-c", COMPARE],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    one, two = json.loads(finished.stdout.splitlines()[-1])
    assert (one["devices"], two["devices"]) == (1, 2)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)
    assert two["rank"] == one["rank"]
    assert one["rank"] < 8
    assert two["error"] < 1e-5
