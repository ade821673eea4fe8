"""Training of the networks of a sweep: the work of one process on a unit."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from dlrt.callbacks import HistoryLog
from experiments.archive.claims import Claims
from experiments.mnist import epoch_trainer
from experiments.runs import checkpoints, image_data
from experiments.runs.finite import NonFiniteLoss, require_finite
from experiments.runs.run_callbacks import singular_values
from experiments.sweep.events import Event, Report
from experiments.sweep.grid import Network
from experiments.sweep.places import Places

_WAIT_SECONDS = 0.5
_TRIES = 10


@dataclass(frozen=True)
class UnitTraining:
    """Trains those networks of a unit that are unfinished and not claimed elsewhere.

    Networks in training elsewhere are waited for, and taken over if that process dies.

    Args:
        unit: Networks of one shape.
        root: Folder of the archive.
        interval: Seconds from one checkpoint of a network to the next.
        report: Called with every event.
        stopped: Whether to stop, at a checkpoint of the current epoch.
    """

    unit: Sequence[Network]
    root: Path
    interval: float
    report: Report
    stopped: Callable[[], bool]

    def run(self) -> None:
        """Trains them one by one; raises `OSError` if a file can't be written."""
        waiting = list(self.unit)
        busy: list[Network] = []
        # Closing the file drops every claim of this process, so it trains one unit at
        # a time.
        with contextlib.closing(Claims(self.root)) as claims:
            while waiting and not self.stopped():
                network = waiting.pop(0)
                if not claims.take(str(network)):
                    busy.append(network)
                else:
                    try:
                        if self._must_train(network):
                            self._train(network)
                    finally:
                        claims.drop(str(network))
                if busy and not waiting:
                    time.sleep(_WAIT_SECONDS)
                    waiting, busy = busy, []

    def _must_train(self, network: Network) -> bool:
        """Whether a network is neither finished nor has failed."""
        places = Places(self.root, network)
        state = places.state()
        if state == "finished":
            places.tidy()
            self._tell(network, "kept")
        elif state == "wrong":
            reason = f"it failed before, see {places.wrong.parents[1]}"
            self._tell(network, "wrong", reason=reason)
        return state not in ("finished", "wrong")

    @cached_property
    def _trainer(self) -> epoch_trainer.EpochTrainer:
        classes = _load_data(self.unit[0]).num_classes
        configs = [network.config for network in self.unit]
        return epoch_trainer.EpochTrainer(configs, classes)

    def _train(self, network: Network) -> None:
        """Trains a network to its end, from its checkpoint if it has one."""
        data, config, trainer = _load_data(network), network.config, self._trainer
        places = Places(self.root, network)
        log = _open_log(places, network, data)
        # Rows are never overwritten. Those beyond the checkpoint, or of a run whose
        # checkpoint is gone, stay while their epochs are trained once more.
        logged = log.rows[-1]["epoch"] if log.rows else 0
        epoch, saved = 0, None
        # A checkpoint is a convenience: without it the training begins again.
        with contextlib.suppress(ValueError):
            saved = checkpoints.load_to_continue(places.checkpoint, log.rows, math.inf)
        if saved is None:
            trainer.begin(config, data)
        else:
            model, state = saved
            epoch = state.epoch
            trainer.resume(model, config, data)
        log.on_train_begin()
        log.on_epoch_begin(max(epoch, logged))
        self._tell(network, "begin", epoch)
        facts = epoch_trainer.facts(trainer.model)
        saved_at, reported_at, unreported = time.monotonic(), 0.0, 0
        while epoch < config.epochs:
            start = time.perf_counter()
            logs = trainer.epoch(epoch)
            try:
                require_finite(logs, epoch + 1, len(trainer))
            except NonFiniteLoss as error:
                if epoch >= logged:
                    log.append(epoch + 1, time.perf_counter() - start, logs | facts)
                    log.flush()
                places.reject(str(error))
                self._tell(network, "wrong", unreported, str(error))
                return
            epoch += 1
            unreported += 1
            if config.tolerance is not None:
                facts = epoch_trainer.facts(trainer.model)
                facts |= singular_values(trainer.model)
            if epoch > logged:
                log.append(epoch, time.perf_counter() - start, logs | facts)
            if self.stopped() or time.monotonic() - saved_at > self.interval:
                log.flush()
                capacities = checkpoints.capacities(trainer.model)
                state = checkpoints.State(epoch, 0, 0, capacities, float(logs["loss"]))
                places.checkpoint.parent.mkdir(exist_ok=True)
                checkpoints.save(trainer.model, places.checkpoint, state)
                saved_at = time.monotonic()
                if self.stopped() and epoch < config.epochs:
                    self._tell(network, "stopped", unreported)
                    return
            if time.monotonic() - reported_at > _WAIT_SECONDS:
                self._tell(network, "epochs", unreported)
                reported_at, unreported = time.monotonic(), 0
        log.flush()
        places.finish()
        self._tell(network, "finished", unreported)

    def _tell(
        self, network: Network, kind: str, epochs: int = 0, reason: str = ""
    ) -> None:
        self.report(Event(str(network), kind, epochs, reason))


def _load_data(network: Network) -> image_data.Data:
    """The images of a network; those of the last few are kept."""
    config = network.config
    return _prepare(
        config.dataset, config.val_size, config.seed, config.dataset_size, config.noise
    )


_prepare = lru_cache(maxsize=4)(image_data.load)


def _open_log(places: Places, network: Network, data: image_data.Data) -> HistoryLog:
    config = replace(network.config, dataset=data.name).record() | data.counts("images")
    log = HistoryLog(places.growing, config, resume=True, write_interval=math.inf)
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            log.open()
            return log
        # Another process has removed the folder, which was empty.
    raise FileNotFoundError(f"this folder vanishes again and again: {log.path.parent}")
