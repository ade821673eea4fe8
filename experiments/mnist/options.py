"""The command line of the MNIST runs: from words to settings."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.cli import run_options
from experiments.cli.command import Parser
from experiments.cli.run_options import RunOptions
from experiments.mnist.config import (
    DEFAULTS,
    OPTIMIZERS,
    REGULARIZERS,
    SCHEDULES,
    Config,
    list_datasets,
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


def parse(arguments: Sequence[str]) -> Config:
    """Returns the settings that the words on the command line stand for.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    parser = Parser(
        prog="python -m experiments.mnist_dense",
        description="Trains networks of four hidden layers on MNIST and its like.",
    )
    return run_options.parse(
        arguments,
        parser,
        _DESCRIPTIONS,
        lambda subparser, name: _Options(subparser, DEFAULTS[name]).add_all(),
        resolve,
    )


class _Options(RunOptions):
    defaults: Config

    def add_all(self) -> None:
        if not self.defaults.dense:
            self._add_low_rank()
        self._add_training()
        self._add_data()
        self.add_run("weights, split, noise and order of the images")

    def _add_low_rank(self) -> None:
        adaptive = self.defaults.tolerance is not None
        self.add(
            "-s",
            "--start-rank",
            type=int,
            metavar="RANK",
            default=f"{self.defaults.start_rank}, at most full rank; with a low-rank "
            "--load-model its ranks",
            help="rank of the hidden layers" + (" at the start" if adaptive else ""),
        )
        self.add_ranks(adaptive)

    def _add_training(self) -> None:
        self.add(
            "-l",
            "--load-model",
            type=Path,
            metavar="PATH",
            default="none",
            help=f"weights to start from: {_SOURCES}",
        )
        self.add(
            "-a",
            "--train",
            type=zero_or_one,
            metavar="{0,1}",
            default="1",
            help="0: only evaluate and log what was loaded",
        )
        self.add(
            "-d",
            "--dim-layer",
            type=int,
            metavar="D",
            help="width of the hidden layers",
        )
        phases = self.defaults.fine_tune_epochs is not None
        self.add(
            "-e",
            "--epochs",
            type=int,
            help="adaptive epochs, at most" if phases else "epochs",
        )
        if phases:
            self.add(
                "--fine-tune-epochs",
                type=int,
                metavar="EPOCHS",
                default=f"as --epochs, at most {self.defaults.fine_tune_epochs}",
                help="epochs at fixed rank after those",
            )
            self.add(
                "--patience-ranks",
                type=int,
                metavar="EPOCHS",
                help="ranks have settled after so many epochs without a change",
            )
        self.add("--batch-size", type=int, metavar="N", help="images in a step")
        self.add("--learning-rate", type=float, metavar="RATE", help="learning rate")
        self.add(
            "--optimizer",
            choices=OPTIMIZERS,
            help="optimizer; sgd has momentum 0.9",
        )
        self.add(
            "--schedule",
            choices=SCHEDULES,
            help="learning rate over the epochs: constant, or a cosine down to 0",
        )
        self.add(
            "--regularizer",
            choices=REGULARIZERS,
            help="penalty on the kernels of the hidden layers; in low-rank layers l1 "
            "acts on the singular values; full is l2 on all weights",
        )
        self.add(
            "--regularizer-amount",
            type=float,
            metavar="X",
            help="factor of the penalty",
        )

    def _add_data(self) -> None:
        self.add(
            "--dataset",
            choices=list_datasets(),
            help="data set; auto is mnist where it can be had, else digits",
        )
        self.add(
            "--dataset-size", type=float, metavar="SHARE", help="share of images to use"
        )
        self.add(
            "--noise",
            type=float,
            metavar="SHARE",
            help="share of the training labels to replace by random ones",
        )
        self.add(
            "--val-size",
            type=size,
            metavar="SIZE",
            default="a sixth, 10000 for mnist",
            help="number or share of the training images to validate with",
        )


_SOURCES = (
    "a .keras file, or of a dense network the .weights.h5 or a folder of w<i>.npy, "
    "b<i>.npy, w_out.npy, b_out.npy"
)


def zero_or_one(text: str) -> bool:
    """A choice between no and yes."""
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
