"""The command lines of the experiments: words, exit statuses, and how they end.

Nothing here needs a backend: help and mistyped options don't wait for it to start.
"""

import argparse
import contextlib
import difflib
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.cli import quiet
from experiments.cli.checks import check_sources
from experiments.cli.settings import Settings
from experiments.runs import folders
from experiments.runs.finite import NonFiniteLoss

# Exit statuses.
FAILED = 1
WRONG_INPUT = 2
NON_FINITE = 3
UNWRITABLE = 4
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Takes whole words only, and ends with one line where one is wrong."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            hints = "".join(
                suggestion(word.split("=")[0], self._flags(given))
                for word in unknown
                if word.startswith("-")
            )
            fail(f"unrecognized arguments: {' '.join(unknown)}.{hints}")
        return given

    def _flags(self, given: argparse.Namespace) -> Iterator[str]:
        """The options of the parser, and of the subcommand that was chosen."""
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action.choices, Mapping):
                chosen = getattr(given, action.dest)
                yield from action.choices[chosen]._flags(given)

    def error(self, message: str) -> NoReturn:
        fail(message)


def suggestion(word: str, known: Iterable[str]) -> str:
    """A question, after a space, for what is like a mistyped word; maybe none."""
    like = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean {like[0]}?" if like else ""


def fail(message: str) -> NoReturn:
    """Ends the program because of what it was given: one line, exit status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(WRONG_INPUT)


def add_subcommands(
    parser: argparse.ArgumentParser, descriptions: Mapping[str, str], **settings: Any
) -> dict[str, argparse.ArgumentParser]:
    """Gives a parser subcommands, one of which must be named, as `subcommand`.

    Args:
        parser: The parser.
        descriptions: What each subcommand does, by its name.
        settings: Of the parsers of the subcommands.

    Returns:
        These parsers, by their names.
    """
    subparsers = parser.add_subparsers(
        dest="subcommand", required=True, metavar="subcommand"
    )
    return {
        name: subparsers.add_parser(name, help=text, description=text, **settings)
        for name, text in descriptions.items()
    }


def words_of(arguments: Sequence[str] | None) -> list[str]:
    """The given words, or those on the command line."""
    return list(sys.argv[1:] if arguments is None else arguments)


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """Ends the program with one line where the input is at fault."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(str(error))
    except Exception as error:
        if not _lacks_memory(error):
            raise
        fail(f"There is not enough memory for these sizes. {error}")


@contextlib.contextmanager
def training_errors(directory: Path, rate: str) -> Iterator[None]:
    """Ends the program with one line where the training of a run can't go on.

    Args:
        directory: The folder of the run.
        rate: The option to lower when the loss stops being a number.

    Raises:
        SystemExit: With status 2 when a step takes more memory than there is, 3 when
            the loss stopped being a number, 4 when a file can't be written.
        KeyboardInterrupt: With the name of the run, for `run`.
    """
    try:
        yield
    except NonFiniteLoss as error:
        _end(
            NON_FINITE,
            f"{error}. The log and the checkpoint of the last finished epoch stay in "
            f"{directory}; try a smaller {rate}",
        )
    except OSError as error:
        _end(
            UNWRITABLE,
            f"{error}. The log and the checkpoint of the last epoch that was saved "
            f"stay in {directory}; --resume continues from there",
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(directory.name) from None
    except Exception as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            # TensorFlow makes a SystemError of one that comes while it reads a list.
            raise KeyboardInterrupt(directory.name) from None
        if not _lacks_memory(error):
            raise
        fail(
            f"There is not enough memory for a step; try smaller sizes of batch and "
            f"network. What there is of the run stays in {directory}"
        )


def begin(settings: Settings) -> None:
    """Starts Keras, if the run has a place and what it is to read is there.

    Keras takes seconds to start; help, mistyped options and names don't wait for it.
    """
    with input_errors():
        folders.check(settings)
        check_sources(settings)
    quiet.import_keras()


def run(
    module: str, words: Sequence[str], settings: Settings, act: Callable[[], int]
) -> int:
    """Runs a subcommand; after Ctrl-C it says how to continue.

    Args:
        module: What `python -m` takes.
        words: The words after it.
        settings: What they stand for.
        act: Does the work and returns the exit status.

    Returns:
        The exit status.
    """
    try:
        return act()
    except KeyboardInterrupt as interrupt:
        words = list(words)
        if not settings.resume:
            words.append("--resume")
        if settings.run_name is None and interrupt.args:
            words += ["--run-name", interrupt.args[0]]
        print(
            f"\nInterrupted. Continue with: {command(module, words)}", file=sys.stderr
        )
        return INTERRUPTED


def command(module: str, words: Sequence[str]) -> str:
    """What to type to run a module with some words."""
    # Not every Python has Keras.
    return shlex.join([sys.executable, "-m", module, *words])


def _lacks_memory(error: Exception) -> bool:
    # TensorFlow's error has a name of its own, JAX's only a text.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"
        or "RESOURCE_EXHAUSTED" in str(error)
    )


def _end(status: int, message: str) -> NoReturn:
    print(f"\nerror: {message}", file=sys.stderr)
    sys.exit(status)
