"""The folder of a run: its name, what is in it, and which one to continue.

Nothing here needs a backend until a log is read.
"""

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.checks import check_log_dir, option, unwritable
from experiments.cli.settings import Settings
from experiments.runs.log_format import LOGS, equal, workbooks


@dataclass
class Folder:
    """A run's folder, `<log dir>/<run name>`.

    Args:
        directory: The folder.

    Attributes:
        name: The run's name.
        best: The model of the best epoch, by validation.
        best_adaptive: The best model of the adaptive phase, if another phase follows.
        last: The checkpoint to continue from.
    """

    directory: Path

    def __post_init__(self) -> None:
        self.name = self.directory.name
        self.best = self.directory / "best.keras"
        self.best_adaptive = self.directory / "best-adaptive.keras"
        self.last = self.directory / "last.keras"

    def workbook(self, network: str) -> Path:
        """The path of a network's log: that of an existing log, whatever its name.

        A continued log must be found even if the settings, and so the name, differ.
        """
        proper = self.log(network)
        existing = workbooks(proper.parent)
        return existing[0] if existing and not proper.exists() else proper

    def log(self, network: str) -> Path:
        """The log of a network under its proper name."""
        return self.directory / LOGS / f"{network}.xlsx"


def check(settings: Settings) -> None:
    """Checks the folder of a run, as far as possible before its data are known.

    Raises:
        ValueError: If a run of the given name exists, or none to continue does.
        OSError: If the folder of the runs can't be written to.
    """
    check_log_dir(settings.log_dir)
    if settings.run_name is None:
        return
    if settings.resume:
        if find(settings) is None:
            raise missing(settings)
    elif os.path.lexists(settings.log_dir / settings.run_name):
        raise _taken(settings)


def create(settings: Settings) -> Folder:
    """Makes the folder of a new run; no two runs ever get the same.

    Raises:
        ValueError: If a run of the given name exists.
        OSError: If the folder can't be made.
    """
    first = name = settings.run_name or settings.base_name
    for number in itertools.count(2):
        run = Folder(settings.log_dir / name)
        try:
            settings.log_dir.mkdir(parents=True, exist_ok=True)
            # Only one of several processes succeeds.
            run.directory.mkdir()
            break
        except FileExistsError as error:
            if not settings.log_dir.is_dir():
                raise unwritable(settings.log_dir, "it is a file") from error
            if settings.run_name is not None:
                raise _taken(settings) from error
            name = f"{first}-{number}"
        except OSError as error:
            reason = error.strerror or str(error)
            raise unwritable(settings.log_dir, reason) from error
    return run


def find(settings: Settings) -> Folder | None:
    """The run to continue: of that name, or the newest with the default name.

    Raises:
        ValueError: If its folder, or that of its log, is a link: what a run writes
            stays in the folder of the runs. Or if it has models, but no log.
    """
    if settings.run_name is not None:
        named = Folder(settings.log_dir / settings.run_name)
        run = named if named.directory.is_dir() else None
    else:
        pattern = re.compile(re.escape(settings.base_name) + r"(-[1-9]\d*)?")
        runs = [run for run in _all(settings.log_dir) if pattern.fullmatch(run.name)]
        run = max(runs, key=_age, default=None)
    if run is None:
        return None
    for path in (run.directory, run.directory / LOGS):
        if path.is_symlink():
            raise ValueError(
                "`--resume` follows no links; name the folder that they lead to by "
                f"`--log-dir` and `--run-name`. Received: {path}, which leads to "
                f"{path.resolve()}"
            )
    # A run opens its log before it saves anything.
    log = run.workbook(settings.network)
    models = (run.last, run.best, run.best_adaptive)
    if not log.exists() and any(path.exists() for path in models):
        raise ValueError(
            "`--resume` needs the run's log, which is gone; its models are left as "
            "they are. Put the log back, or start another run without `--resume`, "
            f"under another `--run-name`. Received: {log}"
        )
    return run


def missing(settings: Settings) -> ValueError:
    """The error for a run to continue that is not there."""
    name = settings.run_name or settings.base_name
    return ValueError(
        f"`--resume` needs a run to continue, and {settings.log_dir} has none of that "
        f"name. Received: {name}"
    )


def read_configuration(
    run: Folder, settings: Settings, lengths: Sequence[str]
) -> dict[str, Any]:
    """Reads what the log of a run to continue says.

    Raises:
        ValueError: If the log can't be read, or the run was meant to be longer: the
            settings that say how long it is, `lengths`, may be raised only.
    """
    from dlrt.callbacks import read_history

    workbook = run.workbook(settings.network)
    if not workbook.exists():
        return {}
    stored = read_history(workbook)[1]
    for name in lengths:
        before, now = stored.get(name), getattr(settings, name)
        if isinstance(before, int) and isinstance(now, int) and now < before:
            raise ValueError(
                f"`{option(name)}` may be raised by `--resume`, not lowered; the run "
                f"{run.name} has {before}. Received: {option(name)} {now}"
            )
    return stored


def list_newest_first(log_dir: Path) -> list[Folder]:
    """All runs in a folder, the one that was written to last first."""
    return sorted(_all(log_dir), key=_age, reverse=True)


def find_newest_finished(
    settings: Settings, same: Sequence[str], facts: Mapping[str, Any] | None = None
) -> Folder | None:
    """The newest finished run that trains a network with some of the same settings.

    Args:
        settings: The settings of a run of that kind.
        same: Names of those that must be equal.
        facts: What else the log must say.
    """
    from dlrt.callbacks import read_history

    wanted = {name: settings.record().get(name) for name in same} | dict(facts or {})
    for run in list_newest_first(settings.log_dir):
        workbook = run.log(settings.network)
        if not (workbook.exists() and run.best.exists()):
            continue
        try:
            rows, stored = read_history(workbook)
        except ValueError:
            continue
        finished = bool(rows) and rows[-1]["epoch"] >= stored.get("epochs", 0) > 0
        if finished and all(equal(stored.get(k), v) for k, v in wanted.items()):
            return run
    return None


@contextlib.contextmanager
def remove_if_unusable(run: Folder) -> Iterator[None]:
    """Removes the folder of a run if setting the run up fails in this context."""
    try:
        yield
    except BaseException:
        shutil.rmtree(run.directory, ignore_errors=True)
        raise


def _all(log_dir: Path) -> list[Folder]:
    if not log_dir.is_dir():
        return []
    return [Folder(path) for path in log_dir.iterdir() if path.is_dir()]


def _age(run: Folder) -> tuple[int, int, str]:
    """Sorts runs by when they were last written to."""
    paths = [path for path in (run.directory, run.last) if path.exists()]
    return max(path.stat().st_mtime_ns for path in paths), len(run.name), run.name


def _taken(settings: Settings) -> ValueError:
    return ValueError(
        "`--run-name` must be new, or come with `--resume`. Received: --run-name "
        f"{settings.run_name}, which exists in {settings.log_dir}"
    )
