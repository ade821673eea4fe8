"""The table of tests that `list` prints."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from experiments.archive import archived_tests
from experiments.archive.archived_logs import State
from experiments.archive.archived_tests import ArchivedTest
from experiments.runs import names

_HEADER = ("test", "place", "runs", "cells", "epochs", "state", "size")


class _Run(NamedTuple):
    """One run of a test: how many of its epochs are done, and the bytes it takes."""

    number: int | None
    networks: int
    done: int
    wanted: int
    state: State
    size: int


def format_table(tests: Iterable[ArchivedTest]) -> str:
    """A table with one line for each test, its runs combined."""
    groups: dict[tuple[str, str], list[_Run]] = {}
    for test in tests:
        text, name = test.folder.name, test.name
        if name is not None:
            text = names.compose(replace(name, run=None))
        groups.setdefault((text, test.place or "active"), []).append(_summarize(test))
    table = [_HEADER, *((*key, *_format(group)) for key, group in groups.items())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)


def _summarize(test: ArchivedTest) -> _Run:
    number, networks = test.name and test.name.run, len(test.workbooks())
    if test.place in archived_tests.FINISHED:
        # They were read when they were moved there; to read them takes minutes.
        epochs = test.name.epochs * networks if test.name else 0
        return _Run(number, networks, epochs, epochs, State.FINISHED, test.size())
    logs = test.logs()
    done = sum(log.epochs for log in logs)
    wanted = sum(log.wanted or 0 for log in logs)
    return _Run(number, networks, done, wanted, archived_tests.judge(logs), test.size())


def _format(group: Sequence[_Run]) -> tuple[str, ...]:
    states = Counter(run.state for run in group)
    shown = ", ".join(f"{states[state]} {state}" for state in State if states[state])
    return (
        format_ranges(run.number for run in group if run.number is not None) or "-",
        str(sum(run.networks for run in group)),
        f"{sum(run.done for run in group)}/{sum(run.wanted for run in group)}",
        shown if len(states) > 1 else group[0].state,
        format_size(sum(run.size for run in group)),
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
