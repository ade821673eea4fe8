"""The transformer runs: `python -m experiments.transformer <subcommand> [options]`.

Each trains a transformer that translates, and writes an Excel log, the vocabularies,
the best and the last model to `history_logs/<run name>/`. Exit status: 0 when done, 2
after wrong input, 3 when the loss stopped being a number, 4 when a file can't be
written in the middle of a run, 130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from experiments.cli import command
from experiments.runs import program
from experiments.translation import options
from experiments.translation.config import Config


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    return program.main("experiments.transformer", arguments, options.parse, _run)


def _run(config: Config) -> None:
    from experiments.translation import text
    from experiments.translation.task import Translation

    try:
        with command.input_errors():
            corpus = text.load(config.corpus)
        named = replace(config, corpus=corpus.name)
        program.perform(lambda: Translation(named, corpus))
    except ImportError as error:
        # The packages of the extra are asked for here first.
        command.fail(str(error))


if __name__ == "__main__":
    sys.exit(main())
