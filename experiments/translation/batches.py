"""Batches of sentences of similar length, for training and evaluation.

A batch is padded to one of a few widths, the same for source and target, so that
programs compiled for a shape are few. With pairs of widths, eight apart, a Portuguese
and English text takes twice as many shapes and has no less padding than with common
widths, four apart.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from experiments.translation.text import EncodedPairs, lengths
from experiments.translation.tokenizers import END, PADDING, START

# Large, because evaluation keeps no activations for a backward pass.
EVALUATION_BATCH = 128

# Batches prepared while a step runs.
_PREFETCHED = 2
# Of widths: the smallest, and from one to the next.
_SHORTEST = 8
_STEP = 4


def widths(max_length: int) -> list[int]:
    """The widths to which batches of up to `max_length` ids are padded."""
    return [*range(_SHORTEST, max_length, _STEP), max_length]


class Batch(NamedTuple):
    """Rows of the encoded sentences, and the number of ids that they are padded to."""

    chosen: np.ndarray
    width: int


def group_by_length(
    lengths: np.ndarray,
    max_length: int,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    rng: np.random.Generator | None = None,
) -> list[Batch]:
    """Batches of sentences of similar length, each sentence in one of them.

    A batch has `batch_size` sentences or else, with its padding, at most `batch_tokens`
    ids, but at least one sentence. Sentences that don't fill a batch of their width go
    to the next width, so that only the last batch is smaller than others of its width.
    Batches come in the order of their widths, and have shapes that depend on lengths
    and sizes only. With `rng`, sentences of a width come in random order.
    """
    if (batch_size is None) == (batch_tokens is None):
        raise ValueError(
            "Either `batch_size` or `batch_tokens` must be given. Received: "
            f"{batch_size} and {batch_tokens}"
        )
    check_positive(batch_size=batch_size, batch_tokens=batch_tokens)
    order = np.argsort(lengths, kind="stable")
    limits = np.array(widths(max_length))
    ends = np.searchsorted(lengths[order], limits, side="right")
    batches: list[Batch] = []
    left = order[:0]
    start, width = 0, max_length
    for limit, end in zip(limits.tolist(), ends.tolist(), strict=True):
        if start == end:
            continue
        width = limit
        found = order[start:end]
        left = np.concatenate([left, found if rng is None else rng.permutation(found)])
        size = batch_size or max(1, batch_tokens // width)
        while len(left) >= size:
            batches.append(Batch(left[:size], width))
            left = left[size:]
        start = end
    if len(left):
        batches.append(Batch(left, width))
    return batches


def check_positive(**sizes: int | None) -> None:
    """Raises a ValueError that names a size that is given and below 1."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"`{name}` must be positive. Received: {size}")


def source_batches(
    sources: np.ndarray, batch_size: int = EVALUATION_BATCH
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields sentences to be translated, from `encode_sources`, in batches.

    Those are rows of `sources`, of shape `(sentences,)`, and the ids there, int32 of
    shape `(sentences, width)`. The last batch may have fewer than `batch_size`.
    """
    batches = group_by_length(lengths(sources), sources.shape[1], batch_size)
    for chosen, width in batches:
        yield chosen, sources[chosen, :width]


class PaddedBatches(keras.utils.PyDataset):
    """Batches `(x, y, weights)` of sentences and their translations.

    `x` has the keys `"source"`, sentences that end with `END`, and `"target"`,
    translations that begin with `START`; `y` holds translations that end with `END`.
    All are int32, of one shape `(sentences, width)`, of which `shapes` has all,
    shortest first. The float32 weights of that shape are 0 where `y` is padding and 1
    elsewhere.
    """

    def __init__(self, pairs: EncodedPairs, batches: list[Batch]) -> None:
        super().__init__()
        self._source = pairs.source
        self._target = pairs.target
        self._target_in = np.roll(self._target, 1, axis=1)
        self._target_in[:, 0] = START
        self._target_in[self._target_in == END] = PADDING
        shapes = {(len(batch.chosen), batch.width) for batch in batches}
        self.shapes = sorted(shapes, key=lambda shape: shape[::-1])
        self._slots = sum(len(batch.chosen) * batch.width for batch in batches)
        self._batches = batches
        self._variables: Any = None

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(
        self, index: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        chosen, width = self._batches[index]
        y = self._target[chosen, :width]
        x = {
            "source": self._source[chosen, :width],
            "target": self._target_in[chosen, :width],
        }
        return x, y, (y != PADDING).astype(np.float32)

    def padding(self) -> dict[str, float]:
        """Share of padding among the ids of all batches, as a log has it."""
        source, target = (int(lengths(x).sum()) for x in (self._source, self._target))
        return {
            "padding_source": 1 - source / self._slots,
            "padding_target": 1 - target / self._slots,
            "padding": 1 - (source + target) / (2 * self._slots),
        }

    def _set(self, batches: list[Batch]) -> None:
        self._batches = batches
        if self._variables is not None:
            for variable, value in zip(self._variables, self._tables(), strict=True):
                variable.assign(value)

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Chosen rows, and each batch's begin and end among them and its width."""
        ends = np.cumsum([len(batch.chosen) for batch in self._batches])
        begins = np.concatenate([[0], ends[:-1]])
        widths = [batch.width for batch in self._batches]
        rows = np.concatenate([batch.chosen for batch in self._batches])
        table = np.stack([begins, ends, widths], axis=1)
        return rows.astype(np.int32), table.astype(np.int32)

    def for_fit(self) -> Any:
        """These batches in the form that the backend trains on fastest.

        On TensorFlow that is a data set that doesn't tune itself, as in
        `ShuffledBatches.for_fit`, and that doesn't go through Python.
        """
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        # A data set runs on the host, whatever the model runs on.
        with tf.device("CPU"):
            rows, table = self._tables()
            rows = tf.Variable(rows, trainable=False, shape=[None])
            table = tf.Variable(table, trainable=False)
            columns = self._source, self._target_in, self._target
            columns = tuple(tf.constant(column) for column in columns)
        self._variables = rows, table

        def batch(index: Any) -> tuple[dict[str, Any], Any, Any]:
            begin, end, width = tf.unstack(table[index])
            source, target_in, target_out = (
                tf.gather(column, rows[begin:end])[:, :width] for column in columns
            )
            weights = tf.cast(target_out != PADDING, tf.float32)
            return {"source": source, "target": target_in}, target_out, weights

        options = tf.data.Options()
        options.autotune.enabled = False
        batches = tf.data.Dataset.range(len(self)).map(batch)
        return batches.prefetch(_PREFETCHED).with_options(options)


class TrainingBatches(PaddedBatches):
    """`PaddedBatches` in an order that depends on seed and epoch only.

    Each pass through the sentences has every one of them once. An epoch is a pass or,
    with `steps_per_epoch`, goes on where the one before it stopped. A batch has
    `batch_size` sentences, at the end of a pass fewer, or else at most `batch_tokens`
    ids on the target side, padding included, but at least one sentence.
    """

    def __init__(
        self,
        pairs: EncodedPairs,
        seed: int,
        *,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        check_positive(steps_per_epoch=steps_per_epoch)
        self._lengths = pairs.lengths
        self._max_length = pairs.max_length
        self._sizes = batch_size, batch_tokens
        self._seed = seed
        first = self._shuffled(0)
        super().__init__(pairs, first)
        self.steps_per_pass = len(first)
        self._steps = steps_per_epoch or self.steps_per_pass
        self.begin_epoch(0)

    def _shuffled(self, number: int) -> list[Batch]:
        """The batches of a pass."""
        rng = np.random.default_rng([self._seed, number])
        batches = group_by_length(self._lengths, self._max_length, *self._sizes, rng)
        return [batches[i] for i in rng.permutation(len(batches))]

    def begin_epoch(self, epoch: int) -> None:
        """Puts the batches of an epoch, counted from 0, in order."""
        start = epoch * self._steps
        number, skipped = divmod(start, self.steps_per_pass)
        batches: list[Batch] = []
        while len(batches) < skipped + self._steps:
            batches += self._shuffled(number)
            number += 1
        self._set(batches[skipped : skipped + self._steps])

    def follow(self) -> keras.callbacks.Callback:
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.begin_epoch(epoch)
        )


class EvaluationBatches(PaddedBatches):
    """`PaddedBatches` in the order of their widths; the last one may be smaller."""

    def __init__(self, pairs: EncodedPairs, batch_size: int = EVALUATION_BATCH) -> None:
        batches = group_by_length(pairs.lengths, pairs.max_length, batch_size)
        super().__init__(pairs, batches)
