"""What a figure to be drawn is, and what a user may choose about it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from evaluation.choices import KINDS
from evaluation.logs import Log


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Args:
        kinds: Which of `KINDS`.
        band: "range" or "std"; what the shades are.
        at: "last" or "best"; which epoch's values are final.
        widths, ranks: The networks whose epochs are shown; by default a few.
    """

    kinds: Sequence[str] = KINDS
    band: str = "range"
    at: str = "last"
    widths: Sequence[int] = ()
    ranks: Sequence[int] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn.

    Args:
        name: Its file's, without the ending.
        caption: What it shows.
        draw: Draws it.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]


def split(items: Sequence, most: int) -> Iterator[tuple[str, list]]:
    """Parts of a length, with a number each if there are several."""
    for start in range(0, len(items), most):
        suffix = f"-{start // most + 1}" if len(items) > most else ""
        yield suffix, list(items[start : start + most])


def slug(text: str) -> str:
    """A text as part of the name of a file."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def run_names(logs: Sequence[Log]) -> list[str]:
    """The folders of runs, with a number where one holds several or has a namesake."""
    folders = [log.test for log in logs]
    return [
        f"{folder}-{folders[:place].count(folder) + 1}"
        if folders.count(folder) > 1
        else folder
        for place, folder in enumerate(folders)
    ]
