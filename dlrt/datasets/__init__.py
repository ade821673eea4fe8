"""Data sets: images to classify, sentences to translate, text to continue.

`load` returns images, found, checked and scaled, and `split` parts them.
`load_corpus` returns sentence pairs in three parts, `load_text` lines of text.
`register` and `register_corpus` add to what these know by name.
"""

from dlrt.datasets._corpus import Corpus as Corpus
from dlrt.datasets._corpus import SentencePair as SentencePair
from dlrt.datasets._corpus import Text as Text
from dlrt.datasets._dataset import Arrays as Arrays
from dlrt.datasets._dataset import Dataset as Dataset
from dlrt.datasets._errors import DatasetFallbackWarning as DatasetFallbackWarning
from dlrt.datasets._errors import DatasetFileError as DatasetFileError
from dlrt.datasets._errors import DatasetUnavailableError as DatasetUnavailableError
from dlrt.datasets._load import load as load
from dlrt.datasets._load_corpus import load_corpus as load_corpus
from dlrt.datasets._load_text import load_text as load_text
from dlrt.datasets._named import register as register
from dlrt.datasets._named import register_corpus as register_corpus
from dlrt.datasets._split import Splits as Splits
from dlrt.datasets._split import split as split
