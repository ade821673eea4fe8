"""Which layer gets how much of a budget: functions of tables, and a registry."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from dlrt.compression.structures import Choice, Structure


class Table(NamedTuple):
    """The available choices for one layer, the cheapest first.

    Attributes:
        costs: `(k,)`, parameters or flops, increasing.
        errors: `(k,)`, relative errors of the kernel, decreasing to 0.
        whole: The cost of the layer as it is.
        choices: What each row stands for; `None` is the layer as it is.
        structure: The structure that has these choices; it holds the `layer` and builds
            its replacement.
    """

    costs: np.ndarray
    errors: np.ndarray
    whole: int
    choices: Sequence[Choice | None]
    structure: Structure

    @property
    def ranks(self) -> np.ndarray:
        """`(k,)`, the rank of each row, see `Choice.total_rank`, made to increase."""
        ranks = np.array([0.0 if c is None else c.total_rank for c in self.choices])
        ranks = np.maximum.accumulate(ranks)
        if self.choices[-1] is None:
            ranks[-1] += 1
        return ranks


class Context(NamedTuple):
    """What an allocation may use besides the tables.

    Attributes:
        model: A model with the layers of the tables.
        data: The `data` of `dlrt.compress`.
        compiled: The model that `dlrt.compress` was given, with its loss, if any.
    """

    model: keras.Model
    data: Any
    compiled: keras.Model


class OutOfBudget(ValueError):
    """A budget below the sum of the cheapest choices.

    Attributes:
        smallest: That sum.
    """

    def __init__(self, smallest: int) -> None:
        super().__init__(f"The smallest possible cost is {smallest}.")
        self.smallest = smallest


Allocation: TypeAlias = Callable[[Sequence[Table], float, Context], list[int]]

_ALLOCATIONS: dict[str, Allocation] = {}


def register_allocation(name: str) -> Callable[[Any], Any]:
    """Makes an allocation known to `dlrt.compress` by a name; decorates a function.

    An allocation is a function of

    * `tables`, the choices of each layer, see `Table`,
    * `limit`, which the costs of all layers together must not exceed,
    * `context`, the model and the data, see `Context`,

    that returns the index of a row for each table. It raises `OutOfBudget` if the
    cheapest rows cost more. `dlrt.compress` takes the function in place of a name too.

    Example:

    >>> @dlrt.compression.register_allocation("cheapest")
    ... def choose_cheapest(tables, limit, context):
    ...     return [0] * len(tables)
    """

    def register(allocate: Any) -> Any:
        _ALLOCATIONS[name] = allocate
        return allocate

    return register


def allocation_names() -> tuple[str, ...]:
    """The allocations that `dlrt.compress` knows."""
    return tuple(_ALLOCATIONS)


def find_allocation(allocation: str | Allocation) -> Allocation:
    """The allocation with a name, or the one given."""
    return _ALLOCATIONS[allocation] if isinstance(allocation, str) else allocation


@register_allocation("ratio")
def allocate_by_ratio(
    tables: Sequence[Table], limit: float, context: Context | None = None
) -> list[int]:
    """Every layer keeps the same share of its cost, as closely as choices allow."""
    shares = [table.costs / table.whole for table in tables]
    return _fill_up(tables, limit, lambda share: _last_reached(shares, share), shares)


@register_allocation("error")
def allocate_by_error(
    tables: Sequence[Table], limit: float, context: Context | None = None
) -> list[int]:
    """The smallest possible largest error of a layer.

    The global problem of Liebenwein et al., 2021, arXiv:2107.11442, solved exactly: for
    every bound on the errors, the cheapest choices within it are known.
    """
    bounds = [-table.errors for table in tables]
    return _fill_up(tables, limit, lambda bound: choose_within(tables, -bound), bounds)


def allocate_by_shares(
    tables: Sequence[Table], limit: float, shares: Sequence[float]
) -> list[int]:
    """Ranks in proportion to shares, their sum as large as the limit allows.

    A share of 0 gives the cheapest choice, unless budget is left over.
    """
    # The total, in units of shares, from which on a layer gets each of its choices.
    reached = [
        table.ranks / share
        if share
        else np.append(0.0, np.full(len(table.costs) - 1, np.inf))
        for table, share in zip(tables, shares, strict=True)
    ]
    return _fill_up(
        tables, limit, lambda total: _last_reached(reached, total), reached, shares
    )


def choose_within(tables: Sequence[Table], error: float) -> list[int]:
    """The cheapest choice of each layer whose error is at most a bound `≥ 0`."""
    # Errors decrease: the first one that is small enough.
    return [int(np.searchsorted(-table.errors, -error)) for table in tables]


def find_undominated(costs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Indices of the choices that none beats in both cost and error, by cost."""
    order = np.lexsort((errors, costs))
    best = np.minimum.accumulate(errors[order])
    better = np.concatenate([[True], errors[order][1:] < best[:-1]])
    return order[better]


def _last_reached(levels: Sequence[np.ndarray], level: float) -> list[int]:
    """The last choice of each layer with a level up to this one, or its first."""
    return [max(0, int(np.searchsorted(x, level, side="right")) - 1) for x in levels]


def _fill_up(
    tables: Sequence[Table],
    limit: float,
    choose: Callable[[float], list[int]],
    steps: Sequence[np.ndarray],
    weights: Sequence[float] | None = None,
) -> list[int]:
    """The choices at the highest level that a budget allows, then the rest is spent.

    `choose` returns the choices at a level; they cost more, the higher it is. `steps`
    are the levels at which those of each layer change, infinite for never. `weights`
    say how much the error of each layer matters when the rest is spent.
    """
    cheapest = sum(int(table.costs[0]) for table in tables)
    if cheapest > limit:
        raise OutOfBudget(cheapest)
    levels = np.unique(np.concatenate(steps))
    levels = levels[np.isfinite(levels)]
    low, high = -1, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _add_costs(tables, choose(levels[middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    chosen = choose(levels[low]) if low >= 0 else [0] * len(tables)
    return _spend_rest(tables, chosen, limit, weights or [1.0] * len(tables))


def _spend_rest(
    tables: Sequence[Table],
    chosen: list[int],
    limit: float,
    weights: Sequence[float],
) -> list[int]:
    """Spends the rest on better choices, first where the error matters most."""
    left = limit - _add_costs(tables, chosen)
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


def _add_costs(tables: Sequence[Table], chosen: Sequence[int]) -> int:
    return sum(int(table.costs[i]) for table, i in zip(tables, chosen, strict=True))
