"""Ranks and compression as metrics of an epoch."""

from typing import Any

import keras

from dlrt import accounting


class RankLog(keras.callbacks.Callback):
    """Adds ranks and compression to the logs of every epoch.

    They appear in Keras's progress bar, in `History.history` and in every logger that
    comes after this callback, as `rank/<layer>` (see `dlrt.accounting.named_layers`),
    `parameters` (needed for prediction) and `compression` (share of the dense model's
    parameters saved). The last one is left out where it is not known: without low-rank
    layers and `dense_parameters`.

    Args:
        dense_parameters: Number of parameters of the dense model, see
            `dlrt.accounting.compression`.

    Example:

    >>> layer = dlrt.layers.LowRankDense(8, rank=2, name="hidden")
    >>> model = keras.Sequential([keras.Input((16,)), layer])
    >>> model.compile(dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-3)), "mse")
    >>> history = model.fit(
    ...     np.ones((4, 16)), np.ones((4, 8)), verbose=0,
    ...     callbacks=[dlrt.callbacks.RankLog()])
    >>> sorted(history.history)
    ['compression', 'loss', 'parameters', 'rank/hidden']
    """

    def __init__(self, dense_parameters: int | None = None) -> None:
        super().__init__()
        self._dense_parameters = dense_parameters

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None:
            return
        ranks, dense = accounting.ranks(self.model), self._dense_parameters
        logs |= {f"rank/{name}": rank for name, rank in ranks.items()}
        logs["parameters"] = accounting.parameter_count(self.model)
        if ranks or dense is not None:
            logs["compression"] = accounting.compression(self.model, dense)
