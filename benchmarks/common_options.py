"""The parsers of benchmarks, and what their options may be; all else is refused."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.places import ROOT
from experiments.cli.command import Parser

# Above these, no machine has the room or anybody the time.
MOST_ROUNDS = 10**6
MOST_SECONDS = 10**6
_MOST_SEED = 2**32 - 1


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads whole numbers between bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {least} to {most}. Received: {text}"
            )
        return value

    return read


def above(bound: float, most: float) -> Callable[[str], float]:
    """Reads numbers above a bound."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not bound < value <= most:
            raise argparse.ArgumentTypeError(
                f"must be a number above {bound:g}, at most {most:g}. Received: {text}"
            )
        return value

    return read


def make_parser(module: str, description: str | None) -> Parser:
    """A parser for `python -m <module>`, with the module's docstring as it stands."""
    return Parser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_log_dir(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds where runs are, by default a folder of a name in `history_logs`."""
    default = ROOT / "history_logs" / name
    parser.add_argument("--log-dir", type=folder, default=default)


def add_seeds(parser: argparse.ArgumentParser, default: list[int] | None) -> None:
    """Adds which seeds to train with."""
    parser.add_argument(
        "--seeds",
        type=whole(0, _MOST_SEED),
        nargs="+",
        default=default,
        help="only these seeds",
    )


def add_turns(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> None:
    """Adds how often, and how long, networks take turns."""
    parser.add_argument(
        "--rounds",
        type=whole(1, MOST_ROUNDS),
        default=rounds,
        help="turns of each network",
    )
    parser.add_argument(
        "--turn", type=above(0, MOST_SECONDS), default=seconds, help="seconds of a turn"
    )


def folder(text: str) -> Path:
    """Reads the name of a folder to write to, which is there or can be made."""
    path = Path(text).absolute()
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(
            f"must be a folder that can be written to. Received: {text}"
        )
    return path
