"""How many channels of each width to keep. Pure functions of tables."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# So many channels of a width go in one step, as a share of those that are there.
_SHARE = 1 / 64


class Term(NamedTuple):
    """The entries of one variable: a factor times the sizes of widths.

    Attributes:
        factor: What does not change.
        widths: The names of the widths, one for each axis that changes.
    """

    factor: int
    widths: tuple[str, ...]


def count(terms: list[Term], sizes: Mapping[str, int]) -> int:
    """The number of entries of all variables."""
    return sum(_entries(term, sizes) for term in terms)


def shrink(
    sizes: Mapping[str, int],
    errors: Mapping[str, np.ndarray],
    terms: list[Term],
    limit: float,
    smallest: Mapping[str, int],
) -> dict[str, int]:
    """Sizes within a limit: what costs least error for a parameter saved goes first.

    Args:
        sizes: Sizes to start from, by width.
        errors: For each width `(m + 1,)`, not increasing: the error if `k` of its
            channels are kept.
        terms: The variables of the model.
        limit: The largest number of parameters.
        smallest: Below what size each width must not fall.

    Returns:
        The sizes; the smallest ones where these have more parameters still.
    """
    sizes = dict(sizes)
    concerned = {
        name: [term for term in terms if name in term.widths] for name in sizes
    }
    total = count(terms, sizes)
    while total > limit:
        best = None
        for name, size in sizes.items():
            fewer = max(smallest[name], size - max(1, int(size * _SHARE)))
            if fewer >= size:
                continue
            saved = sum(
                _entries(term, sizes) - _entries(term, sizes | {name: fewer})
                for term in concerned[name]
            )
            price = (errors[name][fewer] - errors[name][size]) / saved
            if best is None or price < best[0]:
                best = price, name, fewer, saved
        if best is None:
            break
        _, name, fewer, saved = best
        sizes[name] = fewer
        total -= saved
    return sizes


def _entries(term: Term, sizes: Mapping[str, int]) -> int:
    entries = term.factor
    for name in term.widths:
        entries *= sizes[name]
    return entries
