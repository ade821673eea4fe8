"""The command lines of the experiments: parsing, exit statuses, errors.

Nothing here needs a backend: help and mistyped options don't wait for it to start.
"""

import argparse
import contextlib
import difflib
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

# Exit statuses.
FAILED = 1
WRONG_INPUT = 2
NON_FINITE = 3
UNWRITABLE = 4
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations, which ends with one line on wrong input."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            hints = "".join(
                suggest(word.split("=")[0], self._flags(given))
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


def suggest(word: str, known: Iterable[str]) -> str:
    """A question that suggests the known word closest to a mistyped one, or no text."""
    like = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean {like[0]}?" if like else ""


def fail(message: str) -> NoReturn:
    """Ends the program after wrong input: with one line and exit status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(WRONG_INPUT)


def add_subcommands(
    parser: argparse.ArgumentParser, descriptions: Mapping[str, str], **settings: Any
) -> dict[str, argparse.ArgumentParser]:
    """Gives a parser subcommands, one of which must be named, as `subcommand`.

    Args:
        parser: The parser.
        descriptions: What each subcommand does, by its name.
        settings: Arguments of the parsers of the subcommands.

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
    """The given arguments, or those of the command line."""
    return list(sys.argv[1:] if arguments is None else arguments)


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """Ends the program with one line where the input is at fault."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(str(error))
    except Exception as error:
        if not lacks_memory(error):
            raise
        fail(f"There is not enough memory for these sizes. {error}")


def compose_command(module: str, words: Sequence[str]) -> str:
    """The command that runs a module with some arguments."""
    # Other Pythons may lack Keras, so it names this one.
    return shlex.join([sys.executable, "-m", module, *words])


def lacks_memory(error: Exception) -> bool:
    """Whether an error of a backend means that memory ran out."""
    # TensorFlow has an error class for it, JAX only a message.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"
        or "RESOURCE_EXHAUSTED" in str(error)
    )
