"""`load_corpus`: a corpus by name or folder, from the first place that has it."""

import importlib
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dlrt.datasets._corpus import PARTS, Corpus, SentencePair, clean_pairs, read_folder
from dlrt.datasets._errors import DatasetFileError, DatasetUnavailableError
from dlrt.datasets._named import ENVIRONMENT_VARIABLE, find_own, find_path, load_named
from dlrt_names.data_sets import CORPORA

_SOURCE_LANGUAGE = "pt"
_TARGET_LANGUAGE = "en"
# What tensorflow-datasets downloads.
_TED = "ted_hrlr_translate/pt_to_en"


def load_corpus(
    name: str | os.PathLike[str] = "auto",
    source_language: str = _SOURCE_LANGUAGE,
    target_language: str = _TARGET_LANGUAGE,
) -> Corpus:
    """Loads sentence pairs for translation.

    The named corpora translate from Portuguese to English:

    * `"pt_en"` is the folder of that name in the directory that the
      environment variable `DLRT_DATA_DIR` names.
    * `"ted"` holds transcripts of TED talks, `ted_hrlr_translate/pt_to_en`,
      which the package tensorflow-datasets downloads: `pip install -e .[ted]`.
    * `"phrases"` is generated, the same at every call: 60,000 training, 1,000
      validation and 1,000 test pairs from a grammar of numbers, dates, times, prices
      and short sentences. Each sentence has exactly one right translation, so that
      training, the choice of a rank and the scoring of translations can be tried
      anywhere within minutes. Results on it say nothing about natural text.

    A folder holds `train.<language>`, `validation.<language>` and `test.<language>` in
    two languages: UTF-8 text, line i in one language translated by line i in the other.
    White space at the ends of lines is stripped, and text is brought to Unicode form
    NFC. Pairs of which a side is blank are dropped with a warning.

    Args:
        name: One of these, what `register_corpus` has added, and `"auto"`, which is
            `"pt_en"` where `DLRT_DATA_DIR` has it, else the phrases with a warning;
            or the path of a folder. One with the name of a corpus is reached as
            `"./<name>"` or as a `Path`.
        source_language: The suffix of the files of a folder to translate from.
        target_language: The suffix of their translations.

    Returns:
        A `Corpus`; its `name` and `source` tell what was loaded from where.

    Raises:
        ValueError: If `name` is neither a corpus nor an existing folder, a language is
            not a suffix, or `DLRT_DATA_DIR` is not an existing directory.
        DatasetFileError: A `ValueError`, if the folder lacks a file; files are not
            UTF-8, hold control characters or differ in their numbers of lines; or a
            part has no pair. No other place is searched then.
        DatasetUnavailableError: An `OSError`, if the named corpus cannot be had.

    Example:
    >>> corpus = load_corpus("phrases")
    >>> corpus
    Corpus(name='phrases', source='embedded')
    >>> len(corpus.train), len(corpus.validation), len(corpus.test)
    (60000, 1000, 1000)
    """
    if name in CORPORA:
        name = str(name)
        _check_named(name, source_language, target_language)
        warning = (
            "The corpus pt_en could not be had. THE GENERATED PHRASES ARE USED "
            "INSTEAD: results are not results on natural text. Set the environment "
            f"variable {ENVIRONMENT_VARIABLE} to a folder with pt_en, or load "
            '"phrases".\n'
        )
        name, corpus = load_named(CORPORA, name, warning)
    else:
        folder = find_path(name, CORPORA, "an existing folder", Path.is_dir)
        _check_languages(source_language, target_language)
        name = folder.resolve().name
        corpus = read_folder(folder, source_language, target_language)
    parts, dropped = {}, {}
    for part in PARTS:
        pairs = list(getattr(corpus, part))
        parts[part] = clean_pairs(pairs)
        dropped[part] = len(pairs) - len(parts[part])
        if not parts[part]:
            raise DatasetFileError(f"The corpus {name!r} has no pair for {part}")
    if any(dropped.values()):
        counts = ", ".join(f"{count} in {part}" for part, count in dropped.items())
        warnings.warn(
            f"{sum(dropped.values())} pairs of the corpus {name!r} were dropped, as a "
            f"side was blank: {counts}",
            stacklevel=2,
        )
    return Corpus(name, corpus.source, **parts)


def load_pt_en() -> Corpus:
    """Loads the folder of that name in the user's directory."""
    folder, said = find_own(["pt_en"])
    if folder is None:
        raise DatasetUnavailableError(f"The corpus 'pt_en' could not be had: {said}")
    corpus = read_folder(folder, _SOURCE_LANGUAGE, _TARGET_LANGUAGE)
    return replace(corpus, source=said)


def load_phrases() -> Corpus:
    """Generates the corpus that comes with the package."""
    from dlrt.phrases.generate import generate_parts

    return Corpus("phrases", "embedded", *map(tuple, generate_parts()))


def load_ted() -> Corpus:
    """Loads `ted_hrlr_translate/pt_to_en` by way of tensorflow-datasets.

    The package keeps what it downloads below `TFDS_DATA_DIR` or
    `~/tensorflow_datasets`.
    """
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise DatasetUnavailableError(
            "The corpus 'ted' needs the extra `ted` (pip install -e .[ted]), which has "
            f"tensorflow-datasets: {error}"
        ) from error
    try:
        parts = tfds.load(_TED, split=list(PARTS), as_supervised=True)
        decoded = [_decode_pairs(tfds.as_numpy(examples)) for examples in parts]
        return Corpus("ted", "tensorflow-datasets", *decoded)
    # What a failed download raises depends on where it failed: errors of the
    # package, of requests, of TensorFlow and of the system.
    except Exception as error:
        raise DatasetUnavailableError(
            "The corpus 'ted' could not be had: tensorflow-datasets failed to load "
            f"{_TED}: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def _decode_pairs(examples: Iterable[tuple[bytes, bytes]]) -> tuple[SentencePair, ...]:
    return tuple(SentencePair(*(side.decode("utf-8") for side in x)) for x in examples)


def _check_named(name: str, source_language: str, target_language: str) -> None:
    if (source_language, target_language) != (_SOURCE_LANGUAGE, _TARGET_LANGUAGE):
        raise ValueError(
            "`source_language` and `target_language` can be chosen for a folder only; "
            f"the corpus {name!r} translates from {_SOURCE_LANGUAGE!r} to "
            f"{_TARGET_LANGUAGE!r}. Received: source_language={source_language!r}, "
            f"target_language={target_language!r}"
        )


def _check_languages(source_language: object, target_language: object) -> None:
    for argument, language in (
        ("source_language", source_language),
        ("target_language", target_language),
    ):
        if not isinstance(language, str) or not re.fullmatch(r"[\w.-]+", language):
            raise ValueError(
                f"`{argument}` must be the suffix of files, of letters, digits, '-', "
                f"'_' and '.'. Received: {argument}={language!r}"
            )
    if source_language == target_language:
        raise ValueError(
            "`source_language` and `target_language` must differ. "
            f"Received: {source_language!r} for both"
        )
