"""Checks of the arguments of low-rank layers."""

from typing import Any

from dlrt.checks import check_positive_integer, check_share


def check_ranks(rank: Any, tolerance: Any, max_rank: Any) -> None:
    """Raises a ValueError if no kernel allows these arguments."""
    check_positive_integer("rank", rank)
    if tolerance is not None:
        check_share("tolerance", tolerance)
    if max_rank is not None:
        check_positive_integer("max_rank", max_rank)
        if max_rank < rank:
            raise ValueError(
                "`max_rank` must be at least `rank`. Received: "
                f"max_rank={max_rank}, rank={rank}"
            )


def refuse_constraint(name: str, value: Any) -> None:
    """Raises a ValueError that names the argument unless it is `None`."""
    if value is not None:
        raise ValueError(
            f"`{name}` must be None: a constraint on the entries of a kernel does not "
            f"keep its rank. Received: {name}={value}"
        )
