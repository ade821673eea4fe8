"""Reports of the processes of a sweep on its networks."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """A report of a process on a network.

    Args:
        network: The network.
        kind: `"begin"`, `"epochs"`, `"finished"`, `"kept"` (there was nothing to do),
            `"wrong"` or `"stopped"`.
        epochs: How many epochs have been trained since the last event of the network;
            at its beginning, before.
        reason: Why it failed.
    """

    network: str
    kind: str
    epochs: int = 0
    reason: str = ""


Report = Callable[[Event], None]
