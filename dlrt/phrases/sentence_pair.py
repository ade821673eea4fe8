"""A sentence and its translation."""

from typing import NamedTuple


class SentencePair(NamedTuple):
    """A sentence, the source, and its translation, the target."""

    source: str
    target: str
