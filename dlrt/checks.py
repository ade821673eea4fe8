"""Checks of arguments, whose errors name what was expected and received."""

from numbers import Integral, Real
from typing import Any

import keras


def check_integer(name: str, value: Any, least: int) -> None:
    """Raises a ValueError unless an argument is an integer of at least `least`."""
    if not is_integer(value) or value < least:
        kind = "" if is_integer(value) else "an integer of "
        raise ValueError(
            f"`{name}` must be {kind}at least {least}. Received: {name}={value!r}"
        )


def check_positive_integer(name: str, value: Any) -> None:
    """Raises a ValueError that names the argument unless it is a positive integer."""
    if not is_integer(value) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}"
        )


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a real number, possibly NaN, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_share(name: str, value: Any) -> None:
    """Raises a ValueError that names the argument unless it is in `(0, 1)`."""
    if not (is_number(value) and 0 < value < 1):
        raise ValueError(f"`{name}` must lie in (0, 1). Received: {name}={value!r}")


def check_layer(name: str, value: Any) -> None:
    """Raises a TypeError that names the argument unless it is a layer or a model."""
    if not isinstance(value, keras.layers.Layer):
        raise TypeError(
            f"`{name}` must be a model or layer of Keras. Received: {name}={value!r}"
        )
