"""How many channels each width gets. Pure functions of tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

# The share of the channels of a width that go at a time.
_SHARE = 1 / 64


class Term(NamedTuple):
    """A cost: a factor times the sizes of widths, as for the entries of a variable."""

    factor: int
    widths: tuple[str, ...]


class Bound(NamedTuple):
    """The most that a model may cost; `name` is the argument that sets it."""

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

    `errors` are `(m + 1,)` for each width, the error if `k` of its `m` channels are
    kept. If even the smallest sizes cost more than the bound, these are the result.
    """
    sizes = dict(sizes)
    concerned = {
        name: [term for term in bound.terms if name in term.widths] for name in sizes
    }
    total = count_entries(bound.terms, sizes)
    while total > bound.most:
        steps = []
        for name, size in sizes.items():
            fewer = max(smallest[name], size - max(1, int(size * _SHARE)))
            if fewer < size:
                terms = concerned[name]
                saved = count_entries(terms, sizes)
                saved -= count_entries(terms, sizes | {name: fewer})
                price = (errors[name][fewer] - errors[name][size]) / saved
                steps.append((price, name, fewer, saved))
        if not steps:
            break
        _, name, sizes[name], saved = min(steps, key=itemgetter(0))
        total -= saved
    return sizes


def grow(
    sizes: Mapping[str, int],
    streaks: Mapping[str, int],
    bounds: Sequence[Bound],
    growth: int,
    patience: int,
) -> dict[str, int]:
    """Adds channels to widths that were full `patience` times in a row.

    A width stays as it is if the model would exceed one of the bounds.
    """
    sizes = dict(sizes)
    for name, streak in streaks.items():
        if streak >= patience:
            larger = sizes | {name: sizes[name] + growth}
            if all(count_entries(b.terms, larger) <= b.most for b in bounds):
                sizes = larger
    return sizes
