"""The five MNIST runs: `python -m experiments.mnist_dense <subcommand> [options]`.

Each trains a network of four hidden layers and writes an Excel log, the best and the
last model to `history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong
input, 3 when the loss stopped being a number, 4 when a file can't be written in the
middle of a run, 130 after Ctrl-C.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import command
from experiments.mnist.config import DEFAULTS, Config, parse
from experiments.runs import folders, program

if TYPE_CHECKING:
    from experiments.runs.image_data import Data

# Settings that a dense network must share with the one that is made from it. With
# another split, it may have been trained on images that validate the other.
_SAME = ("dataset", "dim_layer", "dataset_size", "noise", "val_size", "seed")


def _run(config: Config) -> None:
    from experiments.mnist.task import DenseLayers, load

    with command.input_errors():
        data = load(config)
        config = replace(config, dataset=data.name)
        found = folders.find(config) if config.resume else None
    weights = config.load_model
    # The log of a run that is continued tells which weights it began with.
    if config.prunes and weights is None and found is None:
        weights = _dense_weights(config, data)
        config = replace(config, resume=False)
    program.perform(lambda: DenseLayers(config, data, weights))


def _dense_weights(config: Config, data: "Data") -> Path:
    """The newest dense network that suits a pruned one, trained first if need be."""
    from experiments.mnist.task import DenseLayers

    dense = _dense_config(config)
    with command.input_errors():
        found = None if config.resume else find_dense(config)
        # A run that was stopped while its dense network was trained has no folder yet.
        named = config.run_name is not None
        if config.resume and (named or folders.find(dense) is None):
            raise folders.missing(config)
    if found is not None:
        print(f"Dense weights: {found.best}", flush=True)
        return found.best
    print("There is no dense network to prune yet; one is trained first.", flush=True)
    with program.part_of_a_run():
        return program.perform(lambda: DenseLayers(dense, data, None)).folder.best


def find_dense(config: Config) -> folders.Folder | None:
    """The newest finished dense run with the width, images and split of a run."""
    return folders.find_newest_finished(_dense_config(config), _SAME)


def _dense_config(config: Config) -> Config:
    changes = {
        name: getattr(DEFAULTS["dense-reference"], name)
        for name in ("subcommand", "start_rank", "integrator", "train", "run_name")
    }
    return replace(config, **changes)


main = partial(program.main, "experiments.mnist_dense", parse, _run)


if __name__ == "__main__":
    sys.exit(main())
