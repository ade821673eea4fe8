import itertools

import numpy as np
import pytest

from dlrt.compression._allocation import (
    ALLOCATIONS,
    OutOfBudget,
    Table,
    by_error,
    by_ratio,
    by_shares,
    undominated,
    within,
)


def random_tables(seed, layers=3):
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(layers):
        size = rng.integers(2, 6)
        costs = np.sort(rng.choice(np.arange(1, 40), size, replace=False))
        errors = np.append(np.sort(rng.random(size - 1))[::-1], 0.0)
        tables.append(Table(costs, errors, int(costs[-1])))
    return tables


def equal_shares(tables, limit):
    ranks = [np.arange(1, len(table.costs) + 1) for table in tables]
    return by_shares(tables, limit, ranks, [1 / len(tables)] * len(tables))


EVERY = [*ALLOCATIONS.values(), equal_shares]


def cost(tables, chosen):
    return sum(int(t.costs[i]) for t, i in zip(tables, chosen, strict=True))


def largest_error(tables, chosen):
    return max(t.errors[i] for t, i in zip(tables, chosen, strict=True))


def test_undominated_choices_are_better_the_more_they_cost():
    costs = np.array([5, 3, 3, 8, 6, 9])
    errors = np.array([0.4, 0.6, 0.5, 0.4, 0.2, 0.0])
    assert undominated(costs, errors).tolist() == [2, 0, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_by_error_finds_the_smallest_largest_error(seed):
    tables = random_tables(seed)
    every = list(itertools.product(*(range(len(t.costs)) for t in tables)))
    for limit in range(cost(tables, [0, 0, 0]), sum(t.whole for t in tables) + 2, 7):
        chosen = by_error(tables, limit)
        possible = [c for c in every if cost(tables, c) <= limit]
        best = min(largest_error(tables, c) for c in possible)
        assert cost(tables, chosen) <= limit
        assert largest_error(tables, chosen) == best


@pytest.mark.parametrize("seed", range(20))
def test_by_ratio_gives_every_layer_its_share_at_least(seed):
    tables = random_tables(seed)
    for limit in range(cost(tables, [0, 0, 0]), sum(t.whole for t in tables) + 2, 7):
        chosen = by_ratio(tables, limit)
        assert cost(tables, chosen) <= limit
        # The largest share that the limit allows, found by trying all.
        shares = np.unique([c / t.whole for t in tables for c in t.costs])
        at = [
            [max(0, np.sum(t.costs <= s * t.whole) - 1) for t in tables] for s in shares
        ]
        fitting = [c for c in at if cost(tables, c) <= limit]
        least = fitting[-1] if fitting else [0, 0, 0]
        assert all(i >= j for i, j in zip(chosen, least, strict=True))


@pytest.mark.parametrize("allocation", EVERY)
@pytest.mark.parametrize("seed", range(10))
def test_nothing_that_would_be_of_use_is_left(allocation, seed):
    tables = random_tables(seed)
    for limit in range(cost(tables, [0, 0, 0]), sum(t.whole for t in tables) + 2, 7):
        chosen = allocation(tables, limit)
        left = limit - cost(tables, chosen)
        for table, i in zip(tables, chosen, strict=True):
            assert (
                i + 1 == len(table.costs) or table.costs[i + 1] - table.costs[i] > left
            )


@pytest.mark.parametrize("allocation", EVERY)
def test_all_of_it_is_the_layers_as_they_are(allocation):
    tables = random_tables(0)
    chosen = allocation(tables, sum(t.whole for t in tables))
    assert chosen == [len(t.costs) - 1 for t in tables]


@pytest.mark.parametrize("allocation", EVERY)
def test_too_little_is_refused(allocation):
    tables = random_tables(0)
    least = cost(tables, [0, 0, 0])
    assert allocation(tables, least) == [0, 0, 0]
    with pytest.raises(OutOfBudget) as raised:
        allocation(tables, least - 1)
    assert raised.value.smallest == least


def linear_table(unit, most):
    ranks = np.arange(1, most + 1)
    return Table(unit * ranks, 1 - ranks / most, unit * most)


def test_by_shares_shares_out_the_total_rank():
    tables = [linear_table(3, 60), linear_table(5, 60), linear_table(2, 60)]
    ranks = [np.arange(1, 61)] * 3
    # At a total rank of 40, 20 + 10 + 10 cost 3 * 20 + 5 * 10 + 2 * 10.
    chosen = by_shares(tables, 130, ranks, [0.5, 0.25, 0.25])
    assert [i + 1 for i in chosen] == [20, 10, 10]


def test_layers_without_a_share_have_their_cheapest_choice():
    tables = [linear_table(3, 60), linear_table(5, 60)]
    ranks = [np.arange(1, 61)] * 2
    chosen = by_shares(tables, 3 * 20 + 5, ranks, [1.0, 0.0])
    assert [i + 1 for i in chosen] == [20, 1]


@pytest.mark.parametrize("bound", [0.0, 0.3, 0.7, 1.0])
def test_within_takes_the_cheapest_that_keeps_the_bound(bound):
    tables = random_tables(3)
    for table, i in zip(tables, within(tables, bound), strict=True):
        assert table.errors[i] <= bound
        assert i == 0 or table.errors[i - 1] > bound
