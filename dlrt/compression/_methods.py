"""The structure and the allocation that a compression uses."""

from typing import Any

from dlrt.compression._allocation import Allocation, allocation_names
from dlrt.compression.structures import structure_names
from dlrt_names.compression import METHODS, Method


def method_names() -> tuple[str, ...]:
    """The methods that `dlrt.compress` knows."""
    return tuple(METHODS)


def find_method(
    method: str, structure: str | None, allocation: str | Allocation | None, data: Any
) -> Method:
    """The method of a name, with parts replaced if given.

    Raises:
        ValueError: If a name is unknown.
    """
    for name, value, allowed in (
        ("method", method, list(METHODS)),
        ("structure", structure, [None, *structure_names()]),
        ("allocation", allocation, [None, *allocation_names()]),
    ):
        if value not in allowed and not (name == "allocation" and callable(value)):
            raise ValueError(
                f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
            )
    default = METHODS[method]
    own = default.allocation
    if data is not None and default.with_data is not None:
        own = default.with_data
    return Method(structure or default.structure, allocation or own)
