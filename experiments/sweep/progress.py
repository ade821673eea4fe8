"""The progress of a sweep on screen, or in lines where there is no terminal."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from experiments.sweep.events import Event
from experiments.sweep.grid import Network
from experiments.sweep.plan import estimate, format_duration

_LINE_SECONDS = 15.0


class Progress:
    """Counts the events that the processes of a sweep report.

    Args:
        networks: All networks of the sweep.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._work = {str(network): estimate(network) for network in networks}
        self._epochs = {str(network): network.config.epochs for network in networks}
        self._left = dict(self._work)
        self._running: set[str] = set()
        self.wrong: dict[str, str] = {}
        self._done = self._trained = 0
        self._done_here = 0.0
        self._start = self._printed = time.monotonic()
        self._display: Any = None

    def __enter__(self) -> "Progress":
        if sys.stdout.isatty():
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Display

            self._display = Display(
                BarColumn(), TextColumn("{task.percentage:.0f} % {task.description}")
            )
            self._display.start()
            total = sum(self._work.values())
            self._task = self._display.add_task(self.line(), total=total)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._display is not None:
            self._show()
            self._display.stop()

    def __call__(self, event: Event) -> None:
        """Counts an event."""
        network, total = event.network, self._epochs[event.network]
        share = self._work[network] / total
        if event.kind == "begin":
            self._running.add(network)
            # Trained by an earlier call, or by a process that was killed.
            self._left[network] = share * (total - event.epochs)
        else:
            self._left[network] -= share * event.epochs
            self._done_here += share * event.epochs
            self._trained += event.epochs
        if event.kind in ("finished", "kept", "wrong", "stopped"):
            self._running.discard(network)
            if event.kind != "stopped":
                self._left[network] = 0.0
        self._done += event.kind in ("finished", "kept")
        if event.kind == "wrong":
            self.wrong[network] = event.reason
        self._show()

    def line(self) -> str:
        """One line: counts, rate, time left."""
        seconds = max(time.monotonic() - self._start, 1e-3)
        parts = [
            f"done {self._done} of {len(self._work)}",
            f"running {len(self._running)}",
            f"failed {len(self.wrong)}",
            f"{self._trained / seconds:.1f} epochs/s",
        ]
        if self._done_here:
            left = sum(self._left.values()) * seconds / self._done_here
            parts.append(f"{format_duration(left)} left")
        return ", ".join(parts)

    def _show(self) -> None:
        if self._display is not None:
            done = sum(self._work.values()) - sum(self._left.values())
            self._display.update(self._task, completed=done, description=self.line())
        elif time.monotonic() - self._printed > _LINE_SECONDS:
            self._printed = time.monotonic()
            print(self.line(), flush=True)
