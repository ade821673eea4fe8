"""What an experiment hands to a run: the part that differs between experiments."""

import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import keras

from experiments.runs.folders import Folder
from experiments.runs.phases import Phase
from experiments.runs.results import Row

if TYPE_CHECKING:
    from experiments.runs.run import Run


class Batches(Protocol):
    """Training batches whose order depends on the epoch only."""

    def __len__(self) -> int:
        """Number of batches in an epoch."""

    def for_fit(self) -> Any:
        """The batches in the form that `fit` takes."""

    def follow(self) -> keras.callbacks.Callback:
        """A callback that puts the batches of every epoch in order."""


class Task(abc.ABC):
    """A network, its batches, its scores and its settings.

    Args:
        settings: The settings of the run, with the real name of its data.

    Attributes:
        settings: The settings, complete once `prepare` has been called.
        batches: The training batches, available after `prepare`.
        title: A readable description of what is trained on what.
        trains: Whether the network is trained, or only logged as it is.
        lengths: Settings that say how long a run is: `--resume` may raise them.
        changeable: Other entries of the log's configuration that `--resume` may change.
        rate: The option to lower when the loss diverges.
        logs_singular_values: Whether the log has them while ranks adapt.
        dense_parameters: Parameters of the dense network that the compression is
            relative to, where the network doesn't tell.
        score: Scores a row of the log; the best epoch has the highest score. `None`
            where only the last model is kept.
    """

    batches: Batches
    title: str
    trains = True
    lengths: Sequence[str] = ("epochs",)
    changeable: Sequence[str] = ()
    rate = "--learning-rate"
    logs_singular_values = True
    dense_parameters: int | None = None
    score: Callable[[Row], float] | None = None

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @property
    def phases(self) -> Sequence[Phase]:
        """The phases of training, in order."""
        return self.settings.phases

    def prepare(self, folder: Folder | None, stored: Mapping[str, Any]) -> None:  # noqa: B027
        """Prepares what the network depends on.

        Args:
            folder: The folder of the run, if it is continued.
            stored: The configuration in its log.
        """

    @abc.abstractmethod
    def build(self) -> keras.Model:
        """Makes the network as it is at the start."""

    @abc.abstractmethod
    def compile(self, model: keras.Model, phase: Phase) -> None:
        """Compiles the network for a phase of training."""

    def configuration(self) -> dict[str, Any]:
        """The log's configuration, except for the schedule of truncations."""
        return self.settings.record()

    def save_inputs(self, directory: Path) -> None:  # noqa: B027
        """Saves what the network needs to be used, besides its weights."""

    @property
    @abc.abstractmethod
    def validation(self) -> dict[str, Any]:
        """The arguments of `fit` for validation."""

    def callbacks(
        self, run: "Run", say: Callable[[str], object]
    ) -> list[keras.callbacks.Callback]:
        """The callbacks that run at the end of an epoch before it is logged.

        Args:
            run: The run.
            say: Prints a line on long operations.
        """
        return []

    def is_over(self, phase: Phase, rows: Sequence[Row]) -> bool:
        """Whether a phase ends early, after the epochs in these rows of the log."""
        return False

    def first_selected_epoch(self, phase: Phase) -> int:
        """The first epoch of a phase whose model may be the best."""
        return 1

    def log_start(self, run: "Run") -> None:  # noqa: B027
        """Logs the network before it is trained, if that is of interest."""

    def finish(self, run: "Run") -> None:  # noqa: B027
        """Finishes the run after the last epoch."""

    def announcement(self, directory: Path) -> str:
        """The line that is printed before the training."""
        return f"{self.title}, in {directory}"

    @abc.abstractmethod
    def summary(self, run: "Run") -> list[str]:
        """The lines that are printed at the end."""
