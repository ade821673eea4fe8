"""Ranks and compression as metrics of an epoch."""

from typing import Any

import keras

from dlrt import accounting


class RankLog(keras.callbacks.Callback):
    """Adds ranks and compression to the logs of every epoch.

    They appear in Keras's progress bar, in `History.history` and in every logger that
    comes after this callback, as `rank/<layer name>`, `parameters` (needed for
    prediction) and `compression` (share of the dense model's parameters saved).

    Example:

    >>> history = model.fit(x, y, callbacks=[dlrt.callbacks.RankLog()])
    >>> sorted(history.history)
    ['compression', 'loss', 'parameters', 'rank/low_rank_dense']
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None:
            return
        for name, rank in accounting.ranks(self.model).items():
            logs[f"rank/{name}"] = rank
        logs["parameters"] = accounting.parameter_count(self.model)
        logs["compression"] = accounting.compression(self.model)
