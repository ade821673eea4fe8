"""The command line of the image runs: from words to settings."""

import argparse
from collections.abc import Sequence

from dlrt_names.data_sets import IMAGES
from experiments.cli import run_options
from experiments.cli.command import Parser
from experiments.cli.run_options import RunOptions
from experiments.images.config import (
    DEFAULTS,
    LEARNING_RATES,
    Config,
    resolve,
)
from experiments.mnist import options
from experiments.mnist.config import SCHEDULES

_DESCRIPTIONS = {
    "dense-reference": "Trains the dense network that the others are compared with.",
    "fixed-rank": "Trains a network whose layers have fixed ranks.",
    "rank-adaptive": "Trains a network that finds the ranks of its layers.",
}


def parse(arguments: Sequence[str], prog: str, architecture: str) -> Config:
    """Returns the settings that the words on the command line stand for.

    Args:
        arguments: The words.
        prog: How the program is called.
        architecture: The network that it trains.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    parser = Parser(prog=prog, description=f"Trains {architecture} on images.")
    return run_options.parse(
        arguments,
        parser,
        _DESCRIPTIONS,
        lambda subparser, name: ImageOptions(subparser, DEFAULTS[name]).add_all(),
        lambda name, given: resolve(name, {"architecture": architecture, **given}),
    )


class ImageOptions(RunOptions):
    """Adds the options of image runs."""

    defaults: Config
    datasets = (
        f"data set, {', '.join(IMAGES)}, or a folder with images as "
        "train/<class>/<image> and test/<class>/<image>; auto is mnist where it can be "
        "had, else digits"
    )
    batch_size = ""

    def add_all(self) -> None:
        """Adds the options of a subcommand."""
        if not self.defaults.dense:
            self.add_low_rank()
        self.add_training()
        self.add_data()
        self.add_run("weights, split and order of the images")

    def add_low_rank(self) -> None:
        """Adds what says how factors are trained."""
        adaptive = self.defaults.adaptive
        self.add(
            "-s",
            "--ranks",
            type=_ranks,
            metavar="R[,R...]",
            default=",".join(map(str, self.defaults.ranks or ())),
            help="rank of the layers, at most full rank, or of each in order"
            + (", at the start" if adaptive else ""),
        )
        self.add_ranks(adaptive)

    def add_training(self) -> None:
        """Adds what says how a network is trained."""
        self.add("-e", "--epochs", type=int, help="epochs")
        self.add(
            "--batch-size",
            type=int,
            metavar="N",
            default=self.batch_size,
            help="images in a step",
        )
        self.add(
            "--optimizer",
            choices=list(LEARNING_RATES),
            help="optimizer",
        )
        self.add(
            "--learning-rate",
            type=float,
            metavar="RATE",
            default=", ".join(f"{k}: {v:g}" for k, v in LEARNING_RATES.items()),
            help="learning rate",
        )
        self.add("--momentum", type=float, metavar="X", help="momentum of sgd")
        self.add(
            "--weight-decay",
            type=float,
            metavar="X",
            help="factor of half the squared norm of all kernels in the loss",
        )
        self.add(
            "--schedule",
            choices=SCHEDULES,
            help="learning rate over the epochs: constant, or a cosine down to 0",
        )

    def add_data(self) -> None:
        """Adds what says what a network is trained on."""
        self.add(
            "--dataset",
            metavar="NAME|DIR",
            help=self.datasets,
        )
        self.add(
            "--image-size",
            type=_image_size,
            metavar="HxW",
            default="that which all have",
            help="height and width to scale the images of a folder to",
        )
        self.add(
            "--augment",
            type=options.zero_or_one,
            metavar="{0,1}",
            default="1 for images in colour",
            help="1: shift and mirror training images at random",
        )
        self.add(
            "--dataset-size", type=float, metavar="SHARE", help="share of images to use"
        )
        self.add(
            "--val-size",
            type=options.size,
            metavar="SIZE",
            default="a sixth, 10000 for mnist",
            help="number or share of the training images to validate with",
        )


def _ranks(text: str) -> tuple[int, ...]:
    try:
        ranks = tuple(map(int, text.split(",")))
    except ValueError:
        ranks = ()
    if not ranks or min(ranks) < 1:
        raise argparse.ArgumentTypeError(
            f"must be positive integers with commas between. Received: {text}"
        )
    return ranks


def _image_size(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 1:
        raise argparse.ArgumentTypeError(
            f"must be two positive integers, as 32x32. Received: {text}"
        )
    return height, width
