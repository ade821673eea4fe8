"""A trained weight matrix to look at."""

import keras
import numpy as np

from dlrt import datasets

_UNITS = (64, 40)
_SEED = 0
# A strong penalty: what training does not need decays, as the singular values show.
_DECAY = 0.02
_EPOCHS = 30


def trained_kernel() -> np.ndarray:
    """The kernel of the second hidden layer of a small network, trained on the digits.

    Takes some seconds.
    """
    keras.utils.set_random_seed(_SEED)
    data = datasets.load("digits")
    hidden = [
        keras.layers.Dense(
            units,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(_DECAY),
        )
        for units in _UNITS
    ]
    model = keras.Sequential(
        [
            keras.Input(data.x_train.shape[1:]),
            keras.layers.Flatten(),
            *hidden,
            keras.layers.Dense(data.num_classes),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(data.x_train, data.y_train, epochs=_EPOCHS, batch_size=128, verbose=0)
    return keras.ops.convert_to_numpy(hidden[-1].kernel)
