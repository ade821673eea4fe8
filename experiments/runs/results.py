"""How results on images and on words are ranked and reported."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.runs import selection
from experiments.runs.selection import Row


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
    tell_test: Callable[[dict[str, Any]], str]


def perplexity(crossentropy: float) -> float:
    """The exponential of a mean cross-entropy, or 1e300 if it is larger."""
    return math.exp(min(crossentropy, math.log(1e300)))


def _accuracies(row: Row) -> str:
    return (
        f"validation accuracy {100 * row['val_accuracy']:.2f} %, "
        f"test accuracy {100 * row['test_accuracy']:.2f} %"
    )


def _accuracies_tested(found: dict[str, Any]) -> str:
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


def _perplexities_tested(found: dict[str, Any]) -> str:
    return (
        f"test perplexity {found['test_perplexity']:.1f}, "
        f"{100 * found['test_accuracy']:.2f} % of the test words"
    )


IMAGES = Results(
    "images", selection.validation_accuracy, _accuracies, _accuracies_tested
)
WORDS = Results(
    "chunks", selection.validation_crossentropy, _perplexities, _perplexities_tested
)
