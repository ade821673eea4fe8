"""How much of a model may be left."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from dlrt.checks import is_integer, is_number

_KINDS = ("parameters", "flops", "ratio", "error", "ranks")


class Budget(NamedTuple):
    """A bound on a compressed model.

    Attributes:
        kind: "parameters", "flops", "error" or "ranks".
        amount: Number of parameters or flops of the whole model; relative Frobenius
            error of every kernel; or the ranks of each layer to compress, by name.
    """

    kind: str
    amount: Any


def parse_budget(budget: Mapping[str, Any], parameters: int) -> Budget:
    """Parses a budget, for a model with this number of parameters.

    Raises:
        ValueError: If the key is unknown or the amount out of range.
    """
    if not isinstance(budget, Mapping) or len(budget) != 1 or set(budget) - {*_KINDS}:
        raise ValueError(
            f"`budget` must be a dictionary with one of the keys {list(_KINDS)}. "
            f"Received: budget={budget}"
        )
    ((kind, amount),) = budget.items()
    if kind == "ranks":
        _check(
            isinstance(amount, Mapping)
            and amount
            and all(map(_are_ranks, amount.values())),
            "map names of layers to positive integers or tuples of these",
            budget,
        )
    else:
        _check(is_number(amount) and math.isfinite(amount), "be a number", budget)
    if kind in ("parameters", "flops"):
        _check(is_integer(amount) and amount > 0, "be a positive integer", budget)
    if kind == "ratio":
        _check(amount >= 1, "be at least 1, parameters before by after", budget)
        return Budget("parameters", int(parameters / amount))
    if kind == "error":
        _check(0 <= amount < 1, "lie in [0, 1)", budget)
    return Budget(kind, amount)


def _are_ranks(value: Any) -> bool:
    ranks = value if isinstance(value, (tuple, list)) else [value]
    return bool(ranks) and all(is_integer(rank) and rank > 0 for rank in ranks)


def _check(holds: Any, what: str, budget: Mapping[str, Any]) -> None:
    if not holds:
        (kind,) = budget
        raise ValueError(f"`budget[{kind!r}]` must {what}. Received: budget={budget}")
