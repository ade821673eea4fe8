"""Random choices that are the same on every platform."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

_Option = TypeVar("_Option")

_BLOCK = 2**16
# So far above every number of options that the remainder is as good as uniform.
_RANGE = 2**62


class Choices:
    """A stream of choices that depends on the seed alone, a non-negative int.

    The integers are drawn in blocks, as single draws take most of the time of
    generating a corpus.
    """

    def __init__(self, seed: int) -> None:
        self._draws = _draws(seed)

    def below(self, bound: int) -> int:
        """Returns an integer from 0 to `bound` - 1."""
        return next(self._draws) % bound

    def between(self, first: int, last: int) -> int:
        """Returns an integer from `first` to `last`."""
        return first + self.below(last - first + 1)

    def of(self, options: Sequence[_Option]) -> _Option:
        """Returns one of `options`."""
        return options[self.below(len(options))]

    def once_in(self, times: int) -> bool:
        """Returns `True` once in so many times."""
        return self.below(times) == 0


def _draws(seed: int) -> Iterator[int]:
    random = np.random.default_rng(seed)
    while True:
        yield from random.integers(_RANGE, size=_BLOCK, dtype=np.int64).tolist()
