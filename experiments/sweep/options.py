"""The command line of a sweep, and the file that can replace it."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.cli.checks import option
from experiments.cli.command import Parser, fail
from experiments.cli.settings import LOG_DIR, list_integrators
from experiments.runs.names import OPTIMIZERS
from experiments.runs.network_options import size
from experiments.runs.network_settings import SCHEDULES, list_datasets
from experiments.sweep import settings_file
from experiments.sweep.grid import METHODS, MOST_NETWORKS, REGULARIZERS, Grid

ENGINES = ("local", "ray")
# A killed process loses at most this much of a run; writing costs about a percent.
CHECKPOINT_SECONDS = 20.0
# Processes of one machine; each takes half a gigabyte of memory.
_MOST_WORKERS = 1000


def count_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Options:
    """The settings of a sweep.

    Args:
        grid: What is trained.
        log_dir: Folder of the archive.
        workers: Number of processes. Defaults to the number of cores.
        engine: One of `ENGINES`.
        address: Address of the Ray cluster.
        checkpoint_seconds: From one checkpoint of a network to the next.
        dry_run: Whether only to say what would be trained.
    """

    grid: Grid
    log_dir: Path = LOG_DIR
    workers: int = field(default_factory=count_cores)
    engine: str = "local"
    address: str = "auto"
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name, valid, allowed in (
            (
                "workers",
                1 <= self.workers <= _MOST_WORKERS,
                f"at least 1 and at most {_MOST_WORKERS}",
            ),
            ("checkpoint_seconds", self.checkpoint_seconds > 0, "above 0"),
            ("engine", self.engine in ENGINES, f"one of {', '.join(ENGINES)}"),
        ):
            if not valid:
                raise ValueError(
                    f"`{option(name)}` must be {allowed}. Received: {option(name)} "
                    f"{getattr(self, name)}"
                )


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
        of_grid = {name: words.pop(name) for name in _grid_settings() if name in words}
        options = Options(Grid(**of_grid), **words)
        if "address" in words and options.engine != "ray":
            raise ValueError(
                "`--address` must come with `--engine ray`. Received: --address "
                f"{options.address}"
            )
    except (ValueError, OSError) as error:
        fail(str(error))
    return options


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


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _grid_settings() -> dict[str, tuple[Callable[[str], Any], str]]:
    """How the text of each setting of a grid is read, and what the help says of it."""
    fixed, adaptive = (", ".join(list_integrators(adapts)) for adapts in (False, True))
    methods, schedules = ", ".join(METHODS), ", ".join(SCHEDULES)
    words, floats, whole = _values(str), _values(float), read_whole_numbers
    return {
        "methods": (words, f"of {methods}: dense, fixed ranks, adaptive ranks"),
        "runs": (whole, "numbers of the repetitions, which are their seeds, as 0-3"),
        "dims": (whole, "widths of the hidden layers"),
        "ranks": (whole, "ranks of dlrt; several at a single width make one test"),
        "tolerances": (floats, "tolerances of adaptive"),
        "start_rank": (int, "rank that adaptive starts at, at most full rank"),
        "epochs": (whole, "epochs"),
        "batch_size": (whole, "images in a step"),
        "learning_rate": (floats, "learning rate"),
        "optimizer": (words, f"of {', '.join(OPTIMIZERS)}"),
        "schedule": (str, f"learning rate over the epochs: {schedules}"),
        "dataset": (str, f"of {', '.join(list_datasets())}"),
        "dataset_size": (floats, "share of images; 0.1 are 5K-1K of MNIST, 1 all"),
        "noise": (floats, "share of the training labels to replace by random ones"),
        "regularizer": (words, f"of {', '.join(REGULARIZERS)}"),
        "regularizer_amount": (floats, "its factor"),
        "val_size": (size, "number or share of the training images to validate with"),
        "integrator": (str, f"{fixed}; adaptive: {adaptive}"),
    }


# The other settings that a file may have too, as `argparse` takes them.
_ENGINE_SETTINGS: dict[str, dict[str, Any]] = {
    "log_dir": {
        "type": _folder,
        "metavar": "DIR",
        "help": "folder of the archive (default: history_logs of the repository)",
    },
    "workers": {
        "type": int,
        "metavar": "N",
        "help": "processes of one thread each (default: the number of cores)",
    },
    "engine": {
        "type": str,
        "choices": ENGINES,
        "help": "where to train: here, or on a Ray cluster (default: local)",
    },
    "address": {
        "type": str,
        "metavar": "ADDRESS",
        "help": "with --engine ray: of the cluster (default: auto, one that runs here)",
    },
    "checkpoint_seconds": {
        "type": float,
        "metavar": "S",
        "help": "from one checkpoint of a network to the next "
        f"(default: {CHECKPOINT_SECONDS:g})",
    },
}


def _read(path: Path) -> dict[str, Any]:
    """The settings of a TOML or YAML file.

    Raises:
        ValueError: If the file or a setting in it is wrong.
    """
    readers = {name: read for name, (read, _) in _grid_settings().items()}
    readers |= {name: words["type"] for name, words in _ENGINE_SETTINGS.items()}
    settings = {}
    for name, text in settings_file.read(path, readers).items():
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

    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML or YAML file with settings"
    )
    for name, (read, text) in _grid_settings().items():
        default = getattr(Grid, name)
        values = default if isinstance(default, tuple) else (default,)
        shown = ",".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
        if name == "dims":
            shown = "10-201:10"
        help = f"{text} (default: {shown})".replace("%", "%%")
        parser.add_argument(option(name), type=_argument(read), metavar="X", help=help)
    for name, settings in _ENGINE_SETTINGS.items():
        parser.add_argument(option(name), **settings)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the networks with their parameters and an estimate of the time",
    )
    return parser


def _argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """`argparse` shows only messages of its own error type."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
