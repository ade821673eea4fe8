"""The transformer runs: `python -m experiments.transformer <subcommand> [options]`.

Each trains a transformer that translates, and writes an Excel log, the vocabularies,
the best and the last model to `history_logs/<run name>/`. Exit status: 0 when done, 2
after wrong input, 3 when the loss stopped being a number, 4 when a file can't be
written in the middle of a run, 130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from experiments.cli import command
from experiments.runs import program
from experiments.translation import options
from experiments.translation.config import Config

_MODULE = "experiments.transformer"


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
    from experiments.translation import summary, text
    from experiments.translation.training import Training

    try:
        with command.input_errors():
            corpus = text.load(config.corpus)
            training = Training(replace(config, corpus=corpus.name), corpus)
    except ImportError as error:
        # The packages of the extra are asked for here first.
        command.fail(str(error))
    directory = training.run.directory
    print(f"{config.subcommand} on {corpus.name}, in {directory}", flush=True)
    with program.training_errors(directory, "--learning-rate-factor"):
        training.train()
    print("\n".join(["", *summary.lines(training), ""]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
