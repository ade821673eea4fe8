"""One workbook of a test: its cell of the grid, and what is wrong in it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dlrt.callbacks import read_history
from experiments import names
from experiments._log_format import METRICS, RANK, equal
from experiments.names import Name


class State(StrEnum):
    """What is known of a cell or a test, the worst first."""

    DAMAGED = "damaged"
    DIVERGED = "diverged"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


@dataclass(frozen=True)
class Problem:
    """What is wrong in a file or folder.

    Args:
        path: The file or folder.
        text: What is wrong, as the rest of a sentence that begins with it.
        row: Row of the sheet, counted from 1 as a spreadsheet program does.
        state: What it makes of the cell; `None` if the log itself is sound.
    """

    path: Path
    text: str
    row: int | None = None
    state: State | None = None

    def __str__(self) -> str:
        where = str(self.path) if self.row is None else f"{self.path}, row {self.row}"
        return f"{where}: {self.text}"


@dataclass(frozen=True)
class Cell:
    """A workbook that was read.

    Args:
        path: The file.
        epochs: Number of its last epoch.
        wanted: Number of epochs in the test's name; `None` if that is none.
        problems: What is wrong.
    """

    path: Path
    epochs: int
    wanted: int | None
    problems: tuple[Problem, ...] = ()

    @property
    def state(self) -> State:
        """Whether it is sound, and finished."""
        bad = [problem.state for problem in self.problems if problem.state is not None]
        if bad:
            return min(bad, key=list(State).index)
        return State.FINISHED if self.epochs == self.wanted else State.UNFINISHED


def read(path: Path, name: Name | None) -> Cell:
    """Reads a workbook and compares it with the name of its test."""
    wanted = None if name is None else name.epochs
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        rows, configuration = read_history(path)
    except ValueError as error:
        reason = str(error).removesuffix(f": {path}")
        return Cell(path, 0, wanted, (Problem(path, reason, state=State.DAMAGED),))
    problems = [*_of_rows(path, rows, name)]
    if name is not None:
        problems += _against_name(path, rows, configuration, name)
    return Cell(path, rows[-1]["epoch"] if rows else 0, wanted, tuple(problems))


def settings(name: Name, width: int, rank: int | None) -> dict[str, Any]:
    """What the configuration of a cell says, as far as a name can tell."""
    settings = {
        "epochs": name.epochs,
        "batch_size": name.batch_size,
        "learning_rate": name.learning_rate,
        "optimizer": name.optimizer,
        "noise": name.noise,
        "dataset_size": name.dataset_size,
        "regularizer": name.regularizer,
        "dim_layer": width,
        "tolerance": name.tolerance,
    }
    if name.regularizer != "none":
        settings["regularizer_amount"] = name.regularizer_amount
    if name.run is not None:
        settings["seed"] = name.run
    if rank is not None:
        # A layer narrower than the rank of the test is trained at its full rank.
        settings["start_rank"] = min(rank, width)
    return settings


def contradictions(
    configuration: dict[str, Any], name: Name, width: int, rank: int | None
) -> Iterator[str]:
    """Where a log's configuration says something else than the name of its test."""
    for key, wanted in settings(name, width, rank).items():
        found = configuration.get(key, wanted)
        if not equal(found, wanted):
            yield f"the configuration has {key} {found}, and the name {wanted}"


def _of_rows(
    path: Path, rows: list[dict[str, Any]], name: Name | None
) -> Iterator[Problem]:
    def damaged(text: str, row: int | None = None) -> Problem:
        return Problem(path, text, row, State.DAMAGED)

    if not rows:
        return
    for column in METRICS:
        if column not in rows[0]:
            yield damaged(f"has no column {column!r}")
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
    yield from _non_finite(path, rows)


def _non_finite(path: Path, rows: list[dict[str, Any]]) -> Iterator[Problem]:
    """The first value of each column that is not finite: the rest follows from it."""
    for column in rows[0]:
        for number, row in enumerate(rows, start=2):
            value = row[column]
            if isinstance(value, float) and not math.isfinite(value):
                text = f"{column} must be finite. Received: {value}"
                yield Problem(path, text, number, State.DIVERGED)
                break


def _against_name(
    path: Path, rows: list[dict[str, Any]], configuration: dict[str, Any], name: Name
) -> Iterator[Problem]:
    try:
        width, rank = names.position(path.stem, name)
    except ValueError as error:
        yield Problem(path, str(error))
        return
    for text in contradictions(configuration, name, width, rank):
        yield Problem(path, text)
    for number, row in enumerate(rows, start=2):
        if row["epoch"] > name.epochs:
            text = f"epoch {row['epoch']} is above the {name.epochs} of the name"
            yield Problem(path, text, number)
            break
    for number, row in enumerate(rows, start=2):
        for column, value in row.items():
            if not column.startswith(RANK) or not isinstance(value, int | float):
                continue
            if value > width:
                text = f"{column} is {value}, above the width {width}"
                yield Problem(path, text, number)
                return
