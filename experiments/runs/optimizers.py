"""The optimizer of a network with low-rank layers, in every experiment."""

from collections.abc import Mapping
from typing import Any, Protocol

import keras

import dlrt


class LowRankSettings(Protocol):
    """The settings that say how factors are stepped."""

    @property
    def integrator(self) -> str | None:
        """Name of the integrator, `None` for dense networks."""

    @property
    def tolerance(self) -> float | None:
        """Relative truncation tolerance."""

    @property
    def max_rank(self) -> int | None:
        """Upper bound of adapted ranks."""


def low_rank(
    optimizer: keras.optimizers.Optimizer,
    settings: LowRankSettings,
    schedule: Mapping[str, int] | None,
) -> keras.optimizers.Optimizer:
    """Wraps an optimizer, unless the network is dense.

    Args:
        optimizer: The optimizer.
        settings: Those of the run.
        schedule: When ranks change, as arguments of `dlrt.optimizers.LowRank`; `None`
            if they don't.
    """
    if settings.integrator is None:
        return optimizer
    adaptation: dict[str, Any] = {}
    if schedule is not None:
        adaptation = {
            "tolerance": settings.tolerance,
            "max_rank": settings.max_rank,
            **schedule,
        }
    return dlrt.optimizers.LowRank(
        optimizer, integrator=settings.integrator, **adaptation
    )
