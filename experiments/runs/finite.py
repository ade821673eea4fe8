"""The error for a loss or a weight that has become NaN or infinite."""

import math
from collections.abc import Mapping


class NonFiniteLoss(ArithmeticError):
    """A value in training is NaN or infinite; epochs and steps are counted from 1."""

    def __init__(self, epoch: int, step: int, what: str) -> None:
        super().__init__(f"{what} at epoch {epoch}, step {step}")


def require_finite(logs: Mapping[str, float], epoch: int, step: int) -> None:
    """Raises `NonFiniteLoss` if one of the values is not finite."""
    for name, value in logs.items():
        if not math.isfinite(value):
            raise NonFiniteLoss(epoch, step, f"{name} became {value}")
