"""Training of the cells of a sweep: what one process does with a unit of them."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlrt.callbacks import HistoryLog
from experiments.archive.claims import Claims
from experiments.mnist import compiled_epochs
from experiments.runs import checkpoints, image_data
from experiments.runs.finite import NonFiniteLoss, require_finite
from experiments.runs.run_callbacks import singular_values
from experiments.sweep.grid import Cell
from experiments.sweep.places import Places

_WAIT_SECONDS = 0.5
_TRIES = 10


@dataclass(frozen=True)
class Event:
    """What a process tells of a cell.

    Args:
        cell: The cell.
        kind: `"begin"`, `"epochs"`, `"finished"`, `"kept"` (there was nothing to do),
            `"wrong"` or `"stopped"`.
        epochs: How many epochs have been trained since the last event of the cell.
        reason: Why it is wrong.
    """

    cell: str
    kind: str
    epochs: int = 0
    reason: str = ""


Report = Callable[[Event], None]
Stopped = Callable[[], bool]


def train_unit(
    unit: Sequence[Cell],
    root: Path,
    interval: float,
    report: Report,
    stopped: Stopped,
) -> None:
    """Trains the cells of a unit that are neither finished nor another process's.

    Those that another process trains are waited for, and taken over if it dies.

    Args:
        unit: Cells of one shape.
        root: Folder of the archive.
        interval: Seconds from one checkpoint of a network to the next.
        report: Called with every event.
        stopped: Whether to stop, at a checkpoint of the present epoch.

    Raises:
        OSError: If a file can't be written.
    """
    # Closing the file drops every claim of this process, so it trains one unit at a
    # time.
    with contextlib.closing(Claims(root)) as claims:
        _train_unit(unit, root, interval, report, stopped, claims)


def _train_unit(
    unit: Sequence[Cell],
    root: Path,
    interval: float,
    report: Report,
    stopped: Stopped,
    claims: Claims,
) -> None:
    waiting = list(unit)
    trainer: compiled_epochs.EpochTrainer | None = None
    busy: list[Cell] = []
    while waiting and not stopped():
        cell = waiting.pop(0)
        places = Places(root, cell)
        if not claims.take(str(cell)):
            busy.append(cell)
        else:
            try:
                state = places.state()
                if state == "finished":
                    places.tidy()
                    report(Event(str(cell), "kept"))
                elif state == "wrong":
                    reason = f"it failed before, see {places.wrong.parents[1]}"
                    report(Event(str(cell), "wrong", reason=reason))
                else:
                    if trainer is None:
                        trainer = _trainer(unit)
                    _train(cell, places, trainer, interval, report, stopped)
            finally:
                claims.drop(str(cell))
        if busy and not waiting:
            time.sleep(_WAIT_SECONDS)
            waiting, busy = busy, []


def load_data(cell: Cell) -> image_data.Data:
    """The images of a cell; those of the last few are kept."""
    config = cell.config
    return _loaded(
        config.dataset, config.val_size, config.seed, config.dataset_size, config.noise
    )


@lru_cache(maxsize=4)
def _loaded(
    dataset: str, val_size: Any, seed: int, dataset_size: float, noise: float
) -> image_data.Data:
    return image_data.prepare(dataset, val_size, seed, dataset_size, noise)


def _trainer(unit: Sequence[Cell]) -> compiled_epochs.EpochTrainer:
    classes = load_data(unit[0]).num_classes
    return compiled_epochs.EpochTrainer([cell.config for cell in unit], classes)


def _train(
    cell: Cell,
    places: Places,
    trainer: compiled_epochs.EpochTrainer,
    interval: float,
    report: Report,
    stopped: Stopped,
) -> None:
    """Trains a cell to its end, from its checkpoint if it has one."""
    data, config = load_data(cell), cell.config
    log = _log(places, cell, data)
    # Rows are never overwritten. Those beyond the checkpoint, or of a run whose
    # checkpoint is gone, stay while their epochs are trained once more.
    logged = log.rows[-1]["epoch"] if log.rows else 0
    epoch = 0
    try:
        saved = checkpoints.to_continue(places.checkpoint, log.rows, math.inf)
    except ValueError:
        # A checkpoint is a convenience: without it the training begins again.
        saved = None
    if saved is None:
        trainer.begin(config, data)
    else:
        model, state = saved
        epoch = state.epoch
        trainer.resume(model, config, data)
    log.on_train_begin()
    log.on_epoch_begin(max(epoch, logged))
    report(Event(str(cell), "begin", epoch))
    adaptive = config.tolerance is not None
    facts = compiled_epochs.facts(trainer.model)
    saved, reported, unreported = time.monotonic(), 0.0, 0
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
            report(Event(str(cell), "wrong", unreported, str(error)))
            return
        epoch += 1
        unreported += 1
        if adaptive:
            facts = compiled_epochs.facts(trainer.model)
            facts |= singular_values(trainer.model)
        if epoch > logged:
            log.append(epoch, time.perf_counter() - start, logs | facts)
        if stopped() or time.monotonic() - saved > interval:
            log.flush()
            capacities = checkpoints.capacities(trainer.model)
            places.checkpoint.parent.mkdir(exist_ok=True)
            checkpoints.save(
                trainer.model,
                places.checkpoint,
                checkpoints.State(epoch, 0, 0, capacities, float(logs["loss"])),
            )
            saved = time.monotonic()
            if stopped() and epoch < config.epochs:
                report(Event(str(cell), "stopped", unreported))
                return
        if time.monotonic() - reported > _WAIT_SECONDS:
            report(Event(str(cell), "epochs", unreported))
            reported, unreported = time.monotonic(), 0
    log.flush()
    places.finish()
    report(Event(str(cell), "finished", unreported))


def _log(places: Places, cell: Cell, data: image_data.Data) -> HistoryLog:
    config = replace(cell.config, dataset=data.name)
    log = HistoryLog(
        places.growing,
        config.record()
        | {
            "train_images": len(data.train[0]),
            "val_images": len(data.val[0]),
            "test_images": len(data.test[0]),
        },
        resume=True,
        write_interval=float("inf"),
    )
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            log.open()
            return log
        # Another process has removed the folder, which was empty.
    raise FileNotFoundError(f"this folder vanishes again and again: {log.path.parent}")
