"""How much a regularizer counts."""

import math
from typing import Any

from dlrt._checks import is_number


def checked_amount(amount: Any) -> float:
    """The factor of a penalty.

    Raises:
        ValueError: If it is no number `≥ 0`.
    """
    if not is_number(amount) or not math.isfinite(amount) or amount < 0:
        raise ValueError(
            f"`amount` must be a number of at least 0. Received: amount={amount!r}"
        )
    return float(amount)
