"""The transformer runs: `python -m experiments.transformer <subcommand> [options]`.

Each trains a transformer that translates, and writes an Excel log, the vocabularies,
the best and the last model to `history_logs/<run name>/`. Exit status: 0 when done, 2
after wrong input, 3 when the loss stopped being a number, 4 when a file can't be
written in the middle of a run, 130 after Ctrl-C.
"""

import sys
from dataclasses import replace
from functools import partial

from experiments.cli import command, quiet
from experiments.runs import program
from experiments.translation.config import Config, parse


def _run(config: Config) -> None:
    from dlrt.datasets import load_corpus
    from experiments.translation.task import Translation

    try:
        with command.input_errors(), quiet.warnings_as_lines():
            corpus = load_corpus(config.corpus)
        named = replace(config, corpus=corpus.name)
        program.perform(lambda: Translation(named, corpus))
    except ImportError as error:
        # The packages of the extra are asked for here first.
        command.fail(str(error))


main = partial(program.main, "experiments.transformer", parse, _run)


if __name__ == "__main__":
    sys.exit(main())
