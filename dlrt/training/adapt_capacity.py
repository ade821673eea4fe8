"""Fits variables to adapted ranks between epochs."""

from typing import Any

import keras

from dlrt.training import capacity


class AdaptCapacity(keras.callbacks.Callback):
    """Fits the variables of low-rank layers to their ranks after every epoch.

    `dlrt.Model.fit` brings this callback itself; add it to the `fit` of a plain
    `keras.Model` so that the time and memory of a step follow the rank there too. Each
    change traces the training step again, so changes are few: variables shrink when the
    rank has fallen so far below their width that it pays, and grow when it has reached
    their width.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Weights of other ranks may have been loaded, as by `BackupAndRestore`.
        self.model.make_train_function()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if capacity.adapt(self.model):
            self.model.make_train_function(force=True)
