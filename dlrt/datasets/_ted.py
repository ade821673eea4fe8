"""Transcripts of TED talks, which tensorflow-datasets downloads."""

import importlib
from collections.abc import Iterable

from dlrt.datasets._corpus import PARTS, Corpus, SentencePair
from dlrt.datasets._errors import DatasetUnavailableError

_PACKAGE = "tensorflow-datasets"
_DATASET = "ted_hrlr_translate/pt_to_en"


def load_ted() -> Corpus:
    """Loads `ted_hrlr_translate/pt_to_en` by way of tensorflow-datasets.

    The package keeps what it downloads below `TFDS_DATA_DIR` or
    `~/tensorflow_datasets`.
    """
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise DatasetUnavailableError(
            f"The corpus 'ted' needs the extra `ted` "
            f"(pip install -e .[ted]), which has {_PACKAGE}: {error}"
        ) from error
    try:
        parts = tfds.load(_DATASET, split=list(PARTS), as_supervised=True)
        decoded = [decode_pairs(tfds.as_numpy(examples)) for examples in parts]
        return Corpus("ted", _PACKAGE, *decoded)
    # What a failed download raises depends on where it failed: errors of the
    # package, of requests, of TensorFlow and of the system.
    except Exception as error:
        raise DatasetUnavailableError(
            f"The corpus 'ted' could not be had: {_PACKAGE} failed to load {_DATASET}: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def decode_pairs(examples: Iterable[tuple[bytes, bytes]]) -> tuple[SentencePair, ...]:
    """Decodes sentence pairs as tensorflow-datasets yields them, which is in UTF-8."""
    return tuple(
        SentencePair(source.decode("utf-8"), target.decode("utf-8"))
        for source, target in examples
    )
