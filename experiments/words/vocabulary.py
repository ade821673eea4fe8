"""The words that a language model knows."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dlrt.history import atomic_file

UNKNOWN, END = SPECIAL = ("<unk>", "<eos>")
FILE = "vocabulary.txt"

# The mark of omitted words in prepared text, words that may contain apostrophes and
# digits, and any other character that is not a space.
_WORD = re.compile(r"<unk>|[^\W_]+(?:['’][^\W_]+)*|\S")


def words_of(line: str) -> list[str]:
    """The words of a line in lower case; marks of punctuation are words, too."""
    return _WORD.findall(line.lower())


class Vocabulary:
    """Words, each with its position as id.

    The first two are that of unknown words and the end of a line.

    Args:
        words: The words, with these two.

    Attributes:
        words: The words.
        fingerprint: SHA-256 of the words, in hexadecimal.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.fingerprint = hashlib.sha256(self._content).hexdigest()
        self._ids = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def of(cls, lines: Iterable[str], size: int) -> "Vocabulary":
        """The most frequent words of some lines; of equal ones the first by alphabet.

        Args:
            lines: The lines.
            size: How many, at most, with the first two.
        """
        counts = Counter(word for line in lines for word in words_of(line))
        del counts[UNKNOWN]
        order = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([*SPECIAL, *order[: size - len(SPECIAL)]])

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, lines: Iterable[str]) -> np.ndarray:
        """The ids of the words of lines, one after the other, each with its end."""
        unknown, end = range(len(SPECIAL))
        ids: list[int] = []
        for line in lines:
            ids.extend(self._ids.get(word, unknown) for word in words_of(line))
            ids.append(end)
        return np.array(ids, "int32")

    @property
    def _content(self) -> bytes:
        return "".join(f"{word}\n" for word in self.words).encode()

    def save(self, directory: Path) -> None:
        """Writes the words to a file, one a line.

        Raises:
            OSError: If it can't be written.
        """
        atomic_file.replace(directory / FILE, self._content)

    def check_model(self, path: Path) -> None:
        """Makes sure that a model was trained on these words, if it has a list of them.

        Raises:
            ValueError: If it was trained on others.
            OSError: If the list can't be read.
        """
        listed = path.parent / FILE
        if listed.exists() and listed.read_bytes() != self._content:
            raise ValueError(
                "`--load-model` must be for the words of the text. Received: "
                f"--load-model {path}, which was trained on those in {listed}"
            )
