"""Options of command lines that train."""

import abc
import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from experiments.cli.command import Parser, add_subcommands, input_errors
from experiments.cli.settings import Settings, list_integrators

_Settings = TypeVar("_Settings", bound=Settings)


class RunOptions(abc.ABC):
    """Adds options to the parser of a subcommand, with its defaults in the help.

    The parser omits options that were not given (`argument_default=argparse.SUPPRESS`).

    Args:
        parser: The parser.
        defaults: The settings of the subcommand.
    """

    def __init__(self, parser: argparse.ArgumentParser, defaults: Settings) -> None:
        self._parser = parser
        self.defaults = defaults

    @abc.abstractmethod
    def add_all(self) -> None:
        """Adds all options of the subcommand."""

    def add(self, *flags: str, help: str, default: str = "", **kwargs: Any) -> None:
        """Adds an option.

        Args:
            flags: Its flags; the last is the long one, the name of the setting.
            help: Its help.
            default: The default in the help, if not its value.
            kwargs: As in `argparse`.
        """
        name = flags[-1].removeprefix("--").replace("-", "_")
        if not default:
            value = getattr(self.defaults, name)
            default = f"{value:g}" if isinstance(value, float) else str(value)
        self._parser.add_argument(
            *flags, help=f"{help} (default: {default})".replace("%", "%%"), **kwargs
        )

    def add_count(
        self, *flags: str, help: str, metavar: str = "N", default: str = ""
    ) -> None:
        """Adds an option for an integer, see `add`."""
        self.add(*flags, type=int, metavar=metavar, help=help, default=default)

    def add_number(
        self, *flags: str, help: str, metavar: str = "X", default: str = ""
    ) -> None:
        """Adds an option for a number, see `add`."""
        self.add(*flags, type=float, metavar=metavar, help=help, default=default)

    def add_ranks(self, adaptive: bool) -> None:
        """Adds options for the integrator and for how ranks adapt.

        Args:
            adaptive: Whether ranks adapt.
        """
        if adaptive:
            self.add(
                "-t",
                "--tolerance",
                type=float,
                help="relative truncation tolerance: larger means smaller ranks",
            )
            self.add_count(
                *("-m", "--max-rank"),
                metavar="RANK",
                default="full rank",
                help="upper bound of the ranks",
            )
        self.add(
            "--integrator",
            choices=list_integrators(adaptive),
            help="how factors are stepped",
        )

    def add_run(self, seeded: str) -> None:
        """Adds the options that all runs have.

        Args:
            seeded: What the seed is for.
        """
        self.add("--seed", type=int, help=f"seed of {seeded}")
        self.add(
            "--run-name",
            metavar="NAME",
            default="made from the settings, and never one in use",
            help="folder of the run",
        )
        self.add(
            "--log-dir",
            type=Path,
            metavar="DIR",
            default="history_logs of the repository",
            help="folder of the runs",
        )
        self.add(
            "--resume",
            action="store_true",
            default="a new run",
            help="continue the run of that name after its last finished epoch; without "
            "--run-name the newest with these settings",
        )
        self.add(
            "--verbose",
            type=int,
            choices=(0, 1, 2),
            default="1 in a terminal, else 2",
            help="progress: 0 none, 1 a bar, 2 a line an epoch",
        )


def parse_subcommand(
    arguments: Sequence[str],
    parser: Parser,
    descriptions: Mapping[str, str],
    options: type[RunOptions],
    defaults: Mapping[str, _Settings],
    resolve: Callable[[str, dict[str, Any]], _Settings],
) -> _Settings:
    """Parses a command line into settings.

    Args:
        arguments: The arguments.
        parser: The parser of the command.
        descriptions: What each subcommand does.
        options: Adds the options of a subcommand to its parser.
        defaults: The defaults of each subcommand.
        resolve: Makes settings from a subcommand and the given options, by name.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    subparsers = add_subcommands(
        parser, descriptions, argument_default=argparse.SUPPRESS
    )
    for name, subparser in subparsers.items():
        options(subparser, defaults[name]).add_all()
    given = vars(parser.parse_args(arguments))
    subcommand = given.pop("subcommand")
    with input_errors():
        return resolve(subcommand, given)


def parse(
    arguments: Sequence[str],
    parser: Parser,
    options: type[RunOptions],
    defaults: _Settings,
    resolve: Callable[[dict[str, Any]], _Settings],
) -> _Settings:
    """`parse_subcommand` for a program without subcommands.

    Its parser also omits options that were not given.
    """
    options(parser, defaults).add_all()
    given = vars(parser.parse_args(arguments))
    with input_errors():
        return resolve(given)
