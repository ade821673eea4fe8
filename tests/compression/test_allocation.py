import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrt.compression import Choice, OutOfBudget, Table
from dlrt.compression._allocation import (
    allocate_by_error,
    allocate_by_ratio,
    allocate_by_shares,
    choose_within,
    find_undominated,
)


def table_of(costs, errors, ranks=None):
    """A table of choices, with the ranks 1, 2, ... if no others are given."""
    if ranks is None:
        ranks = range(1, len(costs) + 1)
    rows = zip(ranks, costs, errors, strict=True)
    choices = [Choice((rank,), cost, cost, e, e) for rank, cost, e in rows]
    return Table(costs, errors, int(costs[-1]), choices, None)


@st.composite
def problems(draw):
    """Tables of three layers, and a budget of the cheapest choices at least."""
    tables = []
    for _ in range(3):
        size = draw(st.integers(2, 5))
        costs = draw(st.sets(st.integers(1, 39), min_size=size, max_size=size))
        errors = draw(st.sets(st.integers(1, 99), min_size=size - 1, max_size=size - 1))
        falling = np.array([*sorted(errors, reverse=True), 0]) / 100
        tables.append(table_of(np.array(sorted(costs)), falling))
    least = sum(int(table.costs[0]) for table in tables)
    return tables, draw(st.integers(least, sum(t.whole for t in tables) + 1))


def equal_shares(tables, limit):
    return allocate_by_shares(tables, limit, [1 / len(tables)] * len(tables))


EVERY = [allocate_by_ratio, allocate_by_error, equal_shares]


def cost(tables, chosen):
    return sum(int(t.costs[i]) for t, i in zip(tables, chosen, strict=True))


def largest_error(tables, chosen):
    return max(t.errors[i] for t, i in zip(tables, chosen, strict=True))


def test_undominated_choices_are_better_the_more_they_cost():
    costs = np.array([5, 3, 3, 8, 6, 9, 7])
    errors = np.array([0.4, 0.6, 0.5, 0.4, 0.2, 0.0, 0.2])
    assert find_undominated(costs, errors).tolist() == [2, 0, 4, 5]


@given(problem=problems())
def test_by_error_finds_the_smallest_largest_error(problem):
    tables, limit = problem
    every = itertools.product(*(range(len(t.costs)) for t in tables))
    possible = [chosen for chosen in every if cost(tables, chosen) <= limit]
    best = min(largest_error(tables, chosen) for chosen in possible)
    assert largest_error(tables, allocate_by_error(tables, limit)) == best


@given(problem=problems())
def test_by_ratio_gives_every_layer_its_share_at_least(problem):
    tables, limit = problem
    chosen = allocate_by_ratio(tables, limit)
    # The largest share that the limit allows, found by trying all.
    shares = np.unique([c / t.whole for t in tables for c in t.costs])
    at = [[max(0, np.sum(t.costs <= s * t.whole) - 1) for t in tables] for s in shares]
    fitting = [c for c in at if cost(tables, c) <= limit]
    least = fitting[-1] if fitting else [0, 0, 0]
    assert all(i >= j for i, j in zip(chosen, least, strict=True))


@given(problem=problems(), more=st.integers(0, 40))
def test_budgets_are_kept_and_nothing_of_use_is_left(problem, more):
    tables, limit = problem
    for allocation in EVERY:
        chosen = allocation(tables, limit)
        left = limit - cost(tables, chosen)
        assert left >= 0
        for table, i in zip(tables, chosen, strict=True):
            last = i + 1 == len(table.costs)
            assert last or table.costs[i + 1] - table.costs[i] > left
    # What is more does no harm.
    largest = [
        largest_error(tables, allocate_by_error(tables, b))
        for b in (limit, limit + more)
    ]
    assert largest[1] <= largest[0]


@given(problem=problems())
def test_the_ends_of_budgets(problem):
    tables, _ = problem
    least = cost(tables, [0, 0, 0])
    for allocation in EVERY:
        whole = allocation(tables, sum(t.whole for t in tables))
        assert whole == [len(t.costs) - 1 for t in tables]
        assert allocation(tables, least) == [0, 0, 0]
        with pytest.raises(OutOfBudget) as raised:
            allocation(tables, least - 1)
        assert raised.value.smallest == least


def linear_table(unit, most):
    ranks = np.arange(1, most + 1)
    return table_of(unit * ranks, 1 - ranks / most)


def test_by_shares_shares_out_the_total_rank():
    tables = [linear_table(3, 60), linear_table(5, 60), linear_table(2, 60)]
    # At a total rank of 40, 20 + 10 + 10 cost 3 * 20 + 5 * 10 + 2 * 10.
    chosen = allocate_by_shares(tables, 130, [0.5, 0.25, 0.25])
    assert [i + 1 for i in chosen] == [20, 10, 10]


def test_layers_without_a_share_have_their_cheapest_choice():
    tables = [linear_table(3, 60), linear_table(5, 60)]
    chosen = allocate_by_shares(tables, 3 * 20 + 5, [1.0, 0.0])
    assert [i + 1 for i in chosen] == [20, 1]


@given(problem=problems(), percent=st.integers(0, 100))
def test_within_takes_the_cheapest_that_keeps_the_bound(problem, percent):
    tables, _ = problem
    for table, i in zip(tables, choose_within(tables, percent / 100), strict=True):
        assert table.errors[i] <= percent / 100
        assert i == 0 or table.errors[i - 1] > percent / 100


def test_what_is_left_goes_to_the_layer_with_the_largest_share():
    # Both reach their second choice at one sum of ranks, which costs too much.
    tables = [
        table_of(np.array([1, 2]), np.array([0.5, 0.0]), ranks)
        for ranks in ((1, 2), (4, 8))
    ]
    assert allocate_by_shares(tables, 3, [0.2, 0.8]) == [0, 1]
    assert allocate_by_shares(tables[::-1], 3, [0.8, 0.2]) == [1, 0]
