"""What the settings of every experiment offer."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

# Written out, so that help and mistyped options don't wait for Keras to start.
INTEGRATORS = (
    "augmented_bug",
    "factorized",
    "kls",
    "parallel_bug",
    "projector_splitting",
)
ADAPTIVE_INTEGRATORS = ("augmented_bug", "parallel_bug")

LOG_DIR = Path(__file__).resolve().parents[1] / "history_logs"

# They say where a run is and how it shows, not what it computes.
_NOT_RECORDED = ("run_name", "log_dir", "resume", "verbose")


class Settings(Protocol):
    """The settings of a run: a frozen dataclass with these fields and more."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def subcommand(self) -> str:
        """Which of the experiment's runs."""

    @property
    def seed(self) -> int:
        """Seed of everything random, in [0, 2**32)."""

    @property
    def run_name(self) -> str | None:
        """Name of the run's folder, if it was given."""

    @property
    def log_dir(self) -> Path:
        """Folder of the runs."""

    @property
    def resume(self) -> bool:
        """Whether to continue a run."""

    @property
    def verbose(self) -> int | None:
        """Keras's `verbose`; `None` for what suits the terminal."""

    @property
    def network(self) -> str:
        """What is trained on what; the workbook has this name."""

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""

    def record(self) -> dict[str, Any]:
        """The settings that the log keeps, see `record`."""


def record(settings: Settings) -> dict[str, Any]:
    """The fields that a log keeps: what a run computes depends on them."""
    values = {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if field.name not in _NOT_RECORDED
    }
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
    }


def verbosity(settings: Settings) -> int:
    """Keras's `verbose`: a bar in a terminal, else a line an epoch, if not given."""
    if settings.verbose is not None:
        return settings.verbose
    return 1 if sys.stdout.isatty() else 2
