"""The LeNet-5 runs: `python -m experiments.lenet5 <subcommand> [options]`.

Each trains LeNet-5 on MNIST and writes an Excel log, the best and the last model to
`history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong input, 3 when the
loss stopped being a number, 4 when a file can't be written in the middle of a run, 130
after Ctrl-C.
"""

import sys
from dataclasses import replace
from functools import partial

from experiments.cli import command
from experiments.images.config import Config, parse
from experiments.runs import program

_MODULE = "experiments.lenet5"


def _run(config: Config) -> None:
    from experiments.images.task import Images, load

    with command.input_errors():
        data = load(config)
    named = replace(config, dataset=data.name)
    program.perform(lambda: Images(named, data, title="LeNet-5, "))


_PARSE = partial(parse, prog=f"python -m {_MODULE}", architecture="lenet5")
main = partial(program.main, _MODULE, _PARSE, _run)


if __name__ == "__main__":
    sys.exit(main())
