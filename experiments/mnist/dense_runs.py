"""Which dense MNIST network a pruned one begins with."""

from dataclasses import replace

from experiments.mnist.config import Config
from experiments.runs import folders
from experiments.runs.folders import Run

_SAME = ("dataset", "dim_layer", "dataset_size", "noise", "val_size", "seed")


def newest(config: Config) -> Run | None:
    """The newest finished dense run with a run's width, images and split.

    With another split, the dense network may have been trained on images that the
    pruned one would be validated with.
    """
    return folders.newest_finished(replace(config, subcommand="dense-reference"), _SAME)
