"""Where the units of a sweep are trained: in processes here, or on a Ray cluster."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from typing import Any

from experiments.sweep.events import Event, Report
from experiments.sweep.grid import Network

Unit = Sequence[Network]

# Threads gain little in a small network; processes scale better.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
_POLL_SECONDS = 0.2
# After this many deaths the running units are the likely cause.
_MOST_DEATHS = 3
# On a cluster machines come and go.
_MOST_RETRIES = 20


class WorkersDied(RuntimeError):
    """Raised if processes keep dying at the same units."""


def train_locally(
    units: Sequence[Unit], root: Path, interval: float, workers: int, report: Report
) -> None:
    """Trains units in processes of one thread each.

    After an interrupt the processes stop at their next epoch, with a checkpoint, before
    `KeyboardInterrupt` goes on. If one is killed, the running units resume from their
    checkpoints.

    Args:
        units: What to train, the longest first.
        root: Folder of the archive.
        interval: Seconds from one checkpoint of a network to the next.
        workers: Number of processes.
        report: Called with every event.

    Raises:
        OSError: If a file can't be written.
        WorkersDied: If processes keep dying.
    """
    context = multiprocessing.get_context("spawn")
    events, stop = context.Queue(), context.Event()
    left = list(units)
    deaths = 0
    while True:
        pool = ProcessPoolExecutor(
            min(workers, len(left)), context, _begin_worker, (events, stop)
        )
        futures = {
            pool.submit(_train_in_worker, unit, root, interval): unit for unit in left
        }
        try:
            ended = _watch(futures, events, report)
            left = [futures[future] for future in ended if _has_broken(future)]
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            # A process ends when its events have been read.
            with contextlib.suppress(KeyboardInterrupt):
                for _ in _watch(futures, events, report):
                    pass
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            _drain(events, report)
        if not left:
            return
        for network in itertools.chain(*left):
            report(Event(str(network), "stopped"))
        deaths += 1
        if deaths == _MOST_DEATHS:
            raise WorkersDied(
                f"processes have been killed {deaths} times, perhaps for want of "
                f"memory, with {len(left)} units unfinished; try fewer --workers"
            )


def _watch(futures: Iterable[Future], events: Any, report: Report) -> Iterator[Future]:
    """Yields futures as they end, and passes on events meanwhile."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, _POLL_SECONDS, FIRST_COMPLETED)
        _drain(events, report)
        yield from done


def _has_broken(future: Future) -> bool:
    """Whether a future ended with the pool; raises the error of one that failed."""
    error = future.exception()
    if error is not None and not isinstance(error, BrokenProcessPool):
        raise error
    return error is not None


def _drain(events: Any, report: Report) -> None:
    with contextlib.suppress(Empty):
        while True:
            report(events.get_nowait())


_worker: dict[str, Any] = {}


def _begin_worker(events: Any, stop: Any) -> None:
    # Before the backend is imported, which reads it.
    os.environ.update(_ONE_THREAD)
    # Ctrl-C reaches all processes of a terminal; the first one tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.update(events=events, stop=stop)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """Ends this process when the one that started it has died."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _train_in_worker(unit: Unit, root: Path, interval: float) -> None:
    from experiments.cli import quiet

    quiet.import_keras()
    from experiments.sweep.training import UnitTraining

    tell, stopped = _worker["events"].put, _worker["stop"].is_set
    UnitTraining(unit, root, interval, tell, stopped).run()


def train_on_ray(
    units: Sequence[Unit], root: Path, interval: float, address: str, report: Report
) -> None:
    """Trains units as Ray tasks of one core each; Ray repeats those that die.

    The arguments are those of `train_locally`, but for the address of the cluster. All
    machines must see the archive under the same path.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        ConnectionError: If there is no cluster at the address.
        OSError: If a file can't be written.
        WorkersDied: If the processes of a unit keep dying.
    """
    try:
        import ray
        from ray.util.queue import Queue
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`--engine ray` needs the extra `ray`: pip install -e .[ray]"
        ) from error
    project = str(Path(__file__).resolve().parents[2])
    environment = _ONE_THREAD | {"PYTHONPATH": project, "TF_CPP_MIN_LOG_LEVEL": "2"}
    handed_on = "DLRT_DATA_DIR", "KERAS_BACKEND"
    environment |= {name: os.environ[name] for name in handed_on if name in os.environ}
    ray.init(
        address=address,
        runtime_env={"env_vars": environment},
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        events = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(num_cpus=1, max_retries=_MOST_RETRIES)(_train_on_ray)
        pending = [task.remote(unit, root, interval, events) for unit in units]
        try:
            while pending:
                done, pending = ray.wait(pending, timeout=_POLL_SECONDS)
                _hand_on(events, report)
                ray.get(done)
        except BaseException as error:
            for reference in pending:
                ray.cancel(reference, force=False)
            with contextlib.suppress(Exception):
                ray.wait(pending, num_returns=len(pending), timeout=60)
            if isinstance(error, ray.exceptions.WorkerCrashedError):
                raise WorkersDied(f"a unit was never finished: {error}") from error
            raise
        _hand_on(events, report)
    finally:
        ray.shutdown()


def _hand_on(events: Any, report: Report) -> None:
    for event in events.get_nowait_batch(events.qsize()):
        report(event)


def _train_on_ray(unit: Unit, root: Path, interval: float, events: Any) -> None:
    from experiments.sweep.training import UnitTraining

    stop = threading.Event()
    # `ray.cancel` would interrupt a task; it must end at a checkpoint.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, lambda *_: stop.set())
    UnitTraining(unit, root, interval, events.put, stop.is_set).run()
