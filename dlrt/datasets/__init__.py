"""Data sets: images to classify and sentences to translate.

`load` returns images, found, checked and scaled, and `split` parts them.
`load_corpus` returns sentence pairs in three parts.
"""

from dlrt.datasets._corpus import Corpus, SentencePair
from dlrt.datasets._dataset import Dataset
from dlrt.datasets._errors import (
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
)
from dlrt.datasets._load import load
from dlrt.datasets._load_corpus import load_corpus
from dlrt.datasets._split import Splits, split

__all__ = [
    "Corpus",
    "Dataset",
    "DatasetFallbackWarning",
    "DatasetFileError",
    "DatasetUnavailableError",
    "SentencePair",
    "Splits",
    "load",
    "load_corpus",
    "split",
]
