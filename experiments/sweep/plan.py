"""The plan of a sweep, and whether it agrees with the archive."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.runs.log_format import equal
from experiments.sweep.grid import Network
from experiments.sweep.places import Places

# Seconds of an empty step, and of an operation; one core of a machine like those of the
# benchmarks. Only their ratio matters to the time left.
_STEP_SECONDS = {"dense": 0.6e-3, "low-rank": 1.4e-3}
_SECONDS_A_FLOP = 1 / 30e9


def describe(networks: Sequence[Network], root: Path, workers: int) -> Iterator[str]:
    """Every network with its parameters, an estimate of its time, and its state."""
    total = 0.0
    yield f"{'parameters':>12}  {'seconds':>8}  {'state':<8}  network"
    for network in networks:
        state = Places(root, network).state()
        seconds = estimate(network)
        if state in ("new", "begun"):
            total += seconds
        yield f"{network.parameters:>12,}  {seconds:>8.1f}  {state:<8}  {network}"
    left = format_duration(total / workers)
    yield (
        f"{len(networks)} networks, about {left} in {workers} processes for those that "
        "are not finished (a rough estimate)"
    )


def estimate(network: Network) -> float:
    """About how many seconds the training of a network takes on one core."""
    config = network.config
    steps = config.epochs * max(1, network.train_images / config.batch_size)
    step = _STEP_SECONDS["dense" if config.dense else "low-rank"]
    return step * steps + _SECONDS_A_FLOP * network.flops


def format_duration(seconds: float) -> str:
    """A time in the two largest of its units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def check(networks: Sequence[Network], root: Path) -> None:
    """Compares the settings of a sweep with those of finished networks.

    The name of a test doesn't contain all of them, so a finished workbook of each test
    is read; one that is continued is compared when it is opened.

    Raises:
        ValueError: If a test of the same name had other settings.
    """
    from dlrt.callbacks import read_history

    seen = set()
    for network in networks:
        path = Places(root, network).finished
        if network.test in seen or not path.exists():
            continue
        seen.add(network.test)
        stored = read_history(path)[1]
        record = network.config.record()
        for key in ("integrator", "schedule", "val_size", "start_rank", "dataset"):
            wanted, before = record[key], stored.get(key)
            if key == "dataset" and wanted == "auto":
                continue
            if not equal(wanted, before):
                raise ValueError(
                    f"`--log-dir` has finished networks of {network.test} with {key} "
                    f"{before!r}. Choose another folder for {key} {wanted!r}. "
                    f"Received: --log-dir {root}"
                )
