"""Small logs of small runs."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import openpyxl

import dlrt
from dlrt.callbacks import read_history

X = np.linspace(0.0, 1.0, 24, dtype="float32").reshape(8, 3)
Y = X.sum(axis=1, keepdims=True)


def make_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.25), "mse", metrics=["mae"])
    return model


def fit(model, log, epochs, initial_epoch=0, callbacks=()):
    return model.fit(
        X,
        Y,
        validation_data=(X, Y),
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[*callbacks, log],
    )


def write_epochs(log, *epochs):
    for epoch in epochs:
        log.append(epoch, 0.5, {"loss": 1.0 / epoch})


def epochs_in(path):
    return [row["epoch"] for row in read_history(path)[0]]


def header_of(path):
    sheet = openpyxl.load_workbook(path)["history"]
    return [cell.value for cell in sheet[1]]


def files_in(path):
    return sorted(file.name for file in path.parent.iterdir())


class TestSet(keras.callbacks.Callback):
    """Adds what a callback that comes before the log would add."""

    __test__ = False

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"test_loss": 0.5, "test_mae": 0.25, "data/share": 0.125}


def start_python(code, *arguments):
    """A process that writes logs: Keras is there sooner with NumPy alone."""
    root = str(Path(dlrt.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(paths), "KERAS_BACKEND": "numpy"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
