"""The base of the settings of every experiment."""

import abc
import re
import sys
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any

from experiments.cli import options
from experiments.cli.options import setting

# The built-in integrators, and whether they adapt ranks: the one list outside of their
# registry, so that help and mistyped options don't wait for Keras to start.
_INTEGRATORS = {
    "augmented_bug": True,
    "factorized": False,
    "kls": False,
    "parallel_bug": True,
    "projector_splitting": False,
}

LOG_DIR = Path(__file__).resolve().parents[2] / "history_logs"

# File systems allow 255; this leaves room for the words around it.
_WORD_BYTES = 150

# They affect where a run is kept and what it prints, not what it computes.
_NOT_RECORDED = ("run_name", "log_dir", "resume", "verbose")


@dataclass(frozen=True)
class Settings(abc.ABC):
    """The settings that the runs of every experiment have.

    Args:
        subcommand: Which of the experiment's runs.
    """

    subcommand: str
    _: KW_ONLY
    seed: int = setting(
        0, "seed of weights, dropout, noise, and split and order of the data"
    )
    run_name: str | None = setting(
        None,
        "folder of the run",
        shown="made from the settings, and never one in use",
    )
    log_dir: Path = setting(
        LOG_DIR,
        "folder of the runs",
        shown="history_logs of the repository",
        metavar="DIR",
    )
    resume: bool = setting(
        False,
        "continue the run of that name after its last finished epoch; without "
        "--run-name the newest with these settings",
        shown="a new run",
    )
    verbose: int | None = setting(
        None,
        "progress: 0 none, 1 a bar, 2 a line an epoch",
        shown="1 in a terminal, else 2",
        choices=(0, 1, 2),
    )

    @property
    @abc.abstractmethod
    def network(self) -> str:
        """What is trained on which data; the workbook has this name."""

    @property
    @abc.abstractmethod
    def base_name(self) -> str:
        """The run's default name, before a number is added to make it unique."""

    def check(self) -> None:
        """Raises `ValueError` if a setting is out of bounds."""
        options.check(self)

    def record(self) -> dict[str, Any]:
        """The settings that the log keeps: those that affect what a run computes."""
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in _NOT_RECORDED
        }
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in values.items()
        }


def list_integrators(adaptive: bool) -> tuple[str, ...]:
    """The names of the integrators, in alphabetical order.

    Once `dlrt` has been imported, registered integrators are included.

    Args:
        adaptive: Whether to list only those that adapt ranks.
    """
    adapts = _INTEGRATORS
    if registry := sys.modules.get("dlrt.integrators"):
        adapts = {name: registry.get(name).rank_adaptive for name in registry.names()}
    return tuple(sorted(name for name in adapts if adapts[name] or not adaptive))


def word(name: str) -> str:
    """The name or folder of a data set as a part of a file's name."""
    text = re.sub(r"[^\w.+-]+", "_", name)
    return text.encode()[:_WORD_BYTES].decode(errors="ignore")


def verbosity(settings: Settings) -> int:
    """Keras's `verbose`: a bar in a terminal, else a line an epoch, if not given."""
    if settings.verbose is not None:
        return settings.verbose
    return 1 if sys.stdout.isatty() else 2
