"""Data sets: images to classify, sentences to translate, text to continue.

`load` returns images, found, checked and scaled, and `split` parts them.
`load_corpus` returns sentence pairs in three parts, `load_text` lines of text.
`register` and `register_corpus` add to what these know by name.
"""

from dlrt.datasets._corpus import Corpus, SentencePair, Text
from dlrt.datasets._dataset import Arrays, Dataset
from dlrt.datasets._errors import (
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
)
from dlrt.datasets._load import load
from dlrt.datasets._load_corpus import load_corpus
from dlrt.datasets._load_text import load_text
from dlrt.datasets._named import register, register_corpus
from dlrt.datasets._split import Splits, split

__all__ = [
    "Arrays",
    "Corpus",
    "Dataset",
    "DatasetFallbackWarning",
    "DatasetFileError",
    "DatasetUnavailableError",
    "SentencePair",
    "Splits",
    "Text",
    "load",
    "load_corpus",
    "load_text",
    "register",
    "register_corpus",
    "split",
]
