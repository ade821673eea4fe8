"""When adaptive runs truncate."""

import math

# The last part of an adaptive run leaves the ranks alone, so that the network recovers
# from the last truncations while the learning rate goes down.
_ADAPTIVE_SHARE = 0.6


def schedule(
    epochs: int, steps_per_epoch: int, stops: bool = True
) -> dict[str, int | None]:
    """Arguments of `LowRank` that say at which steps it truncates.

    Not before the first epoch is over, when singular values begin to mean something,
    and twice an epoch, so that the network adapts to one truncation before the next.

    Args:
        epochs: Number of epochs.
        steps_per_epoch: Steps in an epoch.
        stops: Whether the ranks stay at the end.
    """
    steps = epochs * steps_per_epoch
    start = min(steps_per_epoch, steps // 4)
    stop = max(start + 1, math.ceil(_ADAPTIVE_SHARE * steps)) if stops else None
    return {
        "truncation_start": start,
        "truncation_interval": max(1, steps_per_epoch // 2),
        "truncation_stop": stop,
    }


def first_selected_epoch(epochs: int, steps_per_epoch: int) -> int:
    """The first epoch of an adaptive run whose model may be selected as the best.

    While ranks shrink, an early epoch may be the more accurate for having more
    parameters; the model to report is one with the final ranks.
    """
    stop = schedule(epochs, steps_per_epoch)["truncation_stop"] or 0
    return min(epochs, math.ceil(stop / steps_per_epoch) + 1)
