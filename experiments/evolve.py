"""A network that finds its widths: `python -m experiments.evolve [options]`.

A convolutional network for images starts with more than a million parameters and ends
with as many as asked for, in one run. Writes an Excel log and the last model to
`history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong input, 3 when the
loss stopped being a number, 4 when a file can't be written in the middle of a run, 130
after Ctrl-C.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from experiments.cli import command, options
from experiments.cli.command import Parser
from experiments.images.evolution_config import VAL_SIZE, Config, resolve
from experiments.runs import program

_MODULE = "experiments.evolve"


def parse(arguments: Sequence[str]) -> Config:
    """Parses the command line into settings."""
    parser = Parser(
        prog=f"python -m {_MODULE}",
        description="Trains a convolutional network that finds its own widths.",
        argument_default=argparse.SUPPRESS,
    )
    return options.parse(arguments, parser, resolve, Config())


def _run(config: Config) -> None:
    from experiments.images.evolution_task import Evolution
    from experiments.runs import image_data

    with command.input_errors():
        data = image_data.load(config.dataset, VAL_SIZE, config.seed, 1.0, flat=False)
    program.perform(lambda: Evolution(replace(config, dataset=data.name), data))


main = partial(program.main, _MODULE, parse, _run)


if __name__ == "__main__":
    sys.exit(main())
