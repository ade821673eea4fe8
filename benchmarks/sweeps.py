"""Measures how many epochs of small networks a sweep trains in a second.

    python -m benchmarks.sweeps            about a quarter of an hour
    python -m benchmarks.sweeps --epochs 5 --dims 10,100 --runs 0

The same grid on MNIST 5K-1K is trained four times, each time from an empty archive and
in new processes: by a plain `fit` for every network, one after another in one process;
by a `fit` as the MNIST runs have it (their input pipeline, 16 steps a call); by a sweep
with one process; and by a sweep with a process for each core. The first two measure
training and evaluation alone, the sweeps everything, from the start of the command to
its end, workbooks included.
"""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.cli import quiet

quiet.import_keras(devices=False)

from benchmarks import reports  # noqa: E402
from benchmarks.common_options import folder, make_parser, whole  # noqa: E402
from benchmarks.places import RESULTS  # noqa: E402
from dlrt.callbacks import read_history  # noqa: E402
from dlrt.history import atomic_file  # noqa: E402
from experiments.cli.command import input_errors  # noqa: E402
from experiments.sweep import grid  # noqa: E402
from experiments.sweep.grid import Grid, Network  # noqa: E402
from experiments.sweep.options import count_cores, read_whole_numbers  # noqa: E402

PLAIN, AS_RUNS = "fit", "fit as the MNIST runs"


def train_by_fit(
    networks: list[Network], plain: bool
) -> tuple[float, dict[str, list[float]]]:
    """Seconds of one `fit` for each network, and the test losses that they end with."""
    quiet.import_keras()
    from experiments.mnist import network
    from experiments.mnist.task import load
    from experiments.runs import scoring
    from experiments.runs.image_data import EVALUATION_BATCH, ShuffledBatches

    losses, seconds = {}, 0.0
    for each in networks:
        config = each.config
        data = load(config)
        start = time.perf_counter()
        model = network.build(config, data.num_classes, None)
        batches = ShuffledBatches(*data.train, config.batch_size, config.seed)
        network.compile_model(model, config, config.phases[0], len(batches))
        common = {
            "epochs": config.epochs,
            "validation_data": data.val,
            "validation_batch_size": EVALUATION_BATCH,
            "verbose": 0,
        }
        evaluation = scoring.TestEvaluation(data.test)
        if plain:
            model.steps_per_execution = 1
            history = model.fit(
                *data.train,
                batch_size=config.batch_size,
                callbacks=[evaluation],
                **common,
            )
        else:
            history = model.fit(
                batches.for_fit(),
                shuffle=False,
                callbacks=[batches.follow(), evaluation],
                **common,
            )
        seconds += time.perf_counter() - start
        losses[str(each)] = history.history["test_loss"]
    return seconds, losses


def train_by_sweep(
    words: list[str], workers: int
) -> tuple[float, dict[str, list[float]]]:
    """Seconds of a whole sweep, and the test losses in its workbooks."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.test_matrix", *words]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--log-dir", folder, "--workers", str(workers)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        losses = {
            f"{path.parents[1].name}/{path.stem}": [
                row["test_loss"] for row in read_history(path)[0]
            ]
            for path in Path(folder).glob("finishedTests/*/historyLogs/*.xlsx")
        }
    return seconds, losses


def difference(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """The largest relative difference of the test losses of the same networks.

    Raises:
        ValueError: If they are not the same networks.
    """
    if one.keys() != other.keys():
        raise ValueError(f"different networks: {sorted(one.keys() ^ other.keys())}")
    return max(
        abs(a - b) / abs(b)
        for name, losses in one.items()
        for a, b in zip(losses, other[name], strict=True)
    )


def main() -> None:
    parser = make_parser("benchmarks.sweeps", __doc__)
    parser.add_argument("--dims", default="10,50,100,150,200", help="widths")
    parser.add_argument("--ranks", default="5", help="ranks of the low-rank networks")
    parser.add_argument("--runs", default="0-3", help="seeds")
    parser.add_argument(
        "--epochs", type=whole(1, 10**6), default=50, help="epochs of a network"
    )
    parser.add_argument(
        "--output", type=folder, default=RESULTS, help="folder of the CSV"
    )
    arguments = parser.parse_args()
    words = [
        word
        for name in ("dims", "ranks", "runs", "epochs")
        for word in (f"--{name}", str(getattr(arguments, name)))
    ]
    with input_errors():
        numbers = {
            name: read_whole_numbers(getattr(arguments, name))
            for name in ("dims", "ranks", "runs")
        }
        networks, _ = grid.list_networks(Grid(epochs=(arguments.epochs,), **numbers))
        arguments.output.mkdir(parents=True, exist_ok=True)
        path = arguments.output / "sweeps.csv"
        atomic_file.check(path)
    print(f"{len(networks)} networks, {arguments.epochs} epochs each", flush=True)
    measured: dict[str, tuple[float, dict[str, list[float]]]] = {}
    for name in (PLAIN, AS_RUNS):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured[name] = pool.apply(train_by_fit, (networks, name == PLAIN))
        print(f"{name}: {measured[name][0]:.0f} s", flush=True)
    for workers in sorted({1, count_cores()}):
        name = f"sweep, {workers} process{'es' if workers > 1 else ''}"
        measured[name] = train_by_sweep(words, workers)
        print(f"{name}: {measured[name][0]:.0f} s", flush=True)
    rows = compare(measured, len(networks), arguments.epochs)
    print(f"\n{reports.format_table(list(rows[0]), (row.values() for row in rows))}")
    reports.write_csv(path, rows)


def compare(
    measured: dict[str, tuple[float, dict[str, list[float]]]],
    networks: int,
    epochs: int,
) -> list[dict[str, str]]:
    """A row for each way to train, compared with the plain one."""
    rows = []
    for name, (seconds, losses) in measured.items():
        rows.append(
            {
                "trained by": name,
                "networks": str(networks),
                "epochs": str(epochs),
                "seconds": f"{seconds:.1f}",
                "networks x epochs a second": f"{networks * epochs / seconds:.1f}",
                "times fit": f"{measured[PLAIN][0] / seconds:.2f}",
                "largest relative difference": ""
                if name == PLAIN
                else f"{difference(losses, measured[AS_RUNS][1]):.1e}",
            }
        )
    return rows


if __name__ == "__main__":
    main()
