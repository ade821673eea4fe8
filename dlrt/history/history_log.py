"""A training log in an Excel workbook."""

import math
import os
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dlrt import accounting
from dlrt.checks import is_number
from dlrt.history import contents
from dlrt.history.contents import Tables
from dlrt.history.log_file import LogFile
from dlrt_names import log_schema
from dlrt_names.log_schema import EPOCH, Row


class HistoryLog(keras.callbacks.Callback):
    """Writes one row an epoch to an Excel workbook.

    The sheet `history` has the columns `epoch` (counted from 1), `seconds`
    (validation included), everything in Keras's `logs`, the rank of every low-rank
    layer (`rank <layer>`), the numbers of parameters for prediction and for training,
    the compression, and the learning rate at the end of the epoch. The sheet
    `configuration` has `configuration`, then versions, machine, start time and git
    commit.

    The workbook is replaced as a whole after every epoch, so a process that is killed
    at any moment leaves a valid file with every finished epoch. Only the new row is
    rendered, so an epoch costs the same however long the log is. What people add to
    the workbook stays: sheets, charts, remarks, and columns whose names are not bold,
    as those of the log are. Numbers that are not finite are written as the texts
    "nan", "inf" and "-inf"; a value that an epoch does not have is written as "NA".

    A callback that adds to `logs`, such as accuracy on a test set, must stand before
    this one in the list of callbacks. So must one that hands over rows of a further
    sheet, see `add_rows`: several an epoch, translations of sentences for instance.

    Args:
        path: Name of the workbook, which must end in `.xlsx`. Missing directories
            are created. A file that exists is never overwritten.
        configuration: Optional dictionary of JSON-like values to record, the random
            seed and the hyperparameters for instance. Nested values are written as
            JSON text.
        resume: If `True`, a workbook that exists is continued. Its configuration must
            equal `configuration`. Rows of epochs after the one that `fit` starts at,
            which were logged after the last checkpoint, are dropped.
        changeable: Keys of `configuration` that may get another value when a workbook
            is continued, the number of epochs for instance.
        write_interval: Seconds from one writing to the next, for shorter epochs. Rows
            in between are written with the next one, at the end of `fit`, or by
            `flush`. Defaults to 0, a writing after every epoch.
        dense_parameters: Number of parameters of the dense model, that the compression
            is relative to; see `dlrt.accounting.compression`.

    Example:

    ```python
    log = dlrt.callbacks.HistoryLog("logs/net.xlsx", {"seed": 0, "rank": 20})
    model.fit(x, y, epochs=5, callbacks=[log])
    model.fit(x, y, epochs=8, initial_epoch=5, callbacks=[log])
    rows, configuration = dlrt.callbacks.read_history("logs/net.xlsx")
    ```

    With a further sheet:

    ```python
    class Translations(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rows = [{"source": s, "translation": translate(s)} for s in sample]
            log.add_rows("translations", rows)

    model.fit(x, y, epochs=5, callbacks=[Translations(), log])
    rows = dlrt.callbacks.read_table("logs/net.xlsx", "translations")
    ```
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        configuration: Mapping[str, Any] | None = None,
        resume: bool = False,
        changeable: Collection[str] = (),
        write_interval: float = 0.0,
        dense_parameters: int | None = None,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"`path` must be the name of a file. Received: {path=!r}")
        self.path = Path(path).absolute()
        if self.path.suffix != ".xlsx":
            raise ValueError(f"`path` must end in '.xlsx'. Received: path={str(path)}")
        if configuration is not None and not isinstance(configuration, Mapping):
            raise TypeError(
                f"`configuration` must be a dictionary. Received: {configuration=!r}"
            )
        if isinstance(changeable, str) or not isinstance(changeable, Collection):
            raise TypeError(
                "`changeable` must be a collection of keys of `configuration`. "
                f"Received: {changeable=!r}"
            )
        self._file = LogFile(self.path, configuration or {})
        super().__init__()
        self.resume = resume
        self._changeable = frozenset(changeable)
        if not (is_number(write_interval) and write_interval >= 0):
            raise ValueError(
                "`write_interval` must be a number of at least 0. Received: "
                f"write_interval={write_interval!r}"
            )
        self._write_interval = write_interval
        self._dense_parameters = dense_parameters
        # When the workbook is written next: for the first row, unless all are to wait.
        self._due = math.inf if math.isinf(write_interval) else -math.inf
        self._unwritten = False
        self._rows: list[Row] = []
        self._tables: Tables = {}
        self._waiting: Tables = {}
        self._opened = False
        self._fit_begins = False
        self._epoch_start = 0.0

    def open(self) -> None:
        """Claims the workbook: creates it, or reads the one to be continued.

        Called by itself when it is needed first. A call before a long preparation
        shows early that the name is taken or the directory is not writable.

        Raises:
            FileExistsError: The file exists and `resume` is `False`.
            ValueError: The file to be continued is no such workbook, or has another
                configuration.
            OSError: The file cannot be written.
        """
        if not self._opened:
            self._rows, self._tables = self._file.claim(self.resume, self._changeable)
            self._opened = True

    def append(
        self,
        epoch: int,
        seconds: float,
        logs: Mapping[str, Any] | None = None,
        model: keras.Model | None = None,
    ) -> None:
        """Logs one row; `fit` does so after every epoch.

        Args:
            epoch: Number of the row, above the last one; 0 for before training.
            seconds: Duration.
            logs: Values by name, as Keras hands them to callbacks.
            model: What has the ranks, counts and learning rate. Defaults to the model
                in training; without either, these read "NA".
        """
        self.open()
        last = self._rows[-1][EPOCH] if self._rows else -1
        if epoch <= last:
            raise ValueError(
                f"`epoch` must be above {last}, the last one in {self.path}. "
                f"Received: epoch={epoch}"
            )
        row: Row = {EPOCH: int(epoch), log_schema.SECONDS: round(float(seconds), 3)}
        for name, value in (logs or {}).items():
            column = log_schema.column_of(name)
            if column in row:
                raise ValueError(
                    f"`logs` must not use the name of another column. Received: {name}"
                )
            row[column] = _plain(value)
        model = self.model if model is None else model
        if model is not None:
            row |= _measure(model, self._dense_parameters)
        rows = [*self._rows, row]
        new = contents.number(self._waiting, row[EPOCH])
        tables = contents.join(self._tables, new)
        if time.monotonic() >= self._due:
            self._write(rows, tables)
        else:
            self._rows, self._tables, self._unwritten = rows, tables, True
        self._waiting = {}

    def add_rows(self, sheet: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows to a further sheet, which is made when it gets the first ones.

        They are written with the next row of the history and get its epoch as their
        first column, `epoch`. The others are in the order in which their names appear
        first; where a row lacks one, it reads "NA". Rows are dropped with those of the
        history when training resumes, and if they wait when `fit` begins, since they
        come from an epoch that was broken off then.

        Args:
            sheet: Name of the sheet: at most 31 characters, and none of those that
                Excel forbids there, such as brackets, slashes and colons.
            rows: JSON-like values by name of the column. A text beyond the 32,767
                characters of a cell is cut, and ends in "…" then.

        Raises:
            TypeError: A value is none of JSON's.
            ValueError: The name of the sheet or of a column is not allowed, or a value
                that is no text is too long.
        """
        self.open()
        known = [*self._tables, *self._waiting]
        contents.check_name(sheet, known, self._file.others)
        checked = [contents.check_row(sheet, row) for row in rows]
        if checked:
            self._waiting = contents.join(self._waiting, {sheet: checked})

    def flush(self) -> None:
        """Writes the rows that wait for it, see `write_interval`."""
        if self._unwritten:
            self._write(self._rows, self._tables)

    @property
    def rows(self) -> list[Row]:
        """The rows logged so far, one dictionary an epoch."""
        return [dict(row) for row in self._rows]

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Claims the workbook before any work is done."""
        self.open()
        self._waiting = {}
        self._fit_begins = True

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the clock, and at the first epoch drops the rows beyond it."""
        if self._fit_begins:
            self._fit_begins = False
            self._begin_at(epoch)
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the row of the epoch."""
        self.append(epoch + 1, time.perf_counter() - self._epoch_start, logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Writes what has not been written yet."""
        self.flush()

    def _begin_at(self, initial_epoch: int) -> None:
        kept = [row for row in self._rows if row[EPOCH] <= initial_epoch]
        if len(kept) < len(self._rows) and not self.resume:
            last = self._rows[-1][EPOCH]
            raise ValueError(
                f"`initial_epoch` of fit must be at least {last}, the last epoch in "
                f"{self.path}, unless the log has `resume=True`, which drops the "
                f"epochs beyond. Received: initial_epoch={initial_epoch}"
            )
        tables = contents.keep(self._tables, lambda epoch: epoch <= initial_epoch)
        self._write(kept, tables)

    def _write(self, rows: list[Row], tables: Tables) -> None:
        self._file.write(rows, tables)
        self._rows, self._tables = rows, tables
        self._due = time.monotonic() + self._write_interval
        self._unwritten = False


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    return np.asarray(value).tolist()


def _measure(model: keras.Model, dense_parameters: int | None) -> Row:
    ranks = accounting.ranks(model)
    rate = getattr(getattr(model, "optimizer", None), "learning_rate", None)
    return {f"{log_schema.RANK}{layer}": int(rank) for layer, rank in ranks.items()} | {
        log_schema.PARAMETERS: int(accounting.parameter_count(model, False)),
        log_schema.TRAINED_PARAMETERS: int(accounting.parameter_count(model, True)),
        log_schema.COMPRESSION: float(accounting.compression(model, dense_parameters)),
        log_schema.LEARNING_RATE: None if rate is None else float(rate),
    }
