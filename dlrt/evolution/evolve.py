"""Widths that follow the singular values of what layers make."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.utils import io_utils  # not exported by Keras

from dlrt.checks import check_integer, check_positive_integer, is_number
from dlrt.evolution import _allocation, _channels, _features, _model
from dlrt.evolution._memory import memory_terms, training_memory
from dlrt.evolution._surgery import Surgery
from dlrt.evolution._widths import Found, find, terms


class _Bound(NamedTuple):
    """The most that a model may have of something.

    Attributes:
        name: The argument that says it.
        terms: What is counted, by the widths of the model.
        most: The bound.
    """

    name: str
    terms: list[_allocation.Term]
    most: float


class Evolve(keras.callbacks.Callback):
    """Prunes and grows the widths of a model during `fit`.

    At the beginning of an epoch, each width of the model (see
    `dlrt.evolution.widths`) is compared with the singular values of what the layer
    makes, on a sample of data and as the next layers weigh it
    (`dlrt.evolution.singular_values`):

    * As many channels stay as there are singular values above `threshold` times the
      largest. They are chosen to stand for all channels, and the layers that read them
      are corrected by least squares: Chee et al., 2022, arXiv:2108.00065. Where a sum
      ties widths, as in residual networks, the singular values are those of the sum.
    * Where the smallest singular value stays above `grow_threshold` times the largest,
      channels are added. The columns that make them are orthogonal to the present
      ones, and nothing reads them at first, so they get some time to learn: for the
      next `patience` changes the threshold does not count for this width.
    * With `max_parameters`, widths shrink further, by the same factor in the number of
      parameters each time, until the model has no more at the beginning of epoch
      `stop`. Where the least error is added for a parameter saved, channels go first.
      With `max_memory`, the same holds for the bytes of
      `dlrt.evolution.training_memory`; both bounds may be given.

    A change is made before an epoch, so what is logged and saved after it is measured
    at the widths that the model has, and the optimizer keeps what it knows of the
    channels that stay. The logs of each epoch get `width/<layer>` and `parameters`,
    with `max_memory` also `memory`, in bytes. Weights of an earlier epoch may have
    other shapes, so that `EarlyStopping` can't restore them; whole models, as
    `keras.callbacks.ModelCheckpoint` saves them, can be loaded.

    Works with Sequential and functional models and any optimizer. Widths that can't
    change are left alone; `dlrt.evolution.pinned` says why, and with `verbose=1` so
    does this callback.

    Args:
        data: Inputs of the model, as for its `predict`: arrays, with some thousand
            samples. No labels are needed.
        threshold: In `[0, 1)`.
        grow_threshold: Between `threshold` and 1. Defaults to `None`: widths never
            grow.
        growth: How many channels are added to a width at a time.
        patience: How many times in a row its smallest singular value must be high.
        max_parameters: As `count_params()` counts, with all variables. Nothing grows
            beyond that either, once it is reached.
        max_memory: Bytes of weights, gradients, optimizer slots and activations of a
            step of training, see `dlrt.evolution.training_memory`.
        training_batch_size: Samples in a step of `fit`. Needed with `max_memory`.
        min_width: Below it no width falls.
        start: First epoch, counted from 0, before which widths may change.
        stop: The last such epoch. Defaults to the last of `fit`; needed with
            `max_parameters` and `max_memory`.
        every: Epochs from one change to the next.
        batch_size: How many samples of `data` at a time.
        seed: Of new columns.
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
        self._data = _model.check_data(data)
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
        for name, most in (
            ("max_parameters", max_parameters),
            ("max_memory", max_memory),
        ):
            if most is None:
                continue
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
                "`training_batch_size` must be that of fit for activations to be "
                f"counted, with max_memory={max_memory}. Received: "
                "training_batch_size=None"
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
        self._max_parameters = max_parameters
        self._max_memory = max_memory
        self._training_batch_size = training_batch_size
        self._min_width = min_width
        self._start = start
        self._stop = stop
        self._every = every
        self._batch_size = batch_size
        self._rng = np.random.default_rng(seed)
        self._verbose = verbose
        # How many times in a row the smallest singular value of a width was high;
        # negative: how many more times it is left alone after it has grown.
        self._high: dict[str, int] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Looks for the widths of the model.

        Raises:
            ValueError: If the model is neither Sequential nor functional or not
                built, no width can change, `max_parameters` or `max_memory` is out of
                reach, or `fit` ends before the schedule.
        """
        self._high = {}
        found = find(self.model)
        if not found.free:
            raise ValueError(
                "The model must have widths that can change. Received: a model where "
                f"none can: {found.pinned}"
            )
        self._check_schedule()
        smallest = {n: self._smallest(w.size) for n, w in found.free.items()}
        for bound in self._bounds(found):
            reachable = _allocation.count(bound.terms, smallest)
            if reachable > bound.most:
                raise ValueError(
                    f"`{bound.name}` must be at least {reachable}, what the model has "
                    f"with min_width={self._min_width}. Received: "
                    f"{bound.name}={bound.most}"
                )
        for name, reason in found.pinned.items():
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
        bounded = (self._max_parameters, self._max_memory) != (None, None)
        if bounded and self._stop is not None and self._stop >= epochs:
            raise ValueError(
                f"`stop` must be below the number of epochs of fit, {epochs}, for the "
                "model to be within its bounds before the last one. Received: "
                f"stop={self._stop}"
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Changes widths, if it is time."""
        if epoch < self._start or (epoch - self._start) % self._every:
            return
        if self._stop is not None and epoch > self._stop:
            return
        if self._evolve(epoch):
            self.model.make_train_function(force=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the widths, the number of parameters, and memory if it is bounded."""
        if logs is not None:
            for name, size in _model.widths(self.model).items():
                logs[f"width/{name}"] = size
            logs["parameters"] = self.model.count_params()
            batch_size = self._training_batch_size
            if self._max_memory is not None and batch_size is not None:
                logs["memory"] = training_memory(self.model, batch_size).total

    def _evolve(self, epoch: int) -> bool:
        """Changes widths; returns whether any changed."""
        found = find(self.model)
        before = {name: width.size for name, width in found.free.items()}
        readings = _features.read(found, self._data, self._batch_size)
        moments = {n: _channels.weighted(several) for n, several in readings.items()}
        values = {n: _channels.singular_values(m) for n, m in moments.items()}
        selections = {n: _channels.select(m) for n, m in moments.items()}
        bounds = [self._now(bound, before, epoch) for bound in self._bounds(found)]
        shrunk = self._shrunk(found, values, selections, bounds)
        surgery = Surgery(self.model)
        for name, size in shrunk.items():
            if size < before[name]:
                order = selections[name].order
                surgery.keep(found.free[name], order[:size], readings[name])
        for name, count in self._grown(found, values, shrunk, bounds).items():
            surgery.add(found.free[name], count, self._rng)
        surgery.perform()
        after = {name: width.size for name, width in found.free.items()}
        changes = [
            f"{n} {before[n]} to {after[n]}" for n in after if after[n] != before[n]
        ]
        if changes:
            count = self.model.count_params()
            self._say(f"{', '.join(changes)}: {count:,} parameters.")
        return bool(changes)

    def _shrunk(
        self,
        found: Found,
        values: dict[str, np.ndarray],
        selections: dict[str, _channels.Selection],
        bounds: list[_Bound],
    ) -> dict[str, int]:
        smallest = {n: self._smallest(w.size) for n, w in found.free.items()}
        sizes = {}
        for name, width in found.free.items():
            high = _channels.above(values[name], self._threshold)
            learning = self._high.get(name, 0) < 0
            sizes[name] = width.size if learning else max(smallest[name], high)
        errors = {name: selection.errors for name, selection in selections.items()}
        # What is within the first bound stays so, since nothing grows here.
        for bound in bounds:
            sizes = _allocation.shrink(sizes, errors, bound.terms, bound.most, smallest)
        return sizes

    def _grown(
        self,
        found: Found,
        values: dict[str, np.ndarray],
        sizes: dict[str, int],
        bounds: list[_Bound],
    ) -> dict[str, int]:
        """How many channels to add to which widths."""
        if self._grow_threshold is None:
            return {}
        sizes, grown = dict(sizes), {}
        for name, width in found.free.items():
            times = self._high.get(name, 0)
            if times < 0:
                self._high[name] = times + 1
                continue
            high = values[name][-1] > self._grow_threshold * values[name][0]
            times = times + 1 if high else 0
            if sizes[name] == width.size and times >= self._patience:
                larger = sizes | {name: sizes[name] + self._growth}
                if all(_allocation.count(b.terms, larger) <= b.most for b in bounds):
                    grown[name], sizes = self._growth, larger
                    times = -self._patience
            self._high[name] = times
        return grown

    def _bounds(self, found: Found) -> list[_Bound]:
        """What the model must be within at the end."""
        widths, bounds = found.free.values(), []
        if self._max_parameters is not None:
            counted = terms(self.model, widths)
            bounds.append(_Bound("max_parameters", counted, self._max_parameters))
        if self._max_memory is not None and self._training_batch_size is not None:
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
            counted = memory_terms(self.model, widths, self._training_batch_size)
            bounds.append(_Bound("max_memory", counted, self._max_memory))
        return bounds

    def _now(self, bound: _Bound, sizes: dict[str, int], epoch: int) -> _Bound:
        """A bound as it is from this epoch on."""
        if self._stop is None:
            return bound
        changes = 1 + (self._stop - epoch) // self._every
        share = max(1.0, _allocation.count(bound.terms, sizes) / bound.most)
        return bound._replace(most=bound.most * share ** (1 - 1 / changes))

    def _smallest(self, size: int) -> int:
        return min(self._min_width, size)

    def _say(self, text: str) -> None:
        if self._verbose:
            io_utils.print_msg(f"Evolve: {text}")
