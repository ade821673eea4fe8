"""Options of command lines that train."""

import argparse
from pathlib import Path
from typing import Any

from experiments._settings import Settings


class RunOptions:
    """Adds options to the parser of a subcommand, with its defaults in the help.

    The parser leaves out what was not given (`argument_default=argparse.SUPPRESS`).

    Args:
        parser: The parser.
        defaults: The settings of the subcommand.
    """

    def __init__(self, parser: argparse.ArgumentParser, defaults: Settings) -> None:
        self._parser = parser
        self.defaults = defaults

    def add(self, *flags: str, help: str, default: str = "", **kwargs: Any) -> None:
        """Adds an option.

        Args:
            flags: Its words, the long one last, which is the name of the setting.
            help: What it says.
            default: What the help says of the default, if not its value.
            kwargs: As in `argparse`.
        """
        name = flags[-1].removeprefix("--").replace("-", "_")
        if not default:
            value = getattr(self.defaults, name)
            default = f"{value:g}" if isinstance(value, float) else str(value)
        self._parser.add_argument(
            *flags, help=f"{help} (default: {default})".replace("%", "%%"), **kwargs
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
