import itertools

import numpy as np

from dlrt.evolution._allocation import Bound, Term, count_entries, shrink

TERMS = [Term(4, ("a",)), Term(1, ("a", "b")), Term(3, ("b",)), Term(7, ())]


def test_counts():
    assert count_entries(TERMS, {"a": 5, "b": 2}) == 20 + 10 + 6 + 7


def test_cheapest_error_goes_first():
    errors = {"a": np.array([1.0, 0.5, 0.1, 0.0]), "b": np.array([1.0, 1e-6, 0.0])}
    least = {"a": 1, "b": 1}
    sizes = shrink({"a": 3, "b": 2}, errors, Bound("", TERMS, 27), least)
    assert sizes == {"a": 3, "b": 1}


def test_stays_within_the_limit_and_above_the_smallest():
    rng = np.random.default_rng(0)
    errors = {
        name: np.sort(np.append(rng.random(200), [0.0, 1.0]))[::-1] for name in "ab"
    }
    start, least = {"a": 201, "b": 150}, {"a": 3, "b": 20}
    for limit in (50_000, 3000, 200):
        sizes = shrink(start, errors, Bound("", TERMS, limit), least)
        assert count_entries(TERMS, sizes) <= limit
        assert all(least[name] <= sizes[name] <= start[name] for name in start)
    assert shrink(start, errors, Bound("", TERMS, 10), least) == least
    assert shrink(start, errors, Bound("", TERMS, 10**6), least) == start


def test_as_good_as_the_best_of_all_choices_where_prices_rise():
    errors = {name: np.linspace(1, 0, 6) ** 2 for name in "ab"}
    terms = [Term(1, ("a",)), Term(1, ("b",))]
    least = {"a": 1, "b": 1}
    sizes = shrink({"a": 5, "b": 5}, errors, Bound("", terms, 6), least)
    best = min(
        errors["a"][a] + errors["b"][b]
        for a, b in itertools.product(range(1, 6), repeat=2)
        if a + b <= 6
    )
    assert np.isclose(errors["a"][sizes["a"]] + errors["b"][sizes["b"]], best)


def test_what_saves_more_may_add_more_error():
    # The same error, and a channel of `a` has ten entries.
    errors = {name: np.linspace(1, 0, 6) for name in "ab"}
    terms = [Term(10, ("a",)), Term(1, ("b",))]
    sizes = shrink({"b": 5, "a": 5}, errors, Bound("", terms, 45), {"a": 1, "b": 1})
    assert sizes == {"a": 4, "b": 5}
