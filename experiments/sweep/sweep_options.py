"""The command line of a sweep, and the file that can stand for it."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from experiments.cli.command import Parser, fail
from experiments.cli.settings import LOG_DIR, list_integrators
from experiments.mnist.config import SCHEDULES
from experiments.mnist.options import size
from experiments.sweep import sweep_file
from experiments.sweep.grid import METHODS, MOST_CELLS, OPTIMIZERS, REGULARIZERS, Grid

ENGINES = ("local", "ray")
_NONE = {"none"}
# A killed process costs at most so much of a run, and what is written costs a percent.
CHECKPOINT_SECONDS = 20.0
# Processes of one machine; each takes half a gigabyte of memory.
_MOST_WORKERS = 1000


@dataclass(frozen=True)
class Options:
    """What a sweep can be told.

    Args:
        grid: What is trained.
        log_dir: Folder of the archive.
        workers: Number of processes.
        engine: One of `ENGINES`.
        address: Of the Ray cluster.
        checkpoint_seconds: From one checkpoint of a network to the next.
        dry_run: Whether only to say what would be trained.
    """

    grid: Grid
    log_dir: Path
    workers: int
    engine: str
    address: str
    checkpoint_seconds: float
    dry_run: bool


def parse(arguments: Sequence[str]) -> Options:
    """Returns the settings that the words on the command line stand for.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    given = vars(_parser().parse_args(arguments))
    config = given.pop("config", None)
    try:
        words = ({} if config is None else _read(config)) | given
        if "regularizer_amount" in words and {*words.get("regularizer", ())} <= _NONE:
            amounts = ",".join(map(str, words["regularizer_amount"]))
            raise ValueError(
                "`--regularizer-amount` must come with `--regularizer`. Received: "
                f"--regularizer-amount {amounts}"
            )
        engine = {
            name: words.pop(name)
            for name in (*_ENGINE_READ, "dry_run")
            if name in words
        }
        options = Options(
            Grid(**words),
            Path(engine.get("log_dir", LOG_DIR)).expanduser().absolute(),
            engine.get("workers", cores()),
            engine.get("engine", "local"),
            engine.get("address", "auto"),
            engine.get("checkpoint_seconds", CHECKPOINT_SECONDS),
            engine.get("dry_run", False),
        )
    except (ValueError, OSError) as error:
        fail(str(error))
    if not 1 <= options.workers <= _MOST_WORKERS:
        fail(
            f"`--workers` must be at least 1 and at most {_MOST_WORKERS}. "
            f"Received: --workers {options.workers}"
        )
    if not options.checkpoint_seconds > 0:
        fail(
            "`--checkpoint-seconds` must be above 0. Received: "
            f"--checkpoint-seconds {options.checkpoint_seconds}"
        )
    if "address" in engine and options.engine != "ray":
        fail(
            "`--address` must come with `--engine ray`. Received: --address "
            f"{options.address}"
        )
    if options.engine not in ENGINES:
        fail(
            f"`--engine` must be one of {', '.join(ENGINES)}. "
            f"Received: --engine {options.engine}"
        )
    return options


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers of `1-301`, `10-200:10`, `1,2,5` or a list of such, in order.

    Ranges are half open, as Python's and as in the names of tests: `1-301` ends at 300.

    Raises:
        ValueError: If it is none of these.
    """
    numbers: set[int] = set()
    for part in text.replace(",", " ").split():
        head, colon, step = part.partition(":")
        first, hyphen, end = head.partition("-")
        try:
            if hyphen:
                found = range(int(first), int(end), int(step) if colon else 1)
            elif colon:
                raise ValueError
            else:
                found = range(int(first), int(first) + 1)
        except ValueError:
            raise ValueError(
                "must be whole numbers, ranges such as 1-301 or 10-200:10, or a list "
                f"of these. Received: {part}"
            ) from None
        if not found:
            raise ValueError(f"the range {part} is empty; its end is not part of it")
        # The length of a range is no number that Python has room for, always.
        if (found.stop - found.start) // found.step >= MOST_CELLS:
            raise ValueError(
                f"the range {part} must have fewer than {MOST_CELLS:,} numbers"
            )
        numbers |= set(found)
    return tuple(sorted(numbers))


def _one(kind: Callable[[str], Any]) -> Callable[[str], tuple]:
    return lambda text: tuple(kind(word) for word in text.replace(",", " ").split())


# How the text of each setting of a grid is read; a file may have numbers and lists too.
_READ: dict[str, Callable[[str], Any]] = {
    "methods": _one(str),
    "runs": whole_numbers,
    "dims": whole_numbers,
    "ranks": whole_numbers,
    "tolerances": _one(float),
    "start_rank": int,
    "epochs": whole_numbers,
    "batch_size": whole_numbers,
    "learning_rate": _one(float),
    "optimizer": _one(str),
    "dataset": str,
    "dataset_size": _one(float),
    "noise": _one(float),
    "regularizer": _one(str),
    "regularizer_amount": _one(float),
    "val_size": size,
    "integrator": str,
    "schedule": str,
}
_ENGINE_READ: dict[str, Callable[[str], Any]] = {
    "log_dir": Path,
    "workers": int,
    "engine": str,
    "address": str,
    "checkpoint_seconds": float,
}


def _read(path: Path) -> dict[str, Any]:
    """The settings of a TOML or YAML file.

    Raises:
        ValueError: If the file or a setting in it is wrong.
    """
    readers = _READ | _ENGINE_READ
    settings = {}
    for name, text in sweep_file.read(path, readers).items():
        try:
            settings[name] = readers[name](text)
        except ValueError as error:
            raise ValueError(f"`{name}` in {path}: {error}") from error
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m experiments.test_matrix",
        description="Trains a grid of MNIST networks with four hidden layers, in "
        "parallel. Lists are written with commas; ranges as 1-301 or 10-200:10, "
        "without their end. Every combination is trained.",
        argument_default=argparse.SUPPRESS,
    )
    defaults = {field.name: field.default for field in fields(Grid)}

    def add(name: str, help: str) -> None:
        default = defaults[name]
        values = default if isinstance(default, tuple) else (default,)
        shown = ",".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
        if name == "dims":
            shown = "10-201:10"
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=_argument(_READ[name]),
            metavar="X",
            help=f"{help} (default: {shown})".replace("%", "%%"),
        )

    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML or YAML file with settings"
    )
    add("methods", f"of {', '.join(METHODS)}: dense, fixed ranks, adaptive ranks")
    add("runs", "numbers of the repetitions, which are their seeds, as 0-3")
    add("dims", "widths of the hidden layers")
    add("ranks", "ranks of dlrt; several at a single width make one test")
    add("tolerances", "tolerances of adaptive")
    add("start_rank", "rank that adaptive starts at, at most full rank")
    add("epochs", "epochs")
    add("batch_size", "images in a step")
    add("learning_rate", "learning rate")
    add("optimizer", f"of {', '.join(OPTIMIZERS)}")
    add("schedule", f"learning rate over the epochs: {', '.join(SCHEDULES)}")
    add("dataset", "auto, mnist, fashion_mnist or digits")
    add("dataset_size", "share of images; 0.1 are 5K-1K of MNIST, 1 all")
    add("noise", "share of the training labels to replace by random ones")
    add("regularizer", f"of {', '.join(REGULARIZERS)}")
    add("regularizer_amount", "its factor")
    add("val_size", "number or share of the training images to validate with")
    fixed, adaptive = (", ".join(list_integrators(adapts)) for adapts in (False, True))
    add("integrator", f"{fixed}; adaptive: {adaptive}")
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="folder of the archive (default: history_logs of the repository)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes of one thread each (default: the number of cores)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="where to train: here, or on a Ray cluster (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="with --engine ray: of the cluster (default: auto, one that runs here)",
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        metavar="S",
        help="from one checkpoint of a network to the next "
        f"(default: {CHECKPOINT_SECONDS:g})",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the networks with their parameters and an estimate of the time",
    )
    return parser


def _argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """`argparse` shows the messages of its own errors only."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
