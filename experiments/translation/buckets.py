"""Which sentences share a batch, and how wide it is.

A batch is padded to one of a few widths, the same for source and target, so that
programs compiled for a shape are few. With pairs of widths, eight apart, a Portuguese
and English text takes twice as many shapes and has no less padding than with common
widths, four apart.
"""

from typing import NamedTuple

import numpy as np

_SHORTEST = 8
_STEP = 4


def widths(max_length: int) -> list[int]:
    """The widths to which batches of up to `max_length` ids are padded."""
    return [*range(_SHORTEST, max_length, _STEP), max_length]


class Batch(NamedTuple):
    """The sentences of a batch.

    Args:
        chosen: Rows of the encoded sentences.
        width: Number of ids that rows are padded to.
    """

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

    Sentences that don't fill a batch of their width go to the next width, so that only
    the last batch is smaller than others of its width.

    Args:
        lengths: Number of ids of each sentence.
        max_length: The most that there may be.
        batch_size: Sentences in a batch.
        batch_tokens: Instead: ids in a row times rows, at most; at least one row.
        rng: Where given, sentences of a width come in random order.

    Returns:
        Batches in the order of their widths. Their shapes depend on `lengths` and
        sizes only.

    Raises:
        ValueError: If not exactly one size is given, or it is not positive.
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
