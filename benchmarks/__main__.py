"""Measures what low-rank training and prediction cost, in time and in memory.

    python -m benchmarks                          everything, about a quarter of an hour
    python -m benchmarks --quick                  less of everything, two minutes
    python -m benchmarks training --width 500 --rank 40 --kinds two-factor kls dense
    python -m benchmarks profile --width 500 --rank 40   operations of a step, sorted
    KERAS_BACKEND=jax python -m benchmarks        the same on JAX, but for the profile

Networks have four hidden layers on 784 inputs, float32, Adam. What is compared takes
turns within one process, so that a noisy machine hits all alike; figures are medians.
Ratios are to a network of two plain Dense layers for each hidden layer ("two-factor",
the same products without geometry) and to the dense network. Every case is written to
`timings-<backend>.csv` as soon as it is done; interrupt at any time, and `--resume`
skips what is there.
"""

import argparse
import dataclasses
import os
import platform
from pathlib import Path

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

import dlrt  # noqa: E402
from benchmarks import adaptive_runs, memory, profile, rendering, timing  # noqa: E402
from benchmarks.common_options import MOST_ROUNDS, folder, make_parser, whole  # noqa: E402
from benchmarks.floor import Machine  # noqa: E402
from benchmarks.networks import (  # noqa: E402
    DENSE,
    INPUTS,
    KINDS,
    TWO_FACTOR,
    Case,
    images,
    make_network,
)
from benchmarks.places import RESULTS, ROOT  # noqa: E402
from benchmarks.rendering import Row  # noqa: E402
from dlrt.history import atomic_file, environment  # noqa: E402
from experiments.cli.command import input_errors  # noqa: E402

MEASUREMENTS = ("training", "prediction", "memory", "adaptive")
PROFILE = "profile"

# Larger networks have no room in any machine.
_MOST_WIDTH, _MOST_IMAGES = 2**15, 2**14

_FIXED = "parallel_bug"
_FEW = (TWO_FACTOR, _FIXED)
_MANY = (*_FEW, "parallel_bug, adaptive", "kls", "augmented_bug", DENSE)

# What `training` measures: the kinds for every width and rank.
TRAINING: dict[Case, tuple[str, ...]] = {
    Case(500, 40): KINDS,
    # As the MNIST runs are trained.
    Case(500, 40, steps_per_execution=16): _MANY,
    Case(784, 40): _MANY,
    Case(5120, 20): _MANY,
    Case(5120, 160): (*_FEW, "kls", "augmented_bug", DENSE),
    Case(5120, 320): (*_FEW, "kls", "augmented_bug", DENSE),
    **dict.fromkeys([Case(5120, rank) for rank in (5, 10, 40, 80)], _FEW),
    **dict.fromkeys([Case(width, 20) for width in (1024, 2048, 4096)], (*_FEW, DENSE)),
    Case(8192, 20): _FEW,
}
TRAINING_QUICK = {
    Case(500, 40): (*_FEW, "kls", DENSE),
    Case(2048, 20): (*_FEW, DENSE),
    Case(2048, 80): _FEW,
    Case(1024, 20): _FEW,
}
LARGE, LARGE_QUICK = Case(5120, 20), Case(2048, 20)

ADAPTIVE = [
    adaptive_runs.Settings(Case(500, 100), 0.2, 25),
    adaptive_runs.Settings(Case(5120, 150), 0.4, 12, min_rank=20),
]
ADAPTIVE_QUICK = [adaptive_runs.Settings(Case(500, 50), 0.4, 5, number=5120)]


def measure_training(
    case: Case, kinds: tuple[str, ...], rounds: int, turn: float
) -> list[Row]:
    """The training step of several kinds."""
    runs = {
        kind: timing.prepare_training(make_network(kind, case), case) for kind in kinds
    }
    seconds = timing.in_turns(runs, rounds, turn)
    machine = Machine()
    floors = {
        kind: 1e3 * machine.floor(kind, case)
        for kind in (TWO_FACTOR, DENSE, _FIXED)
        if kind in kinds
    }
    samples = {kind: 1e3 * values for kind, values in seconds.items()}
    return rendering.make_rows(case.training, case, samples, "ms", floors)


def measure_prediction(case: Case, rounds: int, turn: float) -> list[Row]:
    """A batch of prediction: two-factor, low-rank, merged and dense."""
    low_rank = make_network(_FIXED, case)
    merged = dlrt.merge(low_rank)
    models = {
        TWO_FACTOR: make_network(TWO_FACTOR, case),
        "low-rank": low_rank,
        "merged": merged,
        DENSE: make_network(DENSE, case),
    }
    x, _ = images(case.batch)
    expected = np.asarray(low_rank(x))
    error = np.linalg.norm(np.asarray(merged(x)) - expected) / np.linalg.norm(expected)
    runs = {
        kind: timing.prepare_prediction(model, case) for kind, model in models.items()
    }
    seconds = timing.in_turns(runs, rounds, turn)
    samples = {kind: 1e3 * values for kind, values in seconds.items()}
    notes = {"merged": f"differs from low-rank by {error:.1e} (relative)"}
    return rendering.make_rows("prediction", case, samples, "ms", notes=notes)


def measure_memory(case: Case, kinds: tuple[str, ...]) -> list[Row]:
    """Peak memory of training over that of a process that trains next to nothing."""
    samples = {
        kind: np.array([memory.peak_of_training(kind, case) / 2**20]) for kind in kinds
    }
    return rendering.make_rows("memory", case, samples, "MiB")


def measure_adaptive(settings: adaptive_runs.Settings, rounds: int) -> list[Row]:
    """A whole adaptive run, and the steps at the ranks that it has found."""
    case = settings.case
    outcome = adaptive_runs.run(settings, rounds)
    ratio = np.median(outcome.adaptive) / np.median(outcome.fixed)
    parts = ", ".join(
        f"{name} {getattr(outcome, name):.1f} s"
        for name in ("total", "compiling", "retracing", "resizing")
    )
    notes = {
        "adaptive": f"ranks {', '.join(map(str, outcome.ranks))} from {case.rank}, "
        f"tolerance {settings.tolerance}, {outcome.data}; {ratio:.2f} × fixed",
        "fixed": f"the run of {settings.epochs} epochs: {parts}; "
        f"{outcome.moves} moves, {outcome.overhead:.1%} of the time",
    }
    samples = {"adaptive": 1e3 * outcome.adaptive, "fixed": 1e3 * outcome.fixed}
    return rendering.make_rows("adaptive", case, samples, "ms", notes=notes)


class Report:
    """Prints what is measured and keeps the CSV file and the figure up to date."""

    def __init__(self, directory: Path, name: str, resume: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._csv = directory / f"{name}.csv"
        self._figure = directory / f"{name}.png"
        for path in (self._csv, self._figure):
            atomic_file.check(path)
        self._rows = rendering.read(self._csv)
        self._done = set(self._rows) if resume else set()
        facts = environment.describe()
        self._context = {
            **{key: facts[key] for key in ("backend", "backend version")},
            "keras version": facts["keras version"],
            "machine": f"{platform.system()} {platform.machine()}",
            "device": _device(),
            "cores": os.cpu_count(),
        }
        print(", ".join(f"{key} {value}" for key, value in self._context.items()))

    def has(self, measurement: str, case: Case, kind: str) -> bool:
        """Whether an interrupted call has measured this already."""
        key = (measurement, case.width, case.rank, case.batch, kind)
        return key in self._done

    def add(self, rows: list[Row]) -> None:
        first = rows[0]
        print(
            f"\n{first.measurement}: width {first.width}, rank {first.rank}, "
            f"batch {first.batch}\n\n{rendering.format_table(rows)}",
            flush=True,
        )
        self._rows |= {row.key: row for row in rows}
        rendering.write(self._csv, self._rows, self._context)

    def close(self) -> None:
        rows = list(self._rows.values())
        for kind in (TWO_FACTOR, _FIXED):
            points = [
                point
                for point in rendering.select_points(rows, kind, "width", rank=20)
                if point[0] >= 1024
            ]
            if len(points) > 2:
                print(
                    f"\n{kind}: time ~ width^{rendering.fit_slope(points):.2f}", end=""
                )
        title = ", ".join(
            f"{self._context[key]}" for key in ("backend", "machine", "device")
        )
        cores = f"{self._context['cores']} cores, batch 256"
        drawn = rendering.draw(rows, self._figure, f"{title}, {cores}")
        print(f"\n\nwritten: {self._csv}{f', {self._figure}' if drawn else ''}")


def _device() -> str:
    devices = keras.distribution.list_devices()
    return devices[0].split(":")[0] if devices else "cpu"


def _arguments() -> argparse.Namespace:
    parser = make_parser("benchmarks", __doc__)
    parser.add_argument(
        "measurements",
        nargs="*",
        metavar="measurement",
        help=f"{', '.join(MEASUREMENTS)} (default: these), {PROFILE}",
    )
    parser.add_argument("--quick", action="store_true", help="smaller and fewer cases")
    parser.add_argument("--resume", action="store_true", help="skip what is in the CSV")
    width = whole(1, _MOST_WIDTH)
    parser.add_argument(
        "--rounds", type=whole(1, MOST_ROUNDS), help="turns of each network (default 6)"
    )
    parser.add_argument("--width", type=width, help="only this width, with --rank")
    parser.add_argument("--rank", type=width, help="only this rank, with --width")
    parser.add_argument(
        "--batch", type=whole(1, _MOST_IMAGES), default=256, help="with --width, --rank"
    )
    parser.add_argument(
        "--steps-per-execution",
        type=whole(1, _MOST_IMAGES),
        default=1,
        help="with --width, --rank: training steps in a call, as in `compile`",
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, help="with --width, --rank: of `training`"
    )
    parser.add_argument(
        "--output", type=folder, help="folder of the CSV and the figure"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.measurements) - {*MEASUREMENTS, PROFILE}
    if unknown:
        parser.error(
            f"measurement must be one of {', '.join(MEASUREMENTS)}, {PROFILE}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    if (arguments.width is None) != (arguments.rank is None):
        parser.error("--width and --rank must be given together")
    if arguments.width is not None:
        full = min(INPUTS, arguments.width)
        if arguments.rank > full:
            parser.error(
                f"--rank must be at most {full}, the full rank of a layer of width "
                f"{arguments.width}. Received: {arguments.rank}"
            )
    together = arguments.batch * arguments.steps_per_execution
    if together > _MOST_IMAGES:
        parser.error(
            f"--batch times --steps-per-execution must be at most {_MOST_IMAGES}. "
            f"Received: {together}"
        )
    if arguments.kinds and arguments.width is None:
        parser.error("--kinds needs --width and --rank")
    backend = keras.backend.backend()
    if PROFILE in arguments.measurements and backend != "tensorflow":
        parser.error(f"{PROFILE} needs the backend TensorFlow. Received: {backend}")
    return arguments


def main() -> None:
    arguments = _arguments()
    quick = arguments.quick
    rounds, turn = (3, 0.3) if quick else (6, 0.6)
    rounds = arguments.rounds or rounds
    training: dict[Case, tuple[str, ...]] = TRAINING_QUICK if quick else TRAINING
    large = LARGE_QUICK if quick else LARGE
    adaptive = ADAPTIVE_QUICK if quick else ADAPTIVE
    chosen = arguments.width is not None
    if chosen:
        large = Case(
            arguments.width,
            arguments.rank,
            arguments.batch,
            arguments.steps_per_execution,
        )
        training = {large: tuple(arguments.kinds or _MANY)}
        adaptive = [dataclasses.replace(ADAPTIVE[0], case=large)]
    # Results in the repository are those of a whole run.
    directory = arguments.output or (
        RESULTS if not quick and not chosen else ROOT / "history_logs" / "benchmarks"
    )
    name = f"{'quick' if quick else 'timings'}-{keras.backend.backend()}"
    with input_errors():
        report = Report(directory, name, arguments.resume)
    wanted = arguments.measurements or (["training"] if chosen else MEASUREMENTS)
    if "training" in wanted:
        for case, kinds in training.items():
            if not all(report.has(case.training, case, kind) for kind in kinds):
                report.add(measure_training(case, kinds, rounds, turn))
            keras.backend.clear_session(free_memory=True)
    if "prediction" in wanted and not report.has("prediction", large, DENSE):
        report.add(measure_prediction(large, rounds, turn))
    if "memory" in wanted and not report.has("memory", large, DENSE):
        report.add(measure_memory(large, (_FIXED, DENSE) if quick else (*_FEW, DENSE)))
    if "adaptive" in wanted:
        for settings in adaptive:
            if not report.has("adaptive", settings.case, "fixed"):
                report.add(measure_adaptive(settings, rounds))
    if PROFILE in wanted:
        columns = {
            kind: profile.operations(make_network(kind, large), large)
            for kind in arguments.kinds or _FEW
        }
        print(f"\nprofile: {large}\n\n{profile.format_table(columns)}", flush=True)
    report.close()


if __name__ == "__main__":
    main()
