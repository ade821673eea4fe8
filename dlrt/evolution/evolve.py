"""Widths that follow the singular values of their channels during training."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras.src.utils import io_utils  # not exported by Keras

from dlrt.checks import check_integer, check_positive_integer, is_number
from dlrt.evolution._allocation import Bound, count_entries, grow, shrink
from dlrt.evolution._channels import Observation, count_above
from dlrt.evolution._costs import (
    list_memory_terms,
    list_parameter_terms,
    training_memory,
)
from dlrt.evolution._observation import check_data, observe
from dlrt.evolution._surgery import change_widths
from dlrt.evolution._widths import ModelWidths, find_widths


class Evolve(keras.callbacks.Callback):
    """Prunes and grows the widths of a model during `fit`.

    At the beginning of an epoch, each width of the model (see
    `dlrt.evolution.widths`) is compared with the singular values of its channels, on a
    sample of data and as the next layers see them (`dlrt.evolution.singular_values`):

    * As many channels stay as there are singular values above `threshold` times the
      largest: those that represent all channels best. The layers that read them are
      corrected by least squares: Chee et al., 2022, arXiv:2108.00065. Where a sum
      ties widths, as in residual networks, the singular values are those of the sum.
    * Where the smallest singular value stays above `grow_threshold` times the largest,
      channels are added. The columns that make them are orthogonal to the present
      ones, and nothing reads them at first. To give them time to learn, `threshold`
      is ignored for this width during the next `patience` changes.
    * With `max_parameters`, widths shrink further, by the same factor in the number of
      parameters each time, until the model has no more at the beginning of epoch
      `stop`. Channels whose removal adds the least error per parameter saved go first.
      With `max_memory`, the same holds for the bytes of
      `dlrt.evolution.training_memory`; both bounds may be given.

    A change is made before an epoch, so that what is logged and saved after it belongs
    to the present widths. The optimizer keeps its slots for the channels that stay. The
    logs of each epoch get `width/<layer>` and `parameters`, with `max_memory` also
    `memory`, in bytes. Weights of an earlier epoch may have other shapes, so that
    `EarlyStopping` can't restore them; whole models, as
    `keras.callbacks.ModelCheckpoint` saves them, can be loaded.

    Works with Sequential and functional models and any optimizer. Widths that can't
    change are left alone; `dlrt.evolution.pinned` says why, and with `verbose=1` so
    does this callback.

    Args:
        data: Inputs of the model, as for its `predict`: arrays of some thousand
            samples. No labels are needed.
        threshold: In `[0, 1)`.
        grow_threshold: Between `threshold` and 1. Defaults to `None`: widths never
            grow.
        growth: How many channels are added to a width at a time.
        patience: How many times in a row its smallest singular value must be high.
        max_parameters: The most parameters, as `count_params()` counts all variables.
            Growth stays within it too.
        max_memory: The most bytes of weights, gradients, optimizer slots and
            activations of a training step, see `dlrt.evolution.training_memory`.
        training_batch_size: Samples in a step of `fit`. Needed with `max_memory`.
        min_width: The smallest size that a width may shrink to.
        start: The first epoch, counted from 0, before which widths may change.
        stop: The last such epoch. Defaults to the last of `fit`; needed with
            `max_parameters` and `max_memory`.
        every: Epochs from one change to the next.
        batch_size: How many samples of `data` at a time.
        seed: For the new columns.
        verbose: 0 or 1. With 1, changes are printed.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((16,)),
    ...     keras.layers.Dense(64, activation="relu", name="hidden"),
    ...     keras.layers.Dense(2)])
    >>> model.compile("adam", "mse")
    >>> x = np.random.default_rng(0).normal(size=(256, 16)).astype("float32")
    >>> evolve = dlrt.callbacks.Evolve(x, max_parameters=200, stop=2)
    >>> history = model.fit(x, x[:, :2], epochs=3, verbose=0, callbacks=[evolve])
    >>> history.history["parameters"]
    [1218, 477, 192]
    >>> model.layers[0].units
    10
    """

    def __init__(
        self,
        data: Any,
        threshold: float = 0.01,
        grow_threshold: float | None = None,
        growth: int = 4,
        patience: int = 2,
        max_parameters: int | None = None,
        max_memory: int | None = None,
        training_batch_size: int | None = None,
        min_width: int = 1,
        start: int = 1,
        stop: int | None = None,
        every: int = 1,
        batch_size: int = 256,
        seed: int = 0,
        verbose: int = 0,
    ) -> None:
        self._data = check_data(data)
        if not (is_number(threshold) and 0 <= threshold < 1):
            raise ValueError(
                f"`threshold` must lie in [0, 1). Received: threshold={threshold!r}"
            )
        if grow_threshold is not None and not (
            is_number(grow_threshold) and threshold < grow_threshold < 1
        ):
            raise ValueError(
                f"`grow_threshold` must lie between threshold={threshold} and 1. "
                f"Received: grow_threshold={grow_threshold!r}"
            )
        for name, value in (
            ("growth", growth),
            ("patience", patience),
            ("min_width", min_width),
            ("every", every),
            ("batch_size", batch_size),
        ):
            check_positive_integer(name, value)
        most_of = {"max_parameters": max_parameters, "max_memory": max_memory}
        limits = {name: most for name, most in most_of.items() if most is not None}
        for name, most in limits.items():
            check_positive_integer(name, most)
            if stop is None:
                raise ValueError(
                    "`stop` must say before which epoch the model is to have no more "
                    f"than {name}={most}. Received: stop=None"
                )
        if training_batch_size is not None:
            check_positive_integer("training_batch_size", training_batch_size)
        elif max_memory is not None:
            raise ValueError(
                "`training_batch_size` must be that of fit, since activations count, "
                f"with max_memory={max_memory}. Received: training_batch_size=None"
            )
        check_integer("start", start, least=0)
        check_integer("seed", seed, least=0)
        if stop is not None:
            check_integer("stop", stop, least=0)
            if stop < start:
                raise ValueError(
                    f"`stop` must be at least start={start}. Received: stop={stop}"
                )
        if not (is_number(verbose) or isinstance(verbose, bool)) or (
            verbose not in (0, 1)
        ):
            raise ValueError(f"`verbose` must be 0 or 1. Received: verbose={verbose!r}")
        super().__init__()
        self._threshold = threshold
        self._grow_threshold = grow_threshold
        self._growth = growth
        self._patience = patience
        self._limits = limits
        self._training_batch_size = training_batch_size or 1
        self._min_width = min_width
        self._start = start
        self._stop = stop
        self._every = every
        self._batch_size = batch_size
        self._rng = np.random.default_rng(seed)
        self._verbose = verbose
        # How many times in a row the smallest singular value of a width was high;
        # negative for a width that has grown: how many more times it is spared.
        self._streaks: dict[str, int] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Looks for the widths of the model.

        Raises:
            ValueError: If the model is neither Sequential nor functional or not built,
                no width can change, `max_parameters` or `max_memory` can't be reached,
                or `fit` ends before the schedule.
        """
        self._streaks = {}
        widths = find_widths(self.model)
        if not widths.free:
            raise ValueError(
                "The model must have widths that can change. Received: a model where "
                f"none can: {widths.pinned}"
            )
        self._check_schedule()
        smallest = self._find_smallest(widths)
        for bound in self._list_bounds(widths):
            reachable = count_entries(bound.terms, smallest)
            if reachable > bound.most:
                raise ValueError(
                    f"`{bound.name}` must be at least {reachable}, what the model has "
                    f"with min_width={self._min_width}. Received: "
                    f"{bound.name}={bound.most}"
                )
        for name, reason in widths.pinned.items():
            self._say(f"{name} keeps its width: {reason}.")

    def _check_schedule(self) -> None:
        epochs = (self.params or {}).get("epochs")
        if epochs is None:
            return
        if self._start >= epochs:
            raise ValueError(
                f"`start` must be below the number of epochs of fit, {epochs}. "
                f"Received: start={self._start}"
            )
        if self._limits and self._stop is not None and self._stop >= epochs:
            raise ValueError(
                f"`stop` must be below the number of epochs of fit, {epochs}, so "
                "that the model is within its bounds before the last one. Received: "
                f"stop={self._stop}"
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Changes widths, if it is time."""
        late = self._stop is not None and epoch > self._stop
        if epoch < self._start or late or (epoch - self._start) % self._every:
            return
        if self._evolve(epoch):
            self.model.make_train_function(force=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the widths, the number of parameters, and memory if it is bounded."""
        if logs is None:
            return
        for name, width in find_widths(self.model).free.items():
            logs[f"width/{name}"] = width.size
        logs["parameters"] = self.model.count_params()
        if "max_memory" in self._limits:
            memory = training_memory(self.model, self._training_batch_size)
            logs["memory"] = memory.total

    def _evolve(self, epoch: int) -> bool:
        """Changes widths; returns whether any changed."""
        widths = find_widths(self.model)
        before = {name: width.size for name, width in widths.free.items()}
        observed = observe(widths, self._data, self._batch_size)
        bounds = self._list_bounds(widths)
        if self._stop is not None:
            steps = 1 + (self._stop - epoch) // self._every
            bounds = [bound.loosen(before, steps) for bound in bounds]
        smallest = self._find_smallest(widths)
        sizes = dict(before)
        for name, one in observed.items():
            if self._streaks.get(name, 0) >= 0:
                above = count_above(one.singular_values, self._threshold)
                sizes[name] = max(smallest[name], above)
        errors = {name: one.selection.errors for name, one in observed.items()}
        for bound in bounds:
            sizes = shrink(sizes, errors, bound, smallest)
        if self._grow_threshold is not None:
            self._count_streaks(observed, self._grow_threshold)
            streaks = {
                n: self._streaks[n] for n, size in before.items() if sizes[n] == size
            }
            sizes = grow(sizes, streaks, bounds, self._growth, self._patience)
            grown = [name for name, size in before.items() if sizes[name] > size]
            self._streaks |= dict.fromkeys(grown, -self._patience)
        after = change_widths(self.model, widths, sizes, observed, self._rng)
        changes = [
            f"{name} {before[name]} to {size}"
            for name, size in after.items()
            if size != before[name]
        ]
        if changes:
            count = self.model.count_params()
            self._say(f"{', '.join(changes)}: {count:,} parameters.")
        return bool(changes)

    def _find_smallest(self, widths: ModelWidths) -> dict[str, int]:
        return {name: min(self._min_width, w.size) for name, w in widths.free.items()}

    def _count_streaks(
        self, observed: Mapping[str, Observation], threshold: float
    ) -> None:
        for name, one in observed.items():
            streak = self._streaks.get(name, 0)
            high = one.singular_values[-1] > threshold * one.singular_values[0]
            self._streaks[name] = streak + 1 if streak < 0 or high else 0

    def _list_bounds(self, widths: ModelWidths) -> list[Bound]:
        """The bounds that the model must be within at the end."""
        free, terms = widths.free.values(), {}
        if "max_parameters" in self._limits:
            terms["max_parameters"] = list_parameter_terms(self.model, free)
        if "max_memory" in self._limits:
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
            batch_size = self._training_batch_size
            terms["max_memory"] = list_memory_terms(self.model, free, batch_size)
        return [Bound(name, terms[name], most) for name, most in self._limits.items()]

    def _say(self, text: str) -> None:
        if self._verbose:
            io_utils.print_msg(f"Evolve: {text}")
