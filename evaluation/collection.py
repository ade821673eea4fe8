"""Finds logs, reads them, and says what is wrong with which."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation import images, transformers
from evaluation.logs import Log, Unusable
from evaluation.reading import SUFFIXES, read
from experiments.runs.log_format import LOGS, REASON, WRONG, is_stray


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
        logs: Those of networks with hidden layers that count.
        excluded: Those that diverged, failed or lack epochs. They are in no mean, and
            figures and tables say how many there are.
        problems: What was wrong.
        transformers: Logs of transformers that count.
        excluded_transformers: And those that don't.
        images: Logs of networks for images, but for those of MNIST's hidden layers.
        excluded_images: And those that don't count.
    """

    logs: tuple[Log, ...]
    excluded: tuple[Log, ...] = ()
    problems: tuple[Problem, ...] = ()
    transformers: tuple[Log, ...] = ()
    excluded_transformers: tuple[Log, ...] = ()
    images: tuple[Log, ...] = ()
    excluded_images: tuple[Log, ...] = ()

    @property
    def counted(self) -> tuple[Log, ...]:
        """All logs that count."""
        return self.logs + self.transformers + self.images

    @property
    def uncounted(self) -> tuple[Log, ...]:
        """All that don't."""
        return self.excluded + self.excluded_transformers + self.excluded_images


def collect(paths: Sequence[Path], unfinished: bool = False) -> Collection:
    """Reads every log in or below some paths.

    Args:
        paths: Workbooks, folders of runs, or folders of such folders.
        unfinished: Whether logs that lack their last epochs count.

    Raises:
        FileNotFoundError: If a path does not exist, or no log is found.
    """
    logs: list[Log] = []
    excluded: list[Log] = []
    problems: list[Problem] = []
    known: dict[tuple, Path] = {}
    found: dict[tuple, list[Log]] = {}
    for file in find(paths):
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
        found.setdefault((file.parent.resolve(), *_network(log), log.seed), []).append(
            log
        )
    for several in found.values():
        log = max(several, key=_finality)
        for other in several:
            if other is not log:
                what = f"{_shown(log.path)} is of the same network"
                problems.append(Problem(other.path, what, "it is left out"))
        key = (*_network(log), log.seed)
        why = _explain_exclusion(log, unfinished)
        if why is not None:
            problems.append(Problem(log.path, why, "it is in no mean"))
            excluded.append(log)
        elif log.seed is not None and key in known:
            first = _shown(known[key])
            what = f"it has the setting, the network and the seed of {first}"
            problems.append(Problem(log.path, what, "it is left out"))
        else:
            known[key] = log.path
            logs.append(log)
    dense, transformed, pictured = _part_by_kind(logs)
    others = _part_by_kind(excluded)
    return Collection(
        logs=dense,
        excluded=others[0],
        problems=tuple(problems),
        transformers=transformed,
        excluded_transformers=others[1],
        images=pictured,
        excluded_images=others[2],
    )


def _finality(log: Log) -> tuple[bool, int]:
    """What tells the final log of a network from earlier ones beside it."""
    return "final" in log.path.stem.lower(), int(log.epochs[-1])


def _network(log: Log) -> tuple:
    """What the runs of a network have in common."""
    if transformers.is_run(log.configuration):
        return transformers.find_network(log.configuration)
    if images.is_run(log.configuration):
        return images.find_network(log.configuration)
    return log.setting, log.width, log.rank


def _part_by_kind(logs: Iterable[Log]) -> tuple[tuple[Log, ...], ...]:
    """The logs of hidden layers, those of transformers, and those for images."""
    parts: tuple[list[Log], ...] = ([], [], [])
    for log in logs:
        kinds = (transformers.is_run, images.is_run)
        found = [is_run(log.configuration) for is_run in kinds]
        parts[found.index(True) + 1 if any(found) else 0].append(log)
    return tuple(map(tuple, parts))


def _explain_exclusion(log: Log, unfinished: bool) -> str | None:
    """Why a log is in no mean, if so."""
    if log.diverged is not None:
        return f"it diverged: a loss of epoch {log.diverged} is not finite"
    if log.wrong:
        return f"its training failed: {_reason(log.path)}"
    if log.unfinished and not unfinished:
        last = f"epoch {log.epochs[-1]} of {log.expected_epochs}"
        return f"it ends at {last}, and --unfinished is not given"
    return None


def _reason(path: Path) -> str:
    """What the sweep has noted about a failed training."""
    note = path.parent.parent / REASON
    try:
        lines = note.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    start = f"{path.stem}: "
    found = [line.removeprefix(start) for line in lines if line.startswith(start)]
    return found[-1] if found else f"it lies in {WRONG}"


def find(paths: Iterable[Path]) -> list[Path]:
    """The files of logs in or below some paths.

    Raises:
        FileNotFoundError: If a path does not exist, or there is no log at all.
    """
    files: dict[Path, Path] = {}
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {_shown(path)}")
        for file in _below(path) if path.is_dir() else [path]:
            files.setdefault(file.resolve(), file)
    if not files:
        raise FileNotFoundError(
            f"there is no log in {', '.join(map(_shown, paths))}; a log is "
            f"<folder>/<name of the test>/{LOGS}/<network>.xlsx"
        )
    return list(files.values())


def _below(folder: Path) -> list[Path]:
    """Logs in a folder, in the order of their names, numbers by size."""
    pattern = "*" if folder.resolve().name == LOGS else f"**/{LOGS}/*"
    found = [
        file
        for file in folder.glob(pattern)
        if file.suffix in SUFFIXES and not is_stray(file)
    ]
    return sorted(found, key=lambda file: (file.parent, len(file.name), file.name))


def _shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
