"""The folder of a run: its name, what is in it, and which one to continue."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrt.callbacks import read_history
from experiments._config import Config, option
from experiments._log_format import LOGS, equal

# What a continued run may change: how long it goes on.
CHANGEABLE = ("epochs", "fine_tune_epochs")


@dataclass(frozen=True)
class Run:
    """A run's folder, `<log dir>/<run name>`.

    Args:
        directory: The folder.
    """

    directory: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.directory.name

    @property
    def best(self) -> Path:
        """The model of the epoch with the best validation accuracy."""
        return self.directory / "best.keras"

    @property
    def best_adaptive(self) -> Path:
        """The same of the adaptive phase, where another phase follows."""
        return self.directory / "best-adaptive.keras"

    @property
    def last(self) -> Path:
        """The checkpoint to continue from."""
        return self.directory / "last.keras"

    def workbook(self, network: str) -> Path:
        """The log of a network: the one that is there, whatever its name, or a new one.

        A continued log must be found even if the settings, and so the name, differ.
        """
        existing = sorted((self.directory / LOGS).glob("[!.]*.xlsx"))
        return existing[0] if existing else self.directory / LOGS / f"{network}.xlsx"

    def remove(self) -> None:
        """Deletes the folder of a run that could not begin."""
        shutil.rmtree(self.directory, ignore_errors=True)


def create(config: Config) -> Run:
    """Makes the folder of a new run; no two runs ever get the same.

    Raises:
        ValueError: If a run of the given name exists.
        OSError: If the folder can't be made.
    """
    for name in _candidates(config):
        run = Run(config.log_dir / name)
        try:
            config.log_dir.mkdir(parents=True, exist_ok=True)
            # Of several processes, one succeeds.
            run.directory.mkdir()
        except FileExistsError as error:
            if not config.log_dir.is_dir():
                raise _unwritable(config, "it is a file") from error
            if config.run_name is not None:
                raise ValueError(
                    "`--run-name` must be new, or come with `--resume`. Received: "
                    f"--run-name {config.run_name}, which exists in {config.log_dir}"
                ) from error
        except OSError as error:
            raise _unwritable(config, error.strerror or str(error)) from error
        else:
            return run
    raise AssertionError("there is no end of numbers")


def find(config: Config) -> Run | None:
    """The run to continue: of that name, or the newest with the default name."""
    if config.run_name is not None:
        run = Run(config.log_dir / config.run_name)
        return run if run.directory.is_dir() else None
    pattern = re.compile(re.escape(config.base_name) + r"(-[1-9]\d*)?")
    runs = [run for run in _all(config.log_dir) if pattern.fullmatch(run.name)]
    return max(runs, key=_age, default=None)


def missing(config: Config) -> ValueError:
    """The error for a run to continue that is not there."""
    name = config.run_name or config.base_name
    return ValueError(
        f"`--resume` needs a run to continue, and {config.log_dir} has none of that "
        f"name. Received: {name}"
    )


def stored_configuration(run: Run, config: Config) -> dict[str, Any]:
    """What the log of a run to continue says, after a look at what may change.

    Raises:
        ValueError: If the log can't be read, or the run was meant to be longer.
    """
    workbook = run.workbook(config.network)
    if not workbook.exists():
        return {}
    stored = read_history(workbook)[1]
    for name in CHANGEABLE:
        before, now = stored.get(name), getattr(config, name)
        if isinstance(before, int) and isinstance(now, int) and now < before:
            raise ValueError(
                f"`{option(name)}` may be raised by `--resume`, not lowered; the run "
                f"{run.name} has {before}. Received: {option(name)} {now}"
            )
    return stored


def newest_dense(config: Config) -> Run | None:
    """The newest finished dense run with a run's width, images and split.

    With another split, the dense network may have been trained on images that the
    pruned one would be validated with.
    """
    network = replace(config, subcommand="dense-reference").network
    record = config.record()
    keys = ("dataset", "dim_layer", "dataset_size", "noise", "val_size", "seed")
    for run in sorted(_all(config.log_dir), key=_age, reverse=True):
        workbook = run.directory / LOGS / f"{network}.xlsx"
        if not (workbook.exists() and run.best.exists()):
            continue
        try:
            rows, stored = read_history(workbook)
        except ValueError:
            continue
        finished = bool(rows) and rows[-1]["epoch"] >= stored.get("epochs", 0) > 0
        if finished and all(equal(stored.get(key), record[key]) for key in keys):
            return run
    return None


def _candidates(config: Config) -> Iterator[str]:
    if config.run_name is not None:
        yield config.run_name
        return
    yield config.base_name
    number = 2
    while True:
        yield f"{config.base_name}-{number}"
        number += 1


def _all(log_dir: Path) -> list[Run]:
    if not log_dir.is_dir():
        return []
    return [Run(path) for path in log_dir.iterdir() if path.is_dir()]


def _age(run: Run) -> tuple[int, int, str]:
    """Sorts runs by when they were last written to."""
    times = [
        os.stat(path).st_mtime_ns for path in (run.directory, run.last) if path.exists()
    ]
    return max(times), len(run.name), run.name


def _unwritable(config: Config, reason: str) -> OSError:
    return OSError(
        f"`--log-dir` must be a folder that can be written to: {reason}. Received: "
        f"--log-dir {config.log_dir}"
    )
