"""The file of a log, which one process claims, and replaces as a whole."""

import errno
import os
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dlrt.history import atomic_file, contents, environment
from dlrt.history.contents import Tables
from dlrt.history.workbook import Book, read_history, read_log
from dlrt_names.log_schema import RESUMED, SESSION, Row, is_reserved


class LogFile:
    """A workbook with a log's rows, further sheets, configuration, and what it met."""

    def __init__(self, path: Path, configuration: Mapping[str, Any]) -> None:
        self.path = path
        self._given = contents.check_configuration(configuration)
        self._facts: dict[str, Any] = {}
        self._book = Book()
        # The names of the further sheets in the file.
        self._sheets: frozenset[str] = frozenset()
        self._session = uuid.uuid4().hex
        # State and session of the file when this object last read or wrote it.
        self._seen: tuple[int, ...] | None = None
        self._seen_session: str | None = None

    @property
    def others(self) -> list[str]:
        """The names of sheets that somebody else has added."""
        return self._book.others

    def claim(
        self, resume: bool, changeable: Collection[str]
    ) -> tuple[list[Row], Tables]:
        """Creates the file, or reads rows and tables of the one to be continued.

        Keys that are changeable may have another value then. See `HistoryLog.open` for
        errors.
        """
        rows: list[Row] = []
        tables: Tables = {}
        with atomic_file.naming(self.path):
            atomic_file.check(self.path)
            _make_directory(self.path.parent)
            if resume and self.path.exists():
                rows, tables = self._load(changeable)
            else:
                self._create()
            atomic_file.remove_leftovers(self.path)
        return rows, tables

    def write(self, rows: list[Row], tables: Tables) -> None:
        """Replaces the file; a FileExistsError if another run has done so already."""
        with atomic_file.naming(self.path):
            if _state(self.path) not in (None, self._seen):
                # Somebody who looked at it may have saved it, and added something.
                self._refuse_foreign_file()
                self._book = Book(self.path, self._sheets)
            content = self._book.render(rows, self._configuration(), tables)
            atomic_file.replace(self.path, content)
            self._sheets = frozenset(tables)
            self._remember()

    def _configuration(self) -> dict[str, Any]:
        return self._given | self._facts | {SESSION: self._session}

    def _create(self) -> None:
        self._facts = environment.describe()
        try:
            atomic_file.create(
                self.path, self._book.render([], self._configuration(), {})
            )
        except FileExistsError as error:
            raise FileExistsError(
                f"`path` exists already, and a log is never overwritten; pass "
                f"`resume=True` to continue it, or another name. Received: "
                f"path={self.path}"
            ) from error
        self._remember()

    def _load(self, changeable: Collection[str]) -> tuple[list[Row], Tables]:
        self._seen = _state(self.path)
        rows, stored, tables = read_log(self.path)
        self._seen_session = stored.pop(SESSION, None)
        facts = {key: stored.pop(key) for key in list(stored) if is_reserved(key)}
        fixed, given = (
            {key: value for key, value in part.items() if key not in changeable}
            for part in (stored, self._given)
        )
        contents.compare(self.path, fixed, given)
        times = sum(key.startswith(RESUMED) for key in facts)
        self._facts = facts | {f"{RESUMED}{times + 1}": environment.describe()}
        self._book = Book(self.path)
        self._sheets = frozenset(tables)
        return rows, tables

    def _remember(self) -> None:
        self._seen = _state(self.path)
        self._seen_session = self._session

    def _refuse_foreign_file(self) -> None:
        """Raises if another run has continued or replaced the workbook meanwhile."""
        try:
            session = read_history(self.path)[1].get(SESSION)
        except ValueError:
            session = None
        if session is None or session != self._seen_session:
            raise FileExistsError(
                f"another run has taken over this log, or another file has its name: "
                f"{self.path}"
            )


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename
        ) from error


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
