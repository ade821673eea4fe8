"""One workbook of a test: its progress and its problems."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dlrt.callbacks import read_history
from dlrt_names.log_schema import METRICS, RANK
from experiments.runs import names
from experiments.runs.log_format import equal, expected_epochs
from experiments.runs.names import Name

# A setting that the log of every run has, and the names of a test's workbooks.
_KIND = "subcommand"
_OF_TEST = re.compile(r"(dim|rank)\d+")


class State(StrEnum):
    """The states of a log or a test, the worst first."""

    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    DIVERGED = "diverged"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


@dataclass(frozen=True)
class Problem:
    """A problem.

    Args:
        path: The file or folder that has it.
        text: What is wrong, as the rest of a sentence that begins with the path.
        row: Row of the sheet, counted from 1 as a spreadsheet program does.
        state: The state of the log that follows; `None` if the log itself is sound.
    """

    path: Path
    text: str
    row: int | None = None
    state: State | None = None

    def __str__(self) -> str:
        where = str(self.path) if self.row is None else f"{self.path}, row {self.row}"
        return f"{where}: {self.text}"


@dataclass(frozen=True)
class Log:
    """A workbook that was read.

    Args:
        path: The file.
        epochs: Number of its last epoch.
        wanted: Number of epochs that it should have, if the test's name, or the log of
            a single run, tells.
        problems: What is wrong.
        run: Whether it belongs to a single run, not to a test.
    """

    path: Path
    epochs: int
    wanted: int | None
    problems: tuple[Problem, ...] = ()
    run: bool = False

    @property
    def state(self) -> State:
        """Whether it is sound, and finished."""
        length = State.FINISHED if self.epochs == self.wanted else State.UNFINISHED
        return worst((p.state for p in self.problems if p.state is not None), length)


def worst(states: Iterable[State], otherwise: State) -> State:
    """The worst of some states, or another one where there are none."""
    return min(states, key=list(State).index, default=otherwise)


def read(path: Path, name: Name | None, called_test: bool = True) -> Log:
    """Reads a workbook and compares it with the name of its test.

    Args:
        path: The file.
        name: The name; `None` if it does not follow the grammar.
        called_test: Whether the folder has the name of a test. Otherwise it may hold a
            single run, whose log tells its length and has the metrics of its kind.
    """
    wanted = None if name is None else name.epochs
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        rows, configuration = read_history(path)
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        reason, state = str(error).removesuffix(f": {path}"), State.DAMAGED
        if isinstance(error, OSError):
            reason = f"it can't be read: {error.strerror or error}"
            state = State.UNREADABLE
        return Log(path, 0, wanted, (Problem(path, reason, state=state),))
    last = rows[-1]["epoch"] if rows else 0
    run = not (called_test or _OF_TEST.fullmatch(path.stem)) and _KIND in configuration
    if run:
        wanted = expected_epochs(configuration, rows) if rows else None
        # A network that was only evaluated has nothing left to do.
        wanted = last if wanted is None and rows else wanted
    problems = [*_find_row_problems(path, rows, name, run)]
    if name is not None:
        try:
            problems += find_contradictions(path, rows, configuration, name)
        except ValueError as error:
            problems.append(Problem(path, str(error)))
    return Log(path, last, wanted, tuple(problems), run)


def find_contradictions(
    path: Path, rows: list[dict[str, Any]], configuration: dict[str, Any], name: Name
) -> Iterator[Problem]:
    """Where a log contradicts the name of its test.

    Raises:
        ValueError: If the test has no such network.
    """
    width, rank = names.parse_stem(path.stem, name)
    for key, wanted in names.settings(name, width, rank).items():
        found = configuration.get(key, wanted)
        if not equal(found, wanted):
            text = f"the configuration has {key} {found}, and the name {wanted}"
            yield Problem(path, text)
    for number, row in enumerate(rows, start=2):
        if row["epoch"] > name.epochs:
            text = f"epoch {row['epoch']} is above the {name.epochs} of the name"
            yield Problem(path, text, number)
            break
    for number, row in enumerate(rows, start=2):
        wrong = _find_wrong_rank(row, name, width, rank)
        if wrong is not None:
            yield Problem(path, wrong, number)
            break


def _find_wrong_rank(
    row: dict[str, Any], name: Name, width: int, rank: int | None
) -> str | None:
    for column, value in row.items():
        if not column.startswith(RANK) or not isinstance(value, int | float):
            continue
        if not name.dlrt:
            return f"{column} is {value}, and the name is that of a dense network"
        if math.isfinite(value) and (value < 1 or value % 1):
            return f"{column} is {value}, and must be a whole number of at least 1"
        if value > width:
            return f"{column} is {value}, above the width {width}"
        if rank is not None and value > rank:
            return f"{column} is {value}, above the rank {rank} of the name"
    return None


def _find_row_problems(
    path: Path, rows: list[dict[str, Any]], name: Name | None, run: bool
) -> Iterator[Problem]:
    def damaged(text: str, row: int | None = None) -> Problem:
        return Problem(path, text, row, State.DAMAGED)

    if not rows:
        return
    missing = [column for column in METRICS if column not in rows[0]]
    if not run or missing == list(METRICS):
        yield from (damaged(f"has no column {column!r}") for column in missing)
    ranks = [column for column in rows[0] if column.startswith(RANK)]
    if name is not None and name.dlrt and not ranks:
        yield damaged(f"has no column '{RANK}<layer>'")
    # Row 0, where there is one, was measured before any training.
    previous = min(rows[0]["epoch"], 1) - 1
    for number, row in enumerate(rows, start=2):
        if row["epoch"] != previous + 1:
            expected = f"epoch {previous + 1} must stand here"
            yield damaged(f"{expected}. Received: epoch {row['epoch']}", number)
        previous = row["epoch"]
        for column in (*METRICS, *ranks):
            if not isinstance(row.get(column), int | float | None):
                text = f"{column} must be a number. Received: {row[column]!r}"
                yield damaged(text, number)
    yield from _find_non_finite(path, rows)


def _find_non_finite(path: Path, rows: list[dict[str, Any]]) -> Iterator[Problem]:
    """The first non-finite value of each column: the rest follow from it."""
    for column in rows[0]:
        for number, row in enumerate(rows, start=2):
            value = row[column]
            if isinstance(value, float) and not math.isfinite(value):
                text = f"{column} must be finite. Received: {value}"
                yield Problem(path, text, number, State.DIVERGED)
                break
