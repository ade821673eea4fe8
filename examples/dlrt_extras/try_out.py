"""Trains, saves, loads, converts and compresses with what `dlrt_extras` adds.

Run it with the folder for its files: `python try_out.py FOLDER`.
"""

import sys
from pathlib import Path

import dlrt_extras
import keras
import numpy as np

import dlrt

folder = Path(sys.argv[1])
keras.utils.set_random_seed(0)

# The data set, the integrator.
data = dlrt.datasets.load("gratings")
assert data.num_classes == 4 and data.x_train.shape == (8000, 28, 28)
x, y = data.x_train.reshape(len(data.x_train), -1), data.y_train
model = dlrt.Model(
    inputs := keras.Input((784,)),
    keras.layers.Dense(4)(
        dlrt.layers.LowRankDense(64, rank=16, activation="relu")(inputs)
    ),
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(
    dlrt.optimizers.LowRank(keras.optimizers.Adam(3e-3), "orthographic"),
    loss,
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=50, epochs=2, verbose=0)
u = model.layers[1].factors.u
assert np.abs(u.T @ u - np.eye(16)).max() < 1e-5
accuracy = model.evaluate(x, y, verbose=0)[1]
assert accuracy > 0.9, accuracy
model.save(folder / "trained.keras")
again = keras.saving.load_model(folder / "trained.keras")
assert again.optimizer.integrator.name == "orthographic"
again.fit(x, y, batch_size=50, epochs=1, verbose=0)

# The structure, the allocation.
dense = dlrt.to_dense(model)
smaller, report = dlrt.compress(
    dense,
    "svd",
    {"ratio": 3.0},
    layers=dense.layers[1].name,
    structure="interpolative",
    allocation="greedy",
)
assert dlrt.accounting.parameter_count(smaller) < dense.count_params() / 2.9
columns = smaller.layers[1].layers[0].kernel
kernel = np.asarray(dense.layers[1].kernel)
assert all(np.any(np.all(kernel == c[:, None], 0)) for c in np.asarray(columns).T)

# The layer and its conversion.
for padding in ("valid", "same"):
    for size, strides in ((4, 2), (3, 1), (2, 3)):
        plain = keras.Sequential(
            [
                keras.Input((9, 6)),
                keras.layers.Conv1DTranspose(5, size, strides, padding, name="t"),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(3),
            ]
        )
        z = np.random.default_rng(1).standard_normal((8, 9, 6)).astype("float32")
        low_rank = dlrt.convert(plain, rank=6, layers="t")
        assert type(low_rank.layers[0]) is dlrt_extras.LowRankConv1DTranspose
        outputs = [
            keras.ops.convert_to_numpy(m(z))
            for m in (
                plain,
                low_rank,
                dlrt.to_dense(low_rank),
                dlrt.merge(dlrt.convert(plain, rank=6, layers="t")),
            )
        ]
        for other in outputs[1:]:
            np.testing.assert_allclose(other, outputs[0], atol=2e-5)
        # 9 positions, two factors of rank 4.
        reduced = dlrt.convert(plain, rank=4, layers="t")
        flops = dlrt.accounting.layer_flops(reduced.layers[0], (None, 9, 6))
        assert flops == 2 * 9 * min(4 * (6 + size * 5), 6 * size * 5), flops
low_rank = dlrt.convert(plain, rank=3, layers="t")
trained = dlrt.Model(low_rank.inputs, low_rank.outputs)
trained.compile(
    dlrt.optimizers.LowRank(
        keras.optimizers.Adam(1e-2), "augmented_bug", tolerance=0.1
    ),
    loss,
)
labels = np.arange(8) % 3
history = trained.fit(z, labels, epochs=8, verbose=0).history["loss"]
assert history[-1] < history[0]
trained.save(folder / "convolution.keras")
loaded = keras.saving.load_model(folder / "convolution.keras")
np.testing.assert_allclose(loaded(z), trained(z), atol=1e-6)
