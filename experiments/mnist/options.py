"""The command line of the MNIST runs."""

from collections.abc import Sequence
from pathlib import Path

from experiments.cli import run_options
from experiments.cli.command import Parser
from experiments.mnist.config import (
    DEFAULTS,
    OPTIMIZERS,
    REGULARIZERS,
    Config,
    resolve,
)
from experiments.runs.network_options import NetworkOptions, zero_or_one

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
_SOURCES = (
    "a .keras file, or of a dense network the .weights.h5 or a folder of w<i>.npy, "
    "b<i>.npy, w_out.npy, b_out.npy"
)


def parse(arguments: Sequence[str]) -> Config:
    """Parses the command line into settings."""
    parser = Parser(
        prog="python -m experiments.mnist_dense",
        description="Trains networks of four hidden layers on MNIST and its like.",
    )
    return run_options.parse_subcommand(
        arguments, parser, _DESCRIPTIONS, _Options, DEFAULTS, resolve
    )


class _Options(NetworkOptions):
    defaults: Config

    def add_all(self) -> None:
        if not self.defaults.dense:
            self._add_low_rank()
        self._add_training()
        self._add_regularizer()
        self.add_small_images()
        self.add_dataset_size()
        self.add_number(
            "--noise",
            metavar="SHARE",
            help="share of the training labels to replace by random ones",
        )
        self.add_val_size()
        self.add_run("weights, split, noise and order of the images")

    def _add_low_rank(self) -> None:
        adaptive = self.defaults.adaptive
        self.add_count(
            *("-s", "--start-rank"),
            metavar="RANK",
            default=f"{self.defaults.start_rank}, at most full rank; with a low-rank "
            "--load-model its ranks",
            help="rank of the hidden layers" + (" at the start" if adaptive else ""),
        )
        self.add_ranks(adaptive)

    def _add_training(self) -> None:
        self.add(
            *("-l", "--load-model"),
            type=Path,
            metavar="PATH",
            default="none",
            help=f"weights to start from: {_SOURCES}",
        )
        self.add(
            *("-a", "--train"),
            type=zero_or_one,
            metavar="{0,1}",
            default="1",
            help="0: only evaluate and log what was loaded",
        )
        self.add_count(
            *("-d", "--dim-layer"), metavar="D", help="width of the hidden layers"
        )
        most = self.defaults.fine_tune_epochs
        epochs = "epochs" if most is None else "adaptive epochs, at most"
        self.add("-e", "--epochs", type=int, help=epochs)
        if most is not None:
            self.add_count(
                "--fine-tune-epochs",
                metavar="EPOCHS",
                default=f"as --epochs, at most {most}",
                help="epochs at fixed rank after those",
            )
            self.add_count(
                "--patience-ranks",
                metavar="EPOCHS",
                help="ranks have settled after so many epochs without a change",
            )
        self.add_batch_size()
        self.add_learning_rate()
        self.add(
            "--optimizer", choices=OPTIMIZERS, help="optimizer; sgd has momentum 0.9"
        )
        self.add_schedule()

    def _add_regularizer(self) -> None:
        self.add(
            "--regularizer",
            choices=REGULARIZERS,
            help="penalty on the kernels of the hidden layers; in low-rank layers l1 "
            "acts on the singular values; full is l2 on all weights",
        )
        self.add_number("--regularizer-amount", help="factor of the penalty")
