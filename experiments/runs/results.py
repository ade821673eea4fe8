"""How the rows of a log are ranked and reported, for images and for words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dlrt_names.log_schema import EPOCH, RANK

Row = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The results of networks of one kind.

    Args:
        examples: What the inputs are called, in the plural.
        score: Scores a row of the log; the best epoch has the highest score.
        tell: Returns text on the result in a row of the log.
        tell_test: Returns text on a test of a compression run.
    """

    examples: str
    score: Callable[[Row], float]
    tell: Callable[[Row], str]
    tell_test: Callable[[Row], str]


def best_row(rows: Sequence[Row], score: Callable[[Row], float]) -> Row | None:
    """The row with the highest score, the earliest of equal ones."""
    return max(rows, key=score, default=None)


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
    last = seen[-1 - patience :]
    return len(last) > patience and all(these == last[-1] for these in last)


def perplexity(crossentropy: float) -> float:
    """The exponential of a mean cross-entropy, or 1e300 if it is larger."""
    return math.exp(min(crossentropy, math.log(1e300)))


def _accuracies(row: Row) -> str:
    return (
        f"validation accuracy {100 * row['val_accuracy']:.2f} %, "
        f"test accuracy {100 * row['test_accuracy']:.2f} %"
    )


def _accuracies_tested(found: Row) -> str:
    return (
        f"{100 * found['test_accuracy']:.2f} % of the test images, "
        f"{100 * found['attacked_accuracy']:.2f} % under attack"
    )


def _perplexities(row: Row) -> str:
    return (
        f"validation perplexity {perplexity(row['val_crossentropy']):.1f}, "
        f"test perplexity {perplexity(row['test_crossentropy']):.1f}, "
        f"test accuracy {100 * row['test_accuracy']:.2f} % of the words"
    )


def _perplexities_tested(found: Row) -> str:
    return (
        f"test perplexity {found['test_perplexity']:.1f}, "
        f"{100 * found['test_accuracy']:.2f} % of the test words"
    )


IMAGES = Results(
    "images", lambda row: row["val_accuracy"], _accuracies, _accuracies_tested
)
WORDS = Results(
    "chunks", lambda row: -row["val_crossentropy"], _perplexities, _perplexities_tested
)
