"""A network that finds its widths: `python -m experiments.evolve [options]`.

A convolutional network for images starts with more than a million parameters and ends
with as many as asked for, in one run. Writes an Excel log and the last model to
`history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong input, 3 when the
loss stopped being a number, 4 when a file can't be written in the middle of a run, 130
after Ctrl-C.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from experiments.cli import command, run_options
from experiments.cli.command import Parser
from experiments.images.evolution_config import STOP, VAL_SIZE, Config, resolve
from experiments.runs import program
from experiments.runs.network_options import NetworkOptions

_MODULE = "experiments.evolve"
_UNITS = {
    "": 1,
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmg", start=1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmg", start=1)},
    "b": 1,
}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})", re.IGNORECASE)


def parse(arguments: Sequence[str]) -> Config:
    """Parses the command line into settings."""
    parser = Parser(
        prog=f"python -m {_MODULE}",
        description="Trains a convolutional network that finds its own widths.",
        argument_default=argparse.SUPPRESS,
    )
    return run_options.parse(arguments, parser, _Options, Config(), resolve)


class _Options(NetworkOptions):
    def add_all(self) -> None:
        self.add("-e", "--epochs", type=int, help="epochs")
        self.add_count("-p", "--max-parameters", help="parameters at the end")
        self.add(
            *("-m", "--max-memory"),
            type=_bytes,
            metavar="SIZE",
            help="memory of a step of training at the end, as 20MB, instead of or "
            "beside --max-parameters",
            default="without bound",
        )
        self.add_count(
            "--stop",
            metavar="EPOCHS",
            default=f"{STOP}, or one below --epochs",
            help="after so many, widths stay",
        )
        self.add("--threshold", type=float, help="relative singular value that is kept")
        self.add_count("--samples", help="images to measure the values on")
        self.add_batch_size()
        self.add_learning_rate()
        self.add_small_images()
        self.add_run("weights, split and order of the images")


def _bytes(text: str) -> int:
    """A size as people write it: 20MB, 1.5 GiB or a number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(
            "must be a size above 0, as 20MB, 512KiB or 1.5GB; without a unit it is "
            f"in bytes. Received: {text!r}"
        )
    return size


def _run(config: Config) -> None:
    from experiments.images.evolution_task import Evolution
    from experiments.runs import image_data

    with command.input_errors():
        data = image_data.load(config.dataset, VAL_SIZE, config.seed, 1.0, flat=False)
    program.perform(lambda: Evolution(replace(config, dataset=data.name), data))


main = partial(program.main, _MODULE, parse, _run)


if __name__ == "__main__":
    sys.exit(main())
