"""Finds logs, reads them, and says what is wrong with which."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.logs import Log, Unusable
from evaluation.reading import FOLDER, SUFFIXES, read

# Results that their author has put aside.
WRONG = "wrongTests"


@dataclass(frozen=True)
class Problem:
    """Something that a reader of the figures should know about a log.

    Args:
        path: The log, or a folder of logs.
        what: What is wrong.
        consequence: What was done about it.
        row: Row of the sheet or line of the file, counted from 1.
    """

    path: Path
    what: str
    consequence: str
    row: int | None = None

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        return f"{_shown(self.path)}{row}: {self.what}; {self.consequence}"


@dataclass(frozen=True)
class Collection:
    """The logs to evaluate.

    Args:
        logs: Those that count.
        excluded: Those that diverged or lack epochs. They are in no mean, and figures
            and tables say how many there are.
        problems: What was wrong.
    """

    logs: tuple[Log, ...]
    excluded: tuple[Log, ...] = ()
    problems: tuple[Problem, ...] = ()


def collect(paths: Sequence[Path], unfinished: bool = False) -> Collection:
    """Reads every log in or below some paths.

    Args:
        paths: Workbooks, folders of runs, or folders of such folders.
        unfinished: Whether logs that lack their last epochs count.

    Raises:
        FileNotFoundError: If a path does not exist, or no log is found.
    """
    files, problems = find(paths)
    logs: list[Log] = []
    excluded: list[Log] = []
    known: dict[tuple, Log] = {}
    for file in files:
        try:
            log = read(file)
        except Unusable as error:
            problems.append(Problem(file, str(error), "it is left out", error.row))
            continue
        except OSError as error:
            what = error.strerror or str(error)
            problems.append(Problem(file, what, "it is left out"))
            continue
        problems += [Problem(file, what, "it is used") for what in log.remarks]
        key = (log.setting, log.width, log.rank, log.seed)
        if log.seed is not None and key in known:
            first = _shown(known[key].path)
            what = f"it has the setting, the network and the seed of {first}"
            problems.append(Problem(file, what, "it is left out"))
        elif log.diverged is not None:
            known[key] = log
            what = f"it diverged: a loss of epoch {log.diverged} is not finite"
            problems.append(Problem(file, what, "it is in no mean"))
            excluded.append(log)
        elif log.unfinished and not unfinished:
            what = f"it ends at epoch {log.epochs[-1]} of {log.expected_epochs}"
            problems.append(Problem(file, what, "it is in no mean (see --unfinished)"))
            excluded.append(log)
        else:
            known[key] = log
            logs.append(log)
    return Collection(tuple(logs), tuple(excluded), tuple(problems))


def find(paths: Iterable[Path]) -> tuple[list[Path], list[Problem]]:
    """The files of logs in or below some paths, and the folders that were skipped.

    Raises:
        FileNotFoundError: If a path does not exist, or there is no log at all.
    """
    files: dict[Path, Path] = {}
    problems = []
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {_shown(path)}")
        if path.is_file():
            files.setdefault(path.resolve(), path)
            continue
        put_aside: dict[Path, int] = {}
        for file in _below(path):
            if WRONG in file.relative_to(path).parts:
                folder = next(p for p in file.parents if p.name == WRONG)
                put_aside[folder] = put_aside.get(folder, 0) + 1
            else:
                files.setdefault(file.resolve(), file)
        for folder, count in put_aside.items():
            what = f"{count} {'log is' if count == 1 else 'logs are'} put aside here"
            problems.append(Problem(folder, what, "name the folder to see them"))
    if not files:
        aside = "".join(f"; {problem}" for problem in problems)
        raise FileNotFoundError(
            f"there is no log in {', '.join(map(_shown, paths))}; a log is "
            f"<folder>/<name of the test>/{FOLDER}/<network>.xlsx{aside}"
        )
    return list(files.values()), problems


def _below(folder: Path) -> list[Path]:
    """Logs in a folder, in the order of their names, numbers by size."""
    pattern = "*" if folder.resolve().name == FOLDER else f"**/{FOLDER}/*"
    found = [
        file
        for file in folder.glob(pattern)
        # Hidden files are leftovers of killed runs, "~$" ones belong to open windows.
        if file.suffix in SUFFIXES and not file.name.startswith((".", "~$"))
    ]
    return sorted(found, key=lambda file: (file.parent, len(file.name), file.name))


def _shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
