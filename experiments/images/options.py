"""The command line of the image runs."""

import argparse
from collections.abc import Sequence

from dlrt_names.data_sets import IMAGES
from experiments.cli import run_options
from experiments.cli.command import Parser
from experiments.images.config import (
    DEFAULTS,
    LEARNING_RATES,
    Config,
    resolve,
)
from experiments.runs.network_options import NetworkOptions, zero_or_one

_DESCRIPTIONS = {
    "dense-reference": "Trains the dense network that the others are compared with.",
    "fixed-rank": "Trains a network whose layers have fixed ranks.",
    "rank-adaptive": "Trains a network that finds the ranks of its layers.",
}


def parse(arguments: Sequence[str], prog: str, architecture: str) -> Config:
    """Parses the command line into settings.

    Args:
        arguments: The arguments.
        prog: The name of the program.
        architecture: The network that it trains.
    """
    return run_options.parse_subcommand(
        arguments,
        Parser(prog=prog, description=f"Trains {architecture} on images."),
        _DESCRIPTIONS,
        ImageOptions,
        DEFAULTS,
        lambda name, given: resolve(name, {"architecture": architecture, **given}),
    )


class ImageOptions(NetworkOptions):
    """Adds the options of image runs."""

    defaults: Config
    datasets = (
        f"data set, {', '.join(IMAGES)}, or a folder with images as "
        "train/<class>/<image> and test/<class>/<image>; auto is mnist where it can be "
        "had, else digits"
    )
    batch_size = ""

    def add_all(self) -> None:
        if not self.defaults.dense:
            self._add_low_rank()
        self.add_training()
        self.add_data()
        self.add_run("weights, split and order of the images")

    def _add_low_rank(self) -> None:
        adaptive = self.defaults.adaptive
        self.add(
            *("-s", "--ranks"),
            type=_ranks,
            metavar="R[,R...]",
            default=",".join(map(str, self.defaults.ranks or ())),
            help="rank of the layers, at most full rank, or of each in order"
            + (", at the start" if adaptive else ""),
        )
        self.add_ranks(adaptive)

    def add_training(self) -> None:
        """Adds the options on how a network is trained."""
        self.add("-e", "--epochs", type=int, help="epochs")
        self.add_batch_size(self.batch_size)
        self.add("--optimizer", choices=list(LEARNING_RATES), help="optimizer")
        self.add_learning_rate(
            ", ".join(f"{name}: {rate:g}" for name, rate in LEARNING_RATES.items())
        )
        self.add_number("--momentum", help="momentum of sgd")
        self.add_number(
            "--weight-decay",
            help="factor of half the squared norm of all kernels in the loss",
        )
        self.add_schedule()

    def add_data(self) -> None:
        """Adds the options on what a network is trained on."""
        self.add("--dataset", metavar="NAME|DIR", help=self.datasets)
        self.add(
            "--image-size",
            type=_image_size,
            metavar="HxW",
            default="that which all have",
            help="height and width to scale the images of a folder to",
        )
        self.add(
            "--augment",
            type=zero_or_one,
            metavar="{0,1}",
            default="1 for images in colour",
            help="1: shift and mirror training images at random",
        )
        self.add_dataset_size()
        self.add_val_size()


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
