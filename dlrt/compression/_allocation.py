"""Ranks from a budget: what each layer gets of it. Pure functions of tables."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """What there is to choose from for one layer, the cheapest first.

    Attributes:
        costs: `(k,)`, increasing.
        errors: `(k,)`, decreasing to 0.
        whole: The cost of the layer as it is.
    """

    costs: np.ndarray
    errors: np.ndarray
    whole: int


class OutOfBudget(ValueError):
    """A budget below the sum of the cheapest choices.

    Attributes:
        smallest: That sum.
    """

    def __init__(self, smallest: int) -> None:
        super().__init__(f"The smallest possible cost is {smallest}.")
        self.smallest = smallest


def undominated(costs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Indices of the choices that no other one beats in cost and error, by cost."""
    order = np.lexsort((errors, costs))
    best = np.minimum.accumulate(errors[order])
    better = np.concatenate([[True], errors[order][1:] < best[:-1]])
    return order[better]


def by_ratio(tables: Sequence[Table], limit: float) -> list[int]:
    """The same share of its cost for every layer, as far as choices are that fine.

    Args:
        tables: The choices of each layer.
        limit: Upper bound of the sum of costs.

    Returns:
        The index of each layer's choice.

    Raises:
        OutOfBudget: If the cheapest choices cost more.
    """
    shares = [table.costs / table.whole for table in tables]

    def choose(level: float) -> list[int]:
        return [
            max(0, int(np.searchsorted(share, level, side="right")) - 1)
            for share in shares
        ]

    return _up_to(tables, limit, choose, np.unique(np.concatenate(shares)))


def by_error(tables: Sequence[Table], limit: float) -> list[int]:
    """The smallest possible largest error of a layer.

    The global problem of Liebenwein et al., 2021, arXiv:2107.11442, solved exactly: for
    every bound on the errors, the cheapest choices that keep it are known.

    Args:
        tables: The choices of each layer.
        limit: Upper bound of the sum of costs.

    Returns:
        The index of each layer's choice.

    Raises:
        OutOfBudget: If the cheapest choices cost more.
    """
    levels = np.unique(np.concatenate([table.errors for table in tables]))
    return _up_to(tables, limit, lambda level: within(tables, -level), np.sort(-levels))


def within(tables: Sequence[Table], error: float) -> list[int]:
    """The cheapest choice of each layer whose error is at most a bound `≥ 0`."""
    # Errors decrease: the first one that is small enough.
    return [
        int(np.searchsorted(-table.errors, -error, side="left")) for table in tables
    ]


def by_shares(
    tables: Sequence[Table],
    limit: float,
    ranks: Sequence[np.ndarray],
    shares: Sequence[float],
) -> list[int]:
    """Ranks in proportion to shares, their sum as large as a limit allows.

    Args:
        tables: The choices of each layer.
        limit: Upper bound of the sum of costs.
        ranks: The rank of each choice of each layer, increasing.
        shares: That of each layer, not negative; with 0 it has its cheapest choice,
            as long as nothing is left.

    Returns:
        The index of each layer's choice.

    Raises:
        OutOfBudget: If the cheapest choices cost more.
    """
    # The sum, in shares, from which a layer has each of its choices.
    reached = [
        of / share if share else np.append(0.0, np.full(len(of) - 1, np.inf))
        for of, share in zip(ranks, shares, strict=True)
    ]

    def choose(level: float) -> list[int]:
        return [
            max(0, int(np.searchsorted(levels, level, side="right")) - 1)
            for levels in reached
        ]

    levels = np.unique(np.concatenate(reached))
    return _up_to(tables, limit, choose, levels[np.isfinite(levels)], shares)


ALLOCATIONS: dict[str, Callable[[Sequence[Table], float], list[int]]] = {
    "ratio": by_ratio,
    "error": by_error,
}


def _up_to(
    tables: Sequence[Table],
    limit: float,
    choose: Callable[[float], list[int]],
    levels: np.ndarray,
    weights: Sequence[float] | None = None,
) -> list[int]:
    """The choices at the highest level that a budget allows, and the rest spent.

    Args:
        tables: The choices of each layer.
        limit: Upper bound of the sum of costs.
        choose: The choices at a level; they cost more, the higher it is.
        levels: All levels at which they change, increasing.
        weights: How much the error of each layer matters for what is left. Defaults
            to the same for all.
    """
    cheapest = sum(int(table.costs[0]) for table in tables)
    if cheapest > limit:
        raise OutOfBudget(cheapest)
    low, high = -1, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _cost(tables, choose(levels[middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    chosen = choose(levels[low]) if low >= 0 else [0] * len(tables)
    even = [1.0] * len(tables)
    return _spent(tables, chosen, limit, even if weights is None else weights)


def _spent(
    tables: Sequence[Table],
    chosen: list[int],
    limit: float,
    weights: Sequence[float],
) -> list[int]:
    """Better choices for what is left, for the layer whose error matters most first."""
    chosen = list(chosen)
    left = limit - _cost(tables, chosen)
    open_ = set(range(len(tables)))
    while open_:
        layer = max(open_, key=lambda i: (weights[i] * tables[i].errors[chosen[i]], -i))
        costs, index = tables[layer].costs, chosen[layer]
        if index + 1 < len(costs) and costs[index + 1] - costs[index] <= left:
            left -= costs[index + 1] - costs[index]
            chosen[layer] += 1
        else:
            open_.remove(layer)
    return chosen


def _cost(tables: Sequence[Table], chosen: Sequence[int]) -> int:
    return sum(int(table.costs[i]) for table, i in zip(tables, chosen, strict=True))
