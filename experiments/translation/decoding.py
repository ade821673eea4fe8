"""Translation of text by a trained network.

A compiled loop translates a batch of sentences, by greedy or by beam search. A sentence
gets at most `max_length` tokens with its end, and at most `2 n + 10` for a source of
`n` tokens with its end, so that a poor network does not run for long.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from experiments.translation.batches import check_positive, source_batches
from experiments.translation.search import BeamSearch, GreedySearch, Search
from experiments.translation.text import encode_sources, lengths
from experiments.translation.tokenizers import Vocabularies

# Sources and limits to translations, see `Search`.
Decoder = Callable[[np.ndarray, np.ndarray], np.ndarray]

_LENGTH_PENALTY = 0.6
# Where each shape is compiled by itself, widths are multiples of this.
_WIDTH_STEP = 16


class Translator:
    """Translates sentences with the current weights of a network of `network.build`.

    If its ranks change and variables are replaced, the translator keeps using the old
    ones. Sentences have at most `max_length` tokens with their end, at least 2; only
    the beginning of a longer one is translated. So many beams are followed, 1 for
    greedy search, and `batch_size` sentences are translated at once.
    """

    def __init__(
        self,
        model: keras.Model,
        vocabularies: Vocabularies,
        *,
        max_length: int,
        beams: int = 1,
        batch_size: int = 64,
    ) -> None:
        check_positive(max_length=max_length, beams=beams, batch_size=batch_size)
        if beams == 1:
            self._search: Search = GreedySearch(model, max_length)
        else:
            self._search = BeamSearch(model, max_length, beams, _LENGTH_PENALTY)
        self._decoder = compile_search(self._search)
        self._vocabularies = vocabularies
        self._max_length = max_length
        self._batch_size = batch_size

    def __call__(self, sentences: Sequence[str]) -> list[str]:
        if not sentences:
            return []
        sources = encode_sources(sentences, self._vocabularies.source, self._max_length)
        translations = [""] * len(sentences)
        rows = min(self._batch_size, len(sentences))
        for chosen, ids in source_batches(sources, self._batch_size):
            # The last batch gets the shape of the others, which is compiled already.
            padded = np.pad(ids, [(0, rows - len(ids)), (0, 0)])
            found = decode(self._search, self._decoder, padded)[: len(ids)]
            texts = self._vocabularies.target.decode(found)
            for row, text in zip(chosen, texts, strict=True):
                translations[row] = text
        return translations


def compile_search(search: Search) -> Decoder:
    """Makes a compiled function of arrays of a search."""
    if keras.backend.backend() == "jax":
        return _compile_by_jax(search)
    import tensorflow as tf

    shapes = (None, None), (None,)
    signature = [tf.TensorSpec(shape, tf.int32) for shape in shapes]

    @tf.function(input_signature=signature, autograph=False)
    def decode(source: Any, limits: Any) -> Any:
        return search(source, limits)

    # TensorFlow warns of the traces of many functions of one name that are called.
    traced = decode.get_concrete_function()
    return lambda source, limits: traced(*map(tf.constant, (source, limits))).numpy()


def _compile_by_jax(search: Search) -> Decoder:
    import jax

    @jax.jit
    def decode(trainable: Any, others: Any, source: Any, limits: Any) -> Any:
        found, _ = search.stateless_call(trainable, others, source, limits)
        return found

    def call(source: np.ndarray, limits: np.ndarray) -> np.ndarray:
        source = np.pad(source, [(0, 0), (0, -source.shape[1] % _WIDTH_STEP)])
        trainable = [variable.value for variable in search.trainable_variables]
        others = [variable.value for variable in search.non_trainable_variables]
        return np.asarray(decode(trainable, others, source, limits))

    return call


def decode(search: Search, decoder: Decoder, source: np.ndarray) -> np.ndarray:
    """The translations of a batch by a search, which is also given compiled.

    Sources are int32 of shape `(sentences, width)`, each with `END` and padding, and so
    are translations; those that did not end in time have no `END`.
    """
    found = lengths(source)
    limits = np.array([search.room(length) for length in found], np.int32)
    limits[found == 0] = 0
    return decoder(source, limits)
