"""How many channels each width gets. Pure functions of tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# The share of the channels of a width that go at a time.
_SHARE = 1 / 64


class Term(NamedTuple):
    """A cost that is a factor times the sizes of widths: the entries of a variable.

    Attributes:
        factor: The part that does not change.
        widths: The names of the widths, one for each axis that changes.
    """

    factor: int
    widths: tuple[str, ...]


class Bound(NamedTuple):
    """The most that a model may cost.

    Attributes:
        name: The argument that sets it.
        terms: The cost, by the widths of the model.
        most: The bound.
    """

    name: str
    terms: list[Term]
    most: float

    def loosen(self, sizes: Mapping[str, int], steps: int) -> "Bound":
        """The bound for the next of some steps, which get there by equal factors."""
        excess = max(1.0, count_entries(self.terms, sizes) / self.most)
        return self._replace(most=self.most * excess ** (1 - 1 / steps))


def count_entries(terms: Iterable[Term], sizes: Mapping[str, int]) -> int:
    """The sum of all terms."""
    return sum(
        term.factor * math.prod(sizes[name] for name in term.widths) for term in terms
    )


def shrink(
    sizes: Mapping[str, int],
    errors: Mapping[str, np.ndarray],
    bound: Bound,
    smallest: Mapping[str, int],
) -> dict[str, int]:
    """Shrinks widths to a bound, those first that add the least error per cost saved.

    Args:
        sizes: Sizes to start from, by width.
        errors: For each width `(m + 1,)`, not increasing: the error if `k` of its
            channels are kept.
        bound: The most that the model may cost.
        smallest: The least size of each width.

    Returns:
        The sizes; the smallest ones if even these cost more.
    """
    sizes = dict(sizes)
    concerned = {
        name: [term for term in bound.terms if name in term.widths] for name in sizes
    }
    total = count_entries(bound.terms, sizes)
    while total > bound.most:
        best = None
        for name, size in sizes.items():
            fewer = max(smallest[name], size - max(1, int(size * _SHARE)))
            if fewer >= size:
                continue
            terms = concerned[name]
            saved = count_entries(terms, sizes)
            saved -= count_entries(terms, sizes | {name: fewer})
            price = (errors[name][fewer] - errors[name][size]) / saved
            if best is None or price < best[0]:
                best = price, name, fewer, saved
        if best is None:
            break
        _, name, fewer, saved = best
        sizes[name] = fewer
        total -= saved
    return sizes


def grow(
    sizes: Mapping[str, int],
    streaks: Mapping[str, int],
    bounds: Sequence[Bound],
    growth: int,
    patience: int,
) -> dict[str, int]:
    """Enlarges the widths that have been full long enough, within all bounds.

    Args:
        sizes: Sizes to start from, by width.
        streaks: How many times in a row each of some widths has been full.
        bounds: The most that the model may cost.
        growth: How many channels are added at a time.
        patience: How many times in a row a width must be full.
    """
    sizes = dict(sizes)
    for name, streak in streaks.items():
        if streak >= patience:
            larger = sizes | {name: sizes[name] + growth}
            if all(count_entries(b.terms, larger) <= b.most for b in bounds):
                sizes = larger
    return sizes
