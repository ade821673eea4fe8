"""A sentence and its translation."""

from typing import NamedTuple


class SentencePair(NamedTuple):
    """A sentence and its translation.

    Args:
        source: The sentence to translate.
        target: The same in the other language.
    """

    source: str
    target: str
