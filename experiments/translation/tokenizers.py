"""Subword vocabularies, one for each language.

They are byte-pair encodings (Sennrich, Haddow & Birch 2016, arXiv 1508.07909) by
SentencePiece (Kudo & Richardson 2018, arXiv 1808.06226). Unigram models of the same
size make sentences just as short, but take ten times as long to train.

Every character of the training text gets its own id; any other character becomes
unknown. Falling back to bytes would keep it, at the price of 256 ids: with a vocabulary
of 1,000 sentences get 8 % longer, and the Portuguese and English text that this was
measured on has no such character in its test part.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dlrt.history import atomic_file

PADDING, START, END, UNKNOWN = SPECIAL = range(4)

# Longer sentences, in bytes, would be left out of the training text.
_NO_LIMIT = 2**30

# Errors only; these are raised.
_QUIET = 2


def _sentencepiece() -> ModuleType:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            "Tokenizers need the extra `translation`: pip install -e .[translation]"
        ) from error
    return sentencepiece


class Tokenizer:
    """The subwords of one language, of a serialized SentencePiece model.

    Ids 0 to 3 stand for padding, the start and the end of a sentence, and unknown
    characters; there are `size` ids. The fingerprint is the SHA-256 of the model, in
    hexadecimal. A ValueError says that it is no such model, or has other special ids.
    """

    def __init__(self, model: bytes) -> None:
        self._processor = _processor(model)
        self.model = model
        self.size: int = self._processor.vocab_size()
        self.fingerprint = hashlib.sha256(model).hexdigest()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """The ids of each sentence, without those of its start and end."""
        if isinstance(sentences, str):
            raise ValueError(
                f"`sentences` must be a list of strings. Received: {sentences!r}"
            )
        return self._processor.encode(list(sentences), out_type=int, num_threads=1)

    def decode(self, rows: Iterable[Iterable[int]]) -> list[str]:
        """The sentences of rows of ids, each up to its first end, without padding."""
        return [self._processor.decode(self._text_ids(row)) for row in rows]

    def _text_ids(self, row: Iterable[int]) -> list[int]:
        ids = list(map(int, row))
        if ids and not 0 <= min(ids) <= max(ids) < self.size:
            raise ValueError(
                f"`rows` must hold ids from 0 to {self.size - 1}. Received: {ids}"
            )
        if END in ids:
            ids = ids[: ids.index(END)]
        return [i for i in ids if i not in (PADDING, START)]

    def save(self, path: Path) -> None:
        atomic_file.replace(Path(path), self.model)


def _processor(model: bytes):
    sentencepiece = _sentencepiece()
    try:
        if not model:
            raise RuntimeError("no data")
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ValueError("not a SentencePiece model") from error
    kinds = processor.pad_id, processor.bos_id, processor.eos_id, processor.unk_id
    ids = tuple(kind() for kind in kinds)
    if ids != tuple(SPECIAL):
        raise ValueError(
            "a SentencePiece model must have padding, start, end and unknown at "
            f"{tuple(SPECIAL)}. Received: {ids}"
        )
    return processor


def load(path: Path) -> Tokenizer:
    """Reads a tokenizer from a file, which a `ValueError` names if it holds none."""
    try:
        return Tokenizer(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def train(sentences: Iterable[str], vocab_size: int) -> Tokenizer:
    """Makes a tokenizer of at most `vocab_size` ids. The same text gives the same one.

    A ValueError says that there is no text, or that it has too many characters.
    """
    text = [sentence for sentence in sentences if sentence.strip()]
    if not text:
        raise ValueError("`sentences` must hold text. Received: none")
    model = io.BytesIO()
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentence_length=_NO_LIMIT,
            pad_id=PADDING,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            num_threads=1,
            minloglevel=_QUIET,
        )
    except RuntimeError as error:
        characters = len(set().union(*text))
        raise ValueError(
            "`vocab_size` must leave room for every character, here about "
            f"{characters + len(SPECIAL)} ids. Received: {vocab_size}"
        ) from error
    return Tokenizer(model.getvalue())


@dataclass(frozen=True)
class Vocabularies:
    """The tokenizers of the languages to translate from and to."""

    source: Tokenizer
    target: Tokenizer

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints that identify these: `{"source": ..., "target": ...}`."""
        return {"source": self.source.fingerprint, "target": self.target.fingerprint}

    def check(self, fingerprints: dict[str, str]) -> None:
        """Raises a `ValueError` unless a model was trained with these tokenizers."""
        for side, fingerprint in self.fingerprints.items():
            if fingerprints.get(side) != fingerprint:
                raise ValueError(
                    f"The {side} tokenizer doesn't belong to the model: it must have "
                    f"the fingerprint {fingerprints.get(side)}. Received: {fingerprint}"
                )

    def save(self, directory: Path) -> None:
        """Writes `source.spm` and `target.spm` into a directory that exists."""
        self.source.save(Path(directory) / "source.spm")
        self.target.save(Path(directory) / "target.spm")


def load_vocabularies(directory: Path) -> Vocabularies:
    """Reads what `Vocabularies.save` has written, as `load` does."""
    names = ("source.spm", "target.spm")
    return Vocabularies(*(load(Path(directory) / name) for name in names))


def train_vocabularies(pairs: Iterable[Sequence[str]], vocab_size: int) -> Vocabularies:
    """Makes the tokenizers of both languages from sentence pairs, as `train` does."""
    pairs = list(pairs)
    sides = ([pair[side] for pair in pairs] for side in (0, 1))
    return Vocabularies(*(train(sentences, vocab_size) for sentences in sides))
