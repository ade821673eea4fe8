"""A table before it is written in some format."""

import math
from dataclasses import dataclass
from typing import Any


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
