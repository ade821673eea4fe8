"""Options of the command lines that train networks on images."""

import argparse

from experiments.cli.run_options import RunOptions
from experiments.runs.network_settings import SCHEDULES, list_datasets


class NetworkOptions(RunOptions):
    """Adds options of networks that are trained on images."""

    def add_batch_size(self, default: str = "") -> None:
        """Adds the batch size."""
        self.add_count("--batch-size", help="images in a step", default=default)

    def add_learning_rate(self, default: str = "") -> None:
        """Adds the learning rate."""
        self.add_number(
            "--learning-rate", metavar="RATE", default=default, help="learning rate"
        )

    def add_schedule(self) -> None:
        """Adds the schedule of the learning rate."""
        self.add(
            "--schedule",
            choices=SCHEDULES,
            help="learning rate over the epochs: constant, or a cosine down to 0",
        )

    def add_small_images(self) -> None:
        """Adds the data set, one of several of 28x28."""
        self.add(
            "--dataset",
            choices=list_datasets(),
            help="data set; auto is mnist where it can be had, else digits",
        )

    def add_dataset_size(self) -> None:
        """Adds the share of the data set to use."""
        self.add_number(
            "--dataset-size", metavar="SHARE", help="share of images to use"
        )

    def add_val_size(self) -> None:
        """Adds the size of the validation set."""
        self.add(
            "--val-size",
            type=size,
            metavar="SIZE",
            default="a sixth, 10000 for mnist",
            help="number or share of the training images to validate with",
        )


def zero_or_one(text: str) -> bool:
    """A choice between no and yes."""
    if text not in ("0", "1"):
        raise argparse.ArgumentTypeError(f"must be 0 or 1. Received: {text}")
    return text == "1"


def size(text: str) -> int | float:
    """A number of images or a share of them."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(
        f"must be a number of images or a share in (0, 1). Received: {text}"
    )
