"""Transcripts of TED talks, which tensorflow-datasets downloads."""

import importlib
from collections.abc import Iterable

from dlrt.datasets._errors import DatasetUnavailableError
from dlrt.datasets._parallel_text import PARTS, ParallelText, clean_pairs

_PACKAGE = "tensorflow-datasets"
_DATASET = "ted_hrlr_translate/pt_to_en"


def load_ted() -> dict[str, ParallelText]:
    """Loads `ted_hrlr_translate/pt_to_en` by way of tensorflow-datasets.

    The package keeps what it downloads below `TFDS_DATA_DIR` or
    `~/tensorflow_datasets`.

    Returns:
        The text of each of `PARTS`.

    Raises:
        DatasetUnavailableError: If the package is not installed, or the data
            cannot be had.
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
        return {
            part: decode_pairs(tfds.as_numpy(examples))
            for part, examples in zip(PARTS, parts, strict=True)
        }
    # What a failed download raises depends on where it failed: errors of the
    # package, of requests, of TensorFlow and of the system.
    except Exception as error:
        raise DatasetUnavailableError(
            f"The corpus 'ted' could not be had: {_PACKAGE} failed to load {_DATASET}: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def decode_pairs(examples: Iterable[tuple[bytes, bytes]]) -> ParallelText:
    """Decodes sentence pairs as tensorflow-datasets yields them.

    Args:
        examples: UTF-8 of a sentence and of its translation each.
    """
    return clean_pairs(
        (source.decode("utf-8"), target.decode("utf-8")) for source, target in examples
    )
