"""The command line of the MNIST runs: from words to settings."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments._config import (
    ADAPTIVE_INTEGRATORS,
    DATASETS,
    DEFAULTS,
    INTEGRATORS,
    OPTIMIZERS,
    REGULARIZERS,
    SCHEDULES,
    Config,
    resolve,
)

_DESCRIPTIONS = {
    "dense-reference": "Trains the dense network that the others are compared with.",
    "fixed-rank": "Trains a low-rank network at one fixed rank.",
    "rank-adaptive": "Trains a low-rank network that finds its own ranks.",
    "fine-tune": (
        "Trains with adaptive ranks until they settle, then goes on at those ranks."
    ),
    "train-from-prune": (
        "Prunes a dense network by SVD, then retrains it at a fixed rank. Without "
        "--load-model it takes the newest finished dense-reference run with the same "
        "data and width, or trains one first."
    ),
}


class Parser(argparse.ArgumentParser):
    """Ends with one line where a word is wrong."""

    def error(self, message: str) -> NoReturn:
        fail(message)


def fail(message: str) -> NoReturn:
    """Ends the program because of what it was given: one line, exit status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def parse(arguments: Sequence[str]) -> Config:
    """Returns the settings that the words on the command line stand for.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    given = vars(_parser().parse_args(arguments))
    subcommand = given.pop("subcommand")
    try:
        return resolve(subcommand, given)
    except ValueError as error:
        fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m experiments.mnist_dense",
        description="Trains networks of four hidden layers on MNIST and its like.",
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(
        dest="subcommand", required=True, metavar="subcommand"
    )
    for name, description in _DESCRIPTIONS.items():
        subparser = subparsers.add_parser(
            name,
            help=description,
            description=description,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        _Options(subparser, DEFAULTS[name]).add_all()
    return parser


class _Options:
    """Adds options to the parser of a subcommand, with its defaults in the help."""

    def __init__(self, parser: argparse.ArgumentParser, defaults: Config) -> None:
        self._parser = parser
        self._defaults = defaults

    def add_all(self) -> None:
        if not self._defaults.dense:
            self._add_low_rank()
        self._add_training()
        self._add_data()
        self._add_run()

    def _add(self, *flags: str, help: str, default: str = "", **kwargs: Any) -> None:
        name = flags[-1].removeprefix("--").replace("-", "_")
        if not default:
            value = getattr(self._defaults, name)
            default = f"{value:g}" if isinstance(value, float) else str(value)
        self._parser.add_argument(
            *flags, help=f"{help} (default: {default})".replace("%", "%%"), **kwargs
        )

    def _add_low_rank(self) -> None:
        adaptive = self._defaults.tolerance is not None
        self._add(
            "-s",
            "--start-rank",
            type=int,
            metavar="RANK",
            default=f"{self._defaults.start_rank}, at most full rank; with a low-rank "
            "--load-model its ranks",
            help="rank of the hidden layers" + (" at the start" if adaptive else ""),
        )
        if adaptive:
            self._add(
                "-t",
                "--tolerance",
                type=float,
                help="relative truncation tolerance: larger means smaller ranks",
            )
            self._add(
                "-m",
                "--max-rank",
                type=int,
                metavar="RANK",
                default="full rank",
                help="upper bound of the ranks",
            )
        self._add(
            "--integrator",
            choices=ADAPTIVE_INTEGRATORS if adaptive else INTEGRATORS,
            help="how factors are stepped",
        )

    def _add_training(self) -> None:
        self._add(
            "-l",
            "--load-model",
            type=Path,
            metavar="PATH",
            default="none",
            help=f"weights to start from: {_SOURCES}",
        )
        self._add(
            "-a",
            "--train",
            type=_zero_or_one,
            metavar="{0,1}",
            default="1",
            help="0: only evaluate and log what was loaded",
        )
        self._add(
            "-d",
            "--dim-layer",
            type=int,
            metavar="D",
            help="width of the hidden layers",
        )
        phases = self._defaults.fine_tune_epochs is not None
        self._add(
            "-e",
            "--epochs",
            type=int,
            help="adaptive epochs, at most" if phases else "epochs",
        )
        if phases:
            self._add(
                "--fine-tune-epochs",
                type=int,
                metavar="EPOCHS",
                default=f"as --epochs, at most {self._defaults.fine_tune_epochs}",
                help="epochs at fixed rank after those",
            )
            self._add(
                "--patience-ranks",
                type=int,
                metavar="EPOCHS",
                help="ranks have settled after so many epochs without a change",
            )
        self._add("--batch-size", type=int, metavar="N", help="images in a step")
        self._add("--learning-rate", type=float, metavar="RATE", help="learning rate")
        self._add(
            "--optimizer",
            choices=OPTIMIZERS,
            help="optimizer; sgd has momentum 0.9",
        )
        self._add(
            "--schedule",
            choices=SCHEDULES,
            help="learning rate over the epochs: constant, or a cosine down to 0",
        )
        self._add(
            "--regularizer",
            choices=REGULARIZERS,
            help="penalty on the kernels of the hidden layers; in low-rank layers l1 "
            "acts on the singular values; full is l2 on all weights",
        )
        self._add(
            "--regularizer-amount",
            type=float,
            metavar="X",
            help="factor of the penalty",
        )

    def _add_data(self) -> None:
        self._add(
            "--dataset",
            choices=DATASETS,
            help="data set; auto is mnist where it can be had, else digits",
        )
        self._add(
            "--dataset-size", type=float, metavar="SHARE", help="share of images to use"
        )
        self._add(
            "--noise",
            type=float,
            metavar="SHARE",
            help="share of the training labels to replace by random ones",
        )
        self._add(
            "--val-size",
            type=size,
            metavar="SIZE",
            default="a sixth, 10000 for mnist",
            help="number or share of the training images to validate with",
        )

    def _add_run(self) -> None:
        self._add(
            "--seed",
            type=int,
            help="seed of weights, split, noise and order of the images",
        )
        self._add(
            "--run-name",
            metavar="NAME",
            default="made from the settings, and never one in use",
            help="folder of the run",
        )
        self._add(
            "--log-dir",
            type=Path,
            metavar="DIR",
            default="history_logs of the repository",
            help="folder of the runs",
        )
        self._add(
            "--resume",
            action="store_true",
            default="a new run",
            help="continue the run of that name after its last finished epoch; without "
            "--run-name the newest with these settings",
        )
        self._add(
            "--verbose",
            type=int,
            choices=(0, 1, 2),
            default="1 in a terminal, else 2",
            help="progress: 0 none, 1 a bar, 2 a line an epoch",
        )


_SOURCES = (
    "a .keras file, or of a dense network the .weights.h5 or a folder of w<i>.npy, "
    "b<i>.npy, w_out.npy, b_out.npy"
)


def _zero_or_one(text: str) -> bool:
    if text not in ("0", "1"):
        raise argparse.ArgumentTypeError(f"must be 0 or 1. Received: {text}")
    return text == "1"


def size(text: str) -> int | float:
    """A number of images or a share of them."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number of images or a share in (0, 1). Received: {text}"
        ) from None
