"""What a cell of a workbook holds says what it stands for."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrt_names.log_schema import cut, decode, encode, from_cell, to_cell

pytestmark = pytest.mark.tensorflow_only

NUMBERS = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, width=32)
# Texts that look like something else come up often.
TEXTS = st.text() | st.sampled_from(
    ["", "NA", '"NA"', "nan", "inf", "null", "true", "[1]", "1e5", "9" * 20, "{"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)


@given(value=VALUES)
def test_values_come_back(value):
    for there, back in ((encode, decode), (to_cell, from_cell)):
        cell = there(value)
        assert isinstance(cell, str | int | float | bool)
        found = back(cell)
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "number", [10**15 - 1, 10**15, -(10**15), 2**63, 0.1234567890123456]
)
def test_numbers_at_the_bounds_of_a_cell(number):
    cell = encode(number)
    # Excel keeps 15 digits of integers; those with more are texts.
    assert isinstance(cell, str) == (abs(number) >= 10**15)
    assert decode(cell) == number


def test_numbers_that_are_none():
    assert math.isnan(decode(encode(float("nan"))))
    assert [decode(encode(sign * math.inf)) for sign in (1, -1)] == [
        math.inf,
        -math.inf,
    ]
    assert encode(np.float32(0.5)) == 0.5 and encode(np.arange(2)) == "[0, 1]"


@given(text=TEXTS, times=st.integers(1, 40_000))
def test_texts_are_cut_to_what_a_cell_holds(text, times):
    long = text * min(times, 40_000 // max(1, len(text)))
    kept = cut(long)
    assert kept == long or (kept.endswith("…") and long.startswith(kept[:-1]))
    held = encode(kept)
    assert len(held.encode("utf-16-le", "surrogatepass")) // 2 <= 32_767
    if kept != long:
        with pytest.raises(ValueError, match="at most 32767"):
            encode(long)


def test_json_is_sorted():
    assert encode({"b": 1, "a": [None]}) == json.dumps({"a": [None], "b": 1})
