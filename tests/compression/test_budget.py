"""What a user's budget allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrt.compression._budget import Budget, parse_budget

COUNTS = st.integers(1, 10**9)


@given(parameters=COUNTS, amount=COUNTS, kind=st.sampled_from(["parameters", "flops"]))
def test_counts_are_taken_as_they_are(parameters, amount, kind):
    assert parse_budget({kind: amount}, parameters) == Budget(kind, amount)


@given(parameters=COUNTS, ratio=st.floats(1, 1e6))
def test_a_ratio_is_the_parameters_before_by_those_after(parameters, ratio):
    kind, amount = parse_budget({"ratio": ratio}, parameters)
    assert kind == "parameters"
    assert amount <= parameters / ratio < amount + 1


@given(
    amount=st.floats(max_value=1, exclude_max=True)
    | st.integers(max_value=0)
    | st.booleans()
    | st.none(),
    kind=st.sampled_from(["parameters", "flops", "ratio"]),
)
def test_less_than_one_is_no_budget(amount, kind):
    with pytest.raises(ValueError, match=rf"`budget\['{kind}'\]` must"):
        parse_budget({kind: amount}, 1000)


@given(error=st.floats(0, 1))
def test_errors_lie_below_one(error):
    if error < 1:
        assert parse_budget({"error": error}, 1000) == Budget("error", error)
    else:
        with pytest.raises(ValueError, match="must lie in"):
            parse_budget({"error": error}, 1000)
