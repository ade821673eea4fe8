"""The five MNIST runs: `python -m experiments.mnist_dense <subcommand> [options]`.

Each trains a network of four hidden layers and writes an Excel log, the best and the
last model to `history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong
input, 3 when the loss stopped being a number, 4 when a file can't be written in the
middle of a run, 130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import command
from experiments.mnist import options
from experiments.mnist.config import DEFAULTS, Config
from experiments.runs import program

if TYPE_CHECKING:
    from experiments.mnist.training import Training
    from experiments.runs.image_data import Data

_MODULE = "experiments.mnist_dense"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    words = command.words_of(arguments)
    config = options.parse(words)
    return program.run(_MODULE, words, config, partial(_run, config))


def _run(config: Config) -> int:
    program.begin(config)
    from experiments.runs import folders, image_data

    with command.input_errors():
        data = image_data.load(config)
        config = replace(config, dataset=data.name)
        run = folders.find(config) if config.resume else None
    weights = config.load_model
    # The log of a run that is continued tells which weights it began with.
    if config.subcommand == "train-from-prune" and weights is None and run is None:
        weights = _dense_weights(config, data)
        config = replace(config, resume=False)
    training = _train(config, data, weights)
    _print_summary(training)
    return 0


def _train(config: Config, data: "Data", weights: Path | None) -> "Training":
    from experiments.mnist.training import Training

    with command.input_errors():
        training = Training(config, data, weights)
    directory = training.run.directory
    print(f"{config.subcommand} on {data.name}, in {directory}", flush=True)
    with program.training_errors(directory, "--learning-rate"):
        training.train()
    return training


def _dense_weights(config: Config, data: "Data") -> Path:
    """The newest dense network that suits a pruned one, trained first if need be."""
    from experiments.mnist import dense_runs
    from experiments.runs import folders

    changes = {
        name: getattr(DEFAULTS["dense-reference"], name)
        for name in ("subcommand", "start_rank", "integrator", "train", "run_name")
    }
    dense = replace(config, **changes)
    with command.input_errors():
        found = None if config.resume else dense_runs.newest(config)
        # A run that was stopped while its dense network was trained has no folder yet.
        named = config.run_name is not None
        if config.resume and (named or folders.find(dense) is None):
            raise folders.missing(config)
    if found is not None:
        print(f"Dense weights: {found.best}", flush=True)
        return found.best
    print("There is no dense network to prune yet; one is trained first.", flush=True)
    try:
        training = _train(dense, data, None)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None
    _print_summary(training)
    return training.run.best


def _print_summary(training: "Training") -> None:
    from experiments.runs import summary

    config = training.config
    phase = training.phases[-1].name if config.train else None
    lines = summary.lines(
        training.run, config.network, phase, training.first_selected_epoch
    )
    print("\n".join(["", *lines, ""]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
