"""The settings of runs that evolve widths, their defaults and their bounds."""

from dataclasses import dataclass
from typing import Any

from experiments.cli.checks import at_least_one, positive, require
from experiments.cli.settings import Settings
from experiments.runs.checks import check_run
from experiments.runs.phases import Phase

# The default epoch after which widths stay, at most the last but one.
STOP = 4
# With all widths at the least, the network has this many parameters.
LEAST_PARAMETERS = 382
# A sixth of MNIST's 60,000 training images are the usual 10,000.
VAL_SIZE = 1 / 6


@dataclass(frozen=True)
class Config(Settings):
    """The settings of a run.

    Beside those of `Settings`:

    Args:
        epochs: Number of epochs.
        max_parameters: The most parameters that the network may have at the end;
            `None`: no bound.
        max_memory: The most bytes that its training may take at the end, see
            `dlrt.evolution.training_memory`; `None`: no bound.
        stop: The number of epochs after which widths stay.
        threshold: Relative singular value below which channels go anyway.
        samples: How many training images the singular values are measured on.
        batch_size: Images in a step.
        learning_rate: Learning rate of Adam at the start; it falls to 0 as a cosine.
        dataset: A data set of `dlrt.datasets.load`.
    """

    subcommand: str = "evolve"
    epochs: int = 12
    max_parameters: int | None = 12_500
    max_memory: int | None = None
    stop: int = STOP
    threshold: float = 0.01
    samples: int = 2000
    batch_size: int = 128
    learning_rate: float = 2e-3
    dataset: str = "auto"

    @property
    def network(self) -> str:
        """What is trained on which data; the workbook has this name."""
        return f"evolve-{self.dataset}"

    @property
    def phases(self) -> list[Phase]:
        """The one phase of a run."""
        return [Phase("", self.epochs)]

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        bounds = {"p": self.max_parameters, "m": self.max_memory}
        given = [f"{letter}{most}" for letter, most in bounds.items() if most]
        return "-".join([self.network, *given, f"seed{self.seed}"])

    def check(self) -> None:
        """Raises `ValueError` if a setting is out of bounds."""
        check_run(self)
        at_least_one(self, "epochs", "stop", "samples", "batch_size")
        most = self.max_parameters
        enough = most is None or most >= LEAST_PARAMETERS
        require(enough, self, "max_parameters", f"be at least {LEAST_PARAMETERS}")
        positive(self, "learning_rate")
        require(0 <= self.threshold < 1, self, "threshold", "lie in [0, 1)")
        enough = self.epochs >= 2
        require(enough, self, "epochs", "be at least 2: after the first, widths stay")
        below = f"be below --epochs {self.epochs}"
        require(self.stop < self.epochs, self, "stop", below)


def resolve(given: dict[str, Any]) -> Config:
    """Fills the given settings up with the defaults.

    Raises:
        ValueError: If a setting is out of bounds.
    """
    if "max_memory" in given:
        given = {"max_parameters": None} | given
    if "epochs" in given:
        given = {"stop": max(1, min(STOP, given["epochs"] - 1))} | given
    config = Config(**given)
    config.check()
    return config
