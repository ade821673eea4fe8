"""Sentences and their translations as rows of ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.translation.tokenizers import END, PADDING, Tokenizer, Vocabularies


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """Sentences and their translations, in the order of the text.

    Args:
        source: The sentences, int32 of shape `(pairs, max_length)`. Each row is a
            sentence, `END`, and padding.
        target: Their translations, likewise.
        left_out: Number of pairs that were too long.
    """

    source: np.ndarray
    target: np.ndarray
    left_out: int

    def __len__(self) -> int:
        return len(self.source)

    @property
    def max_length(self) -> int:
        """The most ids that a sentence may have with its end."""
        return self.source.shape[1]

    @property
    def lengths(self) -> np.ndarray:
        """Number of ids of the longer of two, of shape `(pairs,)`."""
        return np.maximum(lengths(self.source), lengths(self.target))


def lengths(rows: np.ndarray) -> np.ndarray:
    """Number of ids of each row that are not padding, of shape `(rows,)`."""
    return np.count_nonzero(rows != PADDING, axis=1)


def encode_pairs(
    pairs: Iterable[Sequence[str]], vocabularies: Vocabularies, max_length: int
) -> EncodedPairs:
    """Encodes pairs for training or validation.

    Args:
        pairs: Sentences and their translations.
        vocabularies: The tokenizers.
        max_length: The most ids of a sentence with its end, at least 2. A pair in
            which one is longer is left out.

    Raises:
        ValueError: If no pair is left.
    """
    _check_length(max_length)
    pairs = list(pairs)
    source = vocabularies.source.encode([source for source, _ in pairs])
    target = vocabularies.target.encode([target for _, target in pairs])
    kept = [
        (one, other)
        for one, other in zip(source, target, strict=True)
        if max(len(one), len(other)) < max_length
    ]
    if not kept:
        raise ValueError(
            f"`pairs` must hold some of at most {max_length} tokens with the end of "
            f"the sentence. Received: {len(pairs)}, none of them so short"
        )
    return EncodedPairs(
        _rows([one for one, _ in kept], max_length),
        _rows([other for _, other in kept], max_length),
        len(pairs) - len(kept),
    )


def encode_sources(
    sentences: Sequence[str], tokenizer: Tokenizer, max_length: int
) -> np.ndarray:
    """Encodes sentences to be translated, each cut if it is too long.

    Args:
        sentences: The sentences.
        tokenizer: The source tokenizer.
        max_length: The most ids of a sentence with its end, at least 2.

    Returns:
        int32, of shape `(sentences, max_length)`. Each row is a sentence, `END`, and
        padding.

    Raises:
        ValueError: If there are no sentences.
    """
    _check_length(max_length)
    if not sentences:
        raise ValueError("`sentences` must hold some. Received: none")
    rows = [row[: max_length - 1] for row in tokenizer.encode(sentences)]
    return _rows(rows, max_length)


def _rows(sentences: Sequence[Sequence[int]], width: int) -> np.ndarray:
    rows = np.full((len(sentences), width), PADDING, np.int32)
    for row, sentence in zip(rows, sentences, strict=True):
        row[: len(sentence) + 1] = *sentence, END
    return rows


def _check_length(max_length: int) -> None:
    if max_length < 2:
        raise ValueError(f"`max_length` must be at least 2. Received: {max_length}")
