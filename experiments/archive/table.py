"""The table of tests that `list` prints."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from experiments.archive import archived_tests
from experiments.archive.archived_logs import State
from experiments.archive.archived_tests import ArchivedTest, Place
from experiments.runs import names

_HEADER = ("test", "place", "runs", "cells", "epochs", "state", "size")


class Entry(NamedTuple):
    """One run of a test.

    Attributes:
        run: Number of the run; `None` without one.
        networks: Number of workbooks.
        done: Total number of their epochs.
        wanted: Total number of epochs that they should have.
        state: State of the run.
        size: Bytes of its files.
    """

    run: int | None
    networks: int
    done: int
    wanted: int
    state: State
    size: int


def format_table(tests: Iterable[ArchivedTest]) -> str:
    """A table with one line for each test, its runs combined."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for test in tests:
        name = test.name
        text = test.folder.name
        if name is not None:
            text = names.compose(replace(name, run=None))
        entries = groups.setdefault((text, test.place or "active"), [])
        entries.append(_summarize(test))
    table = [_HEADER, *((*key, *_format(group)) for key, group in groups.items())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)


def _summarize(test: ArchivedTest) -> Entry:
    """Summarises a test.

    Finished tests were read when they were moved to their folder, and are not read
    again, which would take minutes.
    """
    name = test.name
    networks = len(test.workbooks())
    wanted = done = (0 if name is None else name.epochs) * networks
    state = State.FINISHED
    if test.place in (Place.ACTIVE, Place.WRONG):
        logs = test.logs()
        done = sum(log.epochs for log in logs)
        wanted = sum(log.wanted or 0 for log in logs)
        state = archived_tests.judge(logs)
    run = None if name is None else name.run
    return Entry(run, networks, done, wanted, state, test.size())


def _format(group: Sequence[Entry]) -> tuple[str, ...]:
    states = Counter(entry.state for entry in group)
    shown = ", ".join(f"{states[state]} {state}" for state in State if states[state])
    return (
        format_ranges(entry.run for entry in group if entry.run is not None) or "-",
        str(sum(entry.networks for entry in group)),
        f"{sum(entry.done for entry in group)}/{sum(entry.wanted for entry in group)}",
        shown if len(states) > 1 else group[0].state,
        format_size(sum(entry.size for entry in group)),
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
    """A number of bytes in readable form."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"
