"""How much a regularizer counts."""

import math
from typing import Any

from dlrt.checks import is_number


def check_amount(amount: Any, name: str = "amount") -> float:
    """Returns the factor of a penalty, an argument called `name`.

    Raises:
        ValueError: If it is not a finite number of at least 0.
    """
    if not is_number(amount) or not math.isfinite(amount) or amount < 0:
        raise ValueError(
            f"`{name}` must be a number of at least 0. Received: {name}={amount!r}"
        )
    return float(amount)
