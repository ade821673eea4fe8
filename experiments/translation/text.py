"""The text of a run, as sentences and as rows of ids, and scores of translations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dlrt.datasets import Corpus
from experiments.translation.tokenizers import END, PADDING, Tokenizer, Vocabularies


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """Sentences and their translations, in the order of the text.

    Both are int32 of shape `(pairs, max_length)`: a row is a sentence, `END`, and
    padding. So many pairs were left out, as they were too long.
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


@dataclass(frozen=True, eq=False)
class Text:
    """A corpus with its vocabularies and its encoded training and validation pairs."""

    corpus: Corpus
    vocabularies: Vocabularies = field(repr=False)
    train: EncodedPairs = field(repr=False)
    validation: EncodedPairs = field(repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        corpus, vocabularies = self.corpus, self.vocabularies
        reference = corpus.test[0].target
        signatures = score([reference], [reference])
        return {
            "corpus_source": corpus.source,
            "train_pairs": len(self.train),
            "train_pairs_left_out": self.train.left_out,
            "validation_pairs": len(self.validation),
            "validation_pairs_left_out": self.validation.left_out,
            "test_pairs": len(corpus.test),
            "source_vocab_size": vocabularies.source.size,
            "target_vocab_size": vocabularies.target.size,
            "source_fingerprint": vocabularies.source.fingerprint,
            "target_fingerprint": vocabularies.target.fingerprint,
            "bleu_signature": signatures.bleu_signature,
            "chrf_signature": signatures.chrf_signature,
        }


def lengths(rows: np.ndarray) -> np.ndarray:
    """Number of ids of each row that are not padding, of shape `(rows,)`."""
    return np.count_nonzero(rows != PADDING, axis=1)


def encode_pairs(
    pairs: Iterable[Sequence[str]], vocabularies: Vocabularies, max_length: int
) -> EncodedPairs:
    """Encodes pairs but those in which one has more than `max_length` ids with its end.

    If none is left, or `max_length` is below 2, there is a ValueError.
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
    source, target = (_rows(side, max_length) for side in zip(*kept, strict=True))
    return EncodedPairs(source, target, len(pairs) - len(kept))


def encode_sources(
    sentences: Sequence[str], tokenizer: Tokenizer, max_length: int
) -> np.ndarray:
    """Encodes sentences to be translated, each cut if it is too long.

    The shape is `(sentences, max_length)`, and rows are as in `EncodedPairs`.
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


class Scores(NamedTuple):
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015), 0 to 100.

    The signatures, settings and version of the program, make them comparable.
    """

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def score(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """Scores plain text by sacrebleu (Post 2018, arXiv:1804.08771); it may be empty."""
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise ImportError(
            "Scores need the extra `translation`: pip install -e .[translation]"
        ) from error
    if not 0 < len(hypotheses) == len(references):
        raise ValueError(
            "`hypotheses` and `references` must be of one length, at least 1. "
            f"Received: {len(hypotheses)} and {len(references)}"
        )
    # All text is plain to begin with, so the warning on tokenized text is off.
    bleu, chrf = BLEU(tokenize="13a", force=True), CHRF()
    parts = list(hypotheses), [list(references)]
    return Scores(
        bleu.corpus_score(*parts).score,
        chrf.corpus_score(*parts).score,
        str(bleu.get_signature()),
        str(chrf.get_signature()),
    )
