"""How much a regularizer counts."""

import math
from numbers import Real


def checked_amount(amount: float) -> float:
    """The factor of a penalty.

    Raises:
        ValueError: If it is no number `≥ 0`.
    """
    number = isinstance(amount, Real) and not isinstance(amount, bool)
    if not number or not math.isfinite(amount) or amount < 0:
        raise ValueError(
            f"`amount` must be a number of at least 0. Received: amount={amount!r}"
        )
    return float(amount)
