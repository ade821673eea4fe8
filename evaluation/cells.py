"""A table before it is written in some format."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from evaluation.series import Cell


@dataclass(frozen=True)
class Table:
    """A table of values as they are; files other than CSV round them.

    Args:
        name: Its file's, without the ending.
        caption: What it shows.
        header: Names of the columns. Accuracies are in percent.
        rows: Values; `None` where there is none.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def span(numbers: Iterable[int]) -> str | None:
    """The smallest and the largest of some numbers: "3–6", or "6" if all are."""
    ends = sorted(set(numbers))
    if not ends:
        return None
    return str(ends[0]) if len(ends) == 1 else f"{ends[0]}–{ends[-1]}"


def last_epochs(cell: Cell) -> str | None:
    """How long the runs of a network were trained."""
    return span(int(log.epochs[-1]) for log in cell.logs)
