"""The text of a run, as chunks of words."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlrt.datasets import load_text
from experiments.cli import quiet
from experiments.runs.image_data import Data
from experiments.words.vocabulary import Vocabulary

# Words that a network reads in a row, from the zero state: Zaremba et al., 2014,
# arXiv:1409.2329, section 4.1, where the state goes on from chunk to chunk.
CHUNK = 35


@dataclass(frozen=True, eq=False)
class WordData(Data):
    """A text in three parts: chunks of words, and the words that come next.

    Args:
        vocabulary: The words.
    """

    vocabulary: Vocabulary = field(repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "words": self.num_classes,
            "vocabulary_fingerprint": self.vocabulary.fingerprint,
        }


def load(name: str, vocabulary_size: int, share: float = 1.0) -> WordData:
    """Loads a text; prints if it is not the requested one.

    Args:
        name: See `dlrt.datasets.load_text`.
        vocabulary_size: How many words to know, at most, see `Vocabulary.of`; they are
            those of the training part.
        share: Share of the lines to use, the first ones of each part.

    Raises:
        ValueError: If there is no such text, a file of it is wrong, or a part has too
            few words for a chunk.
        OSError: If it can't be had.
    """
    with quiet.warnings_as_lines():
        text = load_text(name)
    train, val, test = (
        lines[: max(1, round(share * len(lines)))]
        for lines in (text.train, text.validation, text.test)
    )
    vocabulary = Vocabulary.of(train, vocabulary_size)
    parts = [
        chunks(vocabulary.encode(lines), f"the {part} part of {text.name}")
        for part, lines in (("training", train), ("validation", val), ("test", test))
    ]
    return WordData(text.name, text.source, len(vocabulary), *parts, vocabulary)


def chunks(ids: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Cuts words into chunks, and those that come next.

    The first chunk begins with the last word, the end of a line, so that the first
    word has to be predicted, too. Words that don't fill a chunk are left out.

    Args:
        ids: The ids of the words.
        what: Names the text in an error.

    Returns:
        Two arrays `(number of chunks, CHUNK)`.

    Raises:
        ValueError: If there are not enough for one chunk.
    """
    count = len(ids) // CHUNK
    if not count:
        raise ValueError(
            f"A text must have at least {CHUNK} words in each part, ends of lines "
            f"included. Received: {len(ids)} in {what}"
        )
    before = np.concatenate([ids[-1:], ids[:-1]])
    inputs, targets = (part[: count * CHUNK] for part in (before, ids))
    return inputs.reshape(count, CHUNK), targets.reshape(count, CHUNK)
