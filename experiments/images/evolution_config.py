"""The settings of runs that evolve widths: their options, defaults and bounds."""

import re
from dataclasses import dataclass
from typing import Any

from experiments.cli.checks import (
    EPOCHS,
    POSITIVE,
    SHARE_OR_NONE,
    count,
    must,
    require,
)
from experiments.cli.options import setting
from experiments.cli.settings import Settings
from experiments.runs.checks import check_run
from experiments.runs.network_settings import setting_of_small_images
from experiments.runs.phases import Phase

# The default epoch after which widths stay, at most the last but one.
STOP = 4
# With all widths at the least, the network has this many parameters.
LEAST_PARAMETERS = 382
# A sixth of MNIST's 60,000 training images are the usual 10,000.
VAL_SIZE = 1 / 6

_UNITS = {
    "": 1,
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmg", start=1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmg", start=1)},
    "b": 1,
}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})", re.IGNORECASE)


def _read_bytes(text: str) -> int:
    """A size as people write it: 20MB, 1.5 GiB or a number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size < 1:
        raise ValueError(
            "must be a size above 0, as 20MB, 512KiB or 1.5GB; without a unit it is "
            f"in bytes. Received: {text!r}"
        )
    return size


@dataclass(frozen=True)
class Config(Settings):
    """The settings of a run."""

    subcommand: str = "evolve"
    epochs: int = setting(12, "epochs", "-e", rule=EPOCHS)
    # `None`: no bound.
    max_parameters: int | None = setting(
        12_500,
        "parameters at the end",
        "-p",
        rule=must(
            lambda most: most >= LEAST_PARAMETERS, f"be at least {LEAST_PARAMETERS}"
        ),
    )
    # In bytes, see `dlrt.evolution.training_memory`.
    max_memory: int | None = setting(
        None,
        "memory of a step of training at the end, as 20MB, instead of or beside "
        "--max-parameters",
        "-m",
        shown="without bound",
        type=_read_bytes,
        metavar="SIZE",
    )
    stop: int = setting(
        STOP,
        "after so many epochs, widths stay",
        shown=f"{STOP}, or one below --epochs",
        rule=count(),
    )
    threshold: float = setting(
        0.01, "relative singular value that is kept", rule=SHARE_OR_NONE
    )
    samples: int = setting(2000, "images to measure the values on", rule=count())
    batch_size: int = setting(128, "images in a step", rule=count())
    learning_rate: float = setting(
        2e-3, "learning rate at the start; it falls to 0 as a cosine", rule=POSITIVE
    )
    dataset: str = setting_of_small_images()

    @property
    def network(self) -> str:
        return f"evolve-{self.dataset}"

    @property
    def phases(self) -> list[Phase]:
        """The one phase of a run."""
        return [Phase("", self.epochs)]

    @property
    def base_name(self) -> str:
        bounds = {"p": self.max_parameters, "m": self.max_memory}
        given = [f"{letter}{most}" for letter, most in bounds.items() if most]
        return "-".join([self.network, *given, f"seed{self.seed}"])

    def check(self) -> None:
        """Raises `ValueError` if a setting is out of bounds."""
        super().check()
        check_run(self)
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
