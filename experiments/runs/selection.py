"""Finds the best epoch in a log, and whether ranks have settled."""

from collections.abc import Callable, Sequence
from typing import Any

from dlrt_names.log_schema import EPOCH, RANK

Row = dict[str, Any]


def best_row(rows: Sequence[Row], score: Callable[[Row], float]) -> Row | None:
    """The row with the highest score, the earliest of equal ones."""
    return max(rows, key=score, default=None)


def validation_accuracy(row: Row) -> float:
    """The score that MNIST networks are selected by."""
    return row["val_accuracy"]


def validation_crossentropy(row: Row) -> float:
    """The score that language models are selected by: the less, the higher."""
    return -row["val_crossentropy"]


def ranks(row: Row) -> list[int]:
    """The ranks of the hidden layers in a row, in order."""
    return [value for name, value in row.items() if name.startswith(RANK)]


def has_settled(rows: Sequence[Row], patience: int, first_epoch: int) -> bool:
    """Whether ranks have stayed the same for some epochs.

    Args:
        rows: The rows of the adaptive phase.
        patience: Number of epochs without a change.
        first_epoch: The first epoch after which ranks have been truncated; before it
            they can't change.
    """
    seen = [ranks(row) for row in rows if row[EPOCH] >= first_epoch]
    return len(seen) > patience and all(
        these == seen[-1] for these in seen[-1 - patience :]
    )
