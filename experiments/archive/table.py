"""The table of tests that `list` prints."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from experiments.archive import archived_tests
from experiments.archive.archived_logs import State
from experiments.archive.archived_tests import ArchivedTest, Place
from experiments.runs import names

_HEADER = ("test", "place", "runs", "cells", "epochs", "state", "size")


@dataclass(frozen=True)
class Entry:
    """A line for one run of a test.

    Args:
        test: Name of the test, without its run.
        place: Where it lies.
        run: Number of the run; `None` without one.
        networks: Number of workbooks.
        done: Number of their epochs.
        wanted: Number that they should have.
        state: State of the run.
        size: Bytes of its files.
    """

    test: str
    place: Place
    run: int | None
    networks: int
    done: int
    wanted: int
    state: State
    size: int


def summarize(test: ArchivedTest) -> Entry:
    """Looks at a test.

    What lies with the finished ones was read when it was moved there, and is not read
    again: it would take minutes.
    """
    name = test.name
    workbooks = test.workbooks()
    epochs = 0 if name is None else name.epochs
    wanted = done = epochs * len(workbooks)
    state = State.FINISHED
    if test.place in (Place.ACTIVE, Place.WRONG):
        logs = test.logs()
        done = sum(log.epochs for log in logs)
        wanted = sum(log.wanted or 0 for log in logs)
        state = archived_tests.judge(logs)
    return Entry(
        test=test.folder.name
        if name is None
        else names.compose(replace(name, run=None)),
        place=test.place,
        run=None if name is None else name.run,
        networks=len(workbooks),
        done=done,
        wanted=wanted,
        state=state,
        size=test.size(),
    )


def format_table(entries: Iterable[Entry]) -> list[str]:
    """The table, one line a test: its runs together."""
    groups: dict[tuple[str, Place], list[Entry]] = {}
    for item in entries:
        groups.setdefault((item.test, item.place), []).append(item)
    table = [_HEADER, *(_format_line(group) for group in groups.values())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _format_line(group: Sequence[Entry]) -> tuple[str, ...]:
    first = group[0]
    runs = [item.run for item in group if item.run is not None]
    return (
        first.test,
        first.place or "active",
        format_ranges(runs) or "-",
        str(sum(item.networks for item in group)),
        f"{sum(item.done for item in group)}/{sum(item.wanted for item in group)}",
        _format_states(group),
        format_size(sum(item.size for item in group)),
    )


def format_ranges(numbers: Iterable[int]) -> str:
    """Whole numbers, runs of them as first and last: `0-3,7`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def format_size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


def _format_states(group: Sequence[Entry]) -> str:
    counts = Counter(item.state for item in group)
    if len(counts) == 1:
        return group[0].state
    return ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
