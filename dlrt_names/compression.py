"""The methods of compression, and what they are made of."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Method(NamedTuple):
    """A way to compress: what kernels become, and which layer gets which rank.

    Attributes:
        structure: Name of a structure.
        allocation: Name of an allocation, or a function.
        with_data: The allocation where data is given, if it is another.
    """

    structure: str
    allocation: str | Callable[..., Any]
    with_data: str | None = None


METHODS = {
    "svd": Method("pointwise", "ratio"),
    "alds": Method("grouped", "error"),
    "tucker": Method("tucker", "error"),
    "cp": Method("cp", "error", "sensitivity"),
    "dlrt": Method("manifold", "error"),
    "hoyer": Method("pointwise", "error"),
}
# Those of the library, which knows others too that are registered there.
STRUCTURES = ("pointwise", "manifold", "separable", "grouped", "tucker", "cp")
ALLOCATIONS = ("ratio", "error", "sensitivity")
