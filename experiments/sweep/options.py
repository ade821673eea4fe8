"""The settings of a sweep: its command line, and the file that can replace it."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli import options
from experiments.cli.checks import must, option
from experiments.cli.command import Parser, fail
from experiments.cli.options import setting
from experiments.cli.settings import LOG_DIR, list_integrators
from experiments.runs import names
from experiments.runs.network_settings import SCHEDULES, list_datasets, read_size
from experiments.sweep import settings_file

# The methods, and the subcommands of `experiments.mnist_dense` that train by them.
METHODS = {
    "reference": "dense-reference",
    "dlrt": "fixed-rank",
    "adaptive": "rank-adaptive",
}
REGULARIZERS = ("none", *names.REGULARIZERS)
MOST_NETWORKS = 100_000
# Processes of one machine; each takes half a gigabyte of memory.
_MOST_WORKERS = 1000


def count_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_whole_numbers(text: str) -> tuple[int, ...]:
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
        # Not by `len`, which overflows for huge ranges.
        if (found.stop - found.start) // found.step >= MOST_NETWORKS:
            raise ValueError(
                f"the range {part} must have fewer than {MOST_NETWORKS:,} numbers"
            )
        numbers |= set(found)
    return tuple(sorted(numbers))


def _values(kind: Callable[[str], Any]) -> Callable[[str], tuple]:
    return lambda text: tuple(kind(word) for word in text.replace(",", " ").split())


def _words(default: tuple[str, ...], help: str) -> Any:
    return setting(default, help, type=_values(str))


def _numbers(default: tuple[float, ...], help: str) -> Any:
    return setting(default, help, type=_values(float))


def _whole(default: tuple[int, ...], help: str, shown: str = "") -> Any:
    return setting(default, help, shown=shown, type=read_whole_numbers)


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


@dataclass(frozen=True)
class Grid:
    """What a sweep trains: every combination of values, which are as in `Config`."""

    methods: tuple[str, ...] = _words(
        ("reference", "dlrt"),
        f"of {', '.join(METHODS)}: dense, fixed ranks, adaptive ranks",
    )
    runs: tuple[int, ...] = _whole(
        (0,), "numbers of the repetitions, which are their seeds, as 0-3"
    )
    dims: tuple[int, ...] = _whole(
        tuple(range(10, 201, 10)), "widths of the hidden layers", "10-201:10"
    )
    ranks: tuple[int, ...] = _whole(
        (5,), "ranks of dlrt; several at a single width make one test"
    )
    tolerances: tuple[float, ...] = _numbers((0.2,), "tolerances of adaptive")
    start_rank: int = setting(100, "rank that adaptive starts at, at most full rank")
    epochs: tuple[int, ...] = _whole((250,), "epochs")
    batch_size: tuple[int, ...] = _whole((256,), "images in a step")
    learning_rate: tuple[float, ...] = _numbers((1e-3,), "learning rate")
    optimizer: tuple[str, ...] = _words(("adam",), f"of {', '.join(names.OPTIMIZERS)}")
    dataset: str = setting("auto", f"of {', '.join(list_datasets())}")
    dataset_size: tuple[float, ...] = _numbers(
        (0.1,), "share of images; 0.1 are 5K-1K of MNIST, 1 all"
    )
    noise: tuple[float, ...] = _numbers(
        (0.0,), "share of the training labels to replace by random ones"
    )
    regularizer: tuple[str, ...] = _words(("none",), f"of {', '.join(REGULARIZERS)}")
    regularizer_amount: tuple[float, ...] = _numbers((1e-4,), "its factor")
    val_size: int | float = setting(
        1 / 6,
        "number or share of the training images to validate with",
        type=read_size,
    )
    integrator: str = setting(
        "parallel_bug",
        f"{', '.join(list_integrators(False))}; adaptive: "
        f"{', '.join(list_integrators(True))}",
    )
    schedule: str = setting(
        "constant", f"learning rate over the epochs: {', '.join(SCHEDULES)}"
    )

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if values == ():
                raise ValueError(
                    f"`{option(name)}` must name at least one value, or the grid is "
                    "empty"
                )
        for name, allowed in (
            ("methods", METHODS),
            ("optimizer", names.OPTIMIZERS),
            ("regularizer", REGULARIZERS),
        ):
            for value in getattr(self, name):
                if value not in allowed:
                    raise ValueError(
                        f"`--{name}` must be of {', '.join(allowed)}. Received: {value}"
                    )
        for name in ("dims", "ranks"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"`--{name}` must be at least 1. Received: 0")


@dataclass(frozen=True)
class Options:
    """The settings of a sweep.

    Args:
        grid: What is trained.
    """

    grid: Grid
    log_dir: Path = setting(
        LOG_DIR,
        "folder of the archive",
        shown="history_logs of the repository",
        type=_folder,
        metavar="DIR",
    )
    workers: int = setting(
        count_cores(),
        "processes of one thread each",
        shown="the number of cores",
        rule=must(
            lambda count: 1 <= count <= _MOST_WORKERS,
            f"be at least 1 and at most {_MOST_WORKERS}",
        ),
    )
    engine: str = setting(
        "local",
        "where to train: here, or on a Ray cluster",
        choices=("local", "ray"),
    )
    address: str = setting(
        "auto",
        "with --engine ray: of the cluster",
        shown="auto, one that runs here",
        metavar="ADDRESS",
    )
    # A killed process loses at most this much of a run; writing costs about a percent.
    checkpoint_seconds: float = setting(
        20.0,
        "from one checkpoint of a network to the next",
        rule=must(lambda seconds: seconds > 0, "be above 0"),
    )
    dry_run: bool = setting(
        False,
        "list the networks with their parameters and an estimate of the time",
        shown="no",
    )

    def __post_init__(self) -> None:
        options.check(self)


_READERS = options.readers(Grid) | options.readers(Options)


def parse(arguments: Sequence[str]) -> Options:
    """Parses the command line into settings.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    given = vars(_parser().parse_args(arguments))
    config = given.pop("config", None)
    try:
        words = ({} if config is None else _read(config)) | given
        if "regularizer_amount" in words and {*words.get("regularizer", ())} <= {
            "none"
        }:
            amounts = ",".join(map(str, words["regularizer_amount"]))
            raise ValueError(
                "`--regularizer-amount` must come with `--regularizer`. Received: "
                f"--regularizer-amount {amounts}"
            )
        of_grid = {name: words.pop(name) for name in [*words] if hasattr(Grid, name)}
        found = Options(Grid(**of_grid), **words)
        if "address" in words and found.engine != "ray":
            raise ValueError(
                "`--address` must come with `--engine ray`. Received: --address "
                f"{found.address}"
            )
    except (ValueError, OSError) as error:
        fail(str(error))
    return found


def _read(path: Path) -> dict[str, Any]:
    """The settings of a TOML or YAML file.

    Raises:
        ValueError: If the file or a setting in it is wrong.
    """
    settings = {}
    for name, text in settings_file.read(path, _READERS).items():
        try:
            settings[name] = _READERS[name](text)
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
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML or YAML file with settings"
    )
    options.add_options(parser, Grid())
    options.add_options(parser, Options(Grid()))
    return parser
