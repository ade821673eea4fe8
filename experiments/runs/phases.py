"""The phases of a run, and when ranks are truncated in them."""

import math
from dataclasses import dataclass

# The last part of an adaptive run keeps the ranks, so that the network recovers from
# the last truncations while the learning rate falls.
_ADAPTIVE_SHARE = 0.6


@dataclass(frozen=True)
class Phase:
    """A part of a run that is trained by one call of `fit`.

    Args:
        name: Its name in the log.
        epochs: Number of epochs, at most.
        adaptive: Whether ranks change.
        last: Whether no other phase follows.
        candidates: See `dlrt.optimizers.LowRank`. If there are any, singular values
            must be meaningful from the first step.
    """

    name: str
    epochs: int
    adaptive: bool = False
    last: bool = True
    candidates: int = 0

    def truncation(self, steps_per_epoch: int) -> dict[str, int | None] | None:
        """When ranks are truncated, as arguments of `LowRank`; `None` for never.

        Where ranks only fall, truncation starts after the first epoch, when singular
        values become meaningful, and comes twice an epoch, so that the network adapts
        to one before the next. Where they grow as well, it comes ten times an epoch.
        """
        if not self.adaptive:
            return None
        steps = self.epochs * steps_per_epoch
        interval = max(1, steps_per_epoch // (10 if self.candidates else 2))
        start = interval if self.candidates else min(steps_per_epoch, steps // 4)
        stop = max(start + 1, math.ceil(_ADAPTIVE_SHARE * steps))
        return {
            "truncation_start": start,
            "truncation_interval": interval,
            "truncation_stop": stop if self.last else None,
            "candidates": self.candidates,
        }

    def first_selected_epoch(self, steps_per_epoch: int) -> int:
        """The first epoch whose model may be selected as the best.

        While ranks shrink, an early epoch may be the more accurate for having more
        parameters; the model to report is one with the final ranks.
        """
        schedule = self.truncation(steps_per_epoch) if self.last else None
        if schedule is None:
            return 1
        stop = schedule["truncation_stop"] or 0
        return min(self.epochs, math.ceil(stop / steps_per_epoch) + 1)
