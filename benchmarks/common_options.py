"""What the options of benchmarks may be: whatever else is refused in one line."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

# Above these, no machine has the room or anybody the time.
MOST_ROUNDS = 10**6
MOST_SECONDS = 10**6
MOST_SEED = 2**32 - 1


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


def add_turns(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> None:
    """Adds how often, and how long, networks take turns."""
    parser.add_argument(
        "--rounds",
        type=whole(1, MOST_ROUNDS),
        default=rounds,
        help="turns of each network",
    )
    parser.add_argument(
        "--turn",
        type=above(0, MOST_SECONDS),
        default=seconds,
        help="seconds of a turn",
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
