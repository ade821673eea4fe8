"""The LeNet-5 runs: `python -m experiments.lenet5 <subcommand> [options]`.

Each trains LeNet-5 on MNIST and writes an Excel log, the best and the last model to
`history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong input, 3 when the
loss stopped being a number, 4 when a file can't be written in the middle of a run, 130
after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from experiments.cli import command
from experiments.images import options
from experiments.images.config import Config
from experiments.runs import program

_MODULE = "experiments.lenet5"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    words = command.words_of(arguments)
    config = options.parse(words, f"python -m {_MODULE}", "lenet5")
    return program.run(_MODULE, words, config, partial(_run, config))


def _run(config: Config) -> int:
    program.begin(config)
    from experiments.images import training
    from experiments.runs import summary

    with command.input_errors():
        data = training.load(config)
        run = training.Training(replace(config, dataset=data.name), data)
    directory = run.run.directory
    print(f"LeNet-5, {config.subcommand} on {data.name}, in {directory}", flush=True)
    with program.training_errors(directory, "--learning-rate"):
        run.train()
    lines = summary.lines(
        run.run, run.config.network, run.config.kind, run.first_selected_epoch
    )
    print("\n".join(["", *lines, ""]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
