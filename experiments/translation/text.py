"""The text of a run: sentences and their translations, as pairs and as ids."""

from dataclasses import dataclass, field
from typing import Any

from dlrt.datasets import Corpus, load_corpus
from experiments.cli import quiet
from experiments.translation.encoding import EncodedPairs, encode_pairs
from experiments.translation.scores import score
from experiments.translation.tokenizers import Vocabularies


@dataclass(frozen=True, eq=False)
class Text:
    """A corpus with its vocabularies and its encoded training and validation pairs.

    Args:
        corpus: The sentences.
        vocabularies: The tokenizers.
        train: Encoded training pairs.
        validation: Encoded validation pairs.
    """

    corpus: Corpus
    vocabularies: Vocabularies = field(repr=False)
    train: EncodedPairs = field(repr=False)
    validation: EncodedPairs = field(repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts on the text for the log."""
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


def load(name: str) -> Corpus:
    """Loads a corpus by name or folder; prints if it is not the requested one.

    Raises:
        ValueError: If there is no such corpus, or a file of it is wrong.
        OSError: If it can't be had.
    """
    with quiet.warnings_as_lines():
        return load_corpus(name)


def encode(corpus: Corpus, vocabularies: Vocabularies, max_length: int) -> Text:
    """Encodes the training and validation pairs.

    Raises:
        ValueError: If no pair is as short as `max_length`.
    """
    train, validation = (
        encode_pairs(pairs, vocabularies, max_length)
        for pairs in (corpus.train, corpus.validation)
    )
    return Text(corpus, vocabularies, train, validation)
