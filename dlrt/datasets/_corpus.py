"""The loaded corpus, as `load_corpus` returns it."""

from dataclasses import dataclass, field

from dlrt.phrases.sentence_pair import SentencePair as SentencePair

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs for training and testing a translator.

    Every sentence is one non-empty line in Unicode form NFC, without space at
    either end.

    Args:
        name: Which corpus this is. After a fallback this is the name of the
            corpus that was loaded, not the one that was preferred.
        source: Where the text came from: `"DLRT_DATA_DIR"`,
            `"tensorflow-datasets"`, `"embedded"` or the path of the folder that
            was asked for.
        train: Pairs to train on.
        validation: Pairs to choose settings by.
        test: Pairs to report results on.
    """

    name: str
    source: str
    train: tuple[SentencePair, ...] = field(repr=False)
    validation: tuple[SentencePair, ...] = field(repr=False)
    test: tuple[SentencePair, ...] = field(repr=False)
