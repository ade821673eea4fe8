"""The settings of image runs: their options, defaults and bounds.

The language model of compression runs shares them, where that makes sense.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from dlrt_names.data_sets import IMAGES
from experiments.cli import options
from experiments.cli.checks import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_OR_NONE,
    require,
)
from experiments.cli.command import Parser
from experiments.cli.options import setting
from experiments.cli.settings import word
from experiments.runs import results
from experiments.runs.network_settings import ImageSettings

# The learning rate of each: of SGD that of "Low-rank lottery tickets".
LEARNING_RATES = {"adam": 1e-3, "adamw": 1e-3, "sgd": 0.05}

_RESIDUAL = {
    "epochs": 100,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
}
# How each network is trained unless told otherwise. Written out, so that help and
# mistyped options don't wait for Keras to start.
NETWORKS: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "cnn": {},
    "alexnet": {**_RESIDUAL, "learning_rate": 0.05, "weight_decay": 5e-4},
    "alexnet_full": {**_RESIDUAL, "learning_rate": 0.05, "weight_decay": 5e-4},
    "resnet8": _RESIDUAL,
    "resnet20": _RESIDUAL,
    "lstm": {
        "epochs": 10,
        "learning_rate": 2e-3,
        "batch_size": 32,
        "vocabulary": 5000,
    },
}
# Networks that take words, not images.
LANGUAGE_MODELS = ("lstm",)
IMAGES_HELP = (
    f"data set, {', '.join(IMAGES)}, or a folder with images as train/<class>/<image> "
    "and test/<class>/<image>; auto is mnist where it can be had, else digits"
)
_DESCRIPTIONS = {
    "dense-reference": "Trains the dense network that the others are compared with.",
    "fixed-rank": "Trains a network whose layers have fixed ranks.",
    "rank-adaptive": "Trains a network that finds the ranks of its layers.",
}


def _read_ranks(text: str) -> tuple[int, ...]:
    try:
        ranks = tuple(map(int, text.split(",")))
    except ValueError:
        ranks = ()
    if not ranks or min(ranks) < 1:
        raise ValueError(
            f"must be positive integers with commas between. Received: {text}"
        )
    return ranks


def _read_image_size(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(f"must be two positive integers, as 32x32. Received: {text}")
    return height, width


@dataclass(frozen=True)
class Config(ImageSettings):
    """The settings of one run; `None` where a subcommand has no such setting.

    Texts of language models have a part for validation; `val_size` is for images.
    """

    architecture: str = "lenet5"
    epochs: int = 40
    ranks: tuple[int, ...] | None = setting(
        None,
        "rank of the low-rank layers, or of each in order, at the start if they adapt; "
        "at most full rank",
        "-s",
        type=_read_ranks,
        metavar="R[,R...]",
    )
    batch_size: int = 128
    optimizer: str = setting("adam", "optimizer", choices=tuple(LEARNING_RATES))
    learning_rate: float | None = setting(
        None,
        "learning rate, at the start of its schedule",
        shown=", ".join(f"{name}: {rate:g}" for name, rate in LEARNING_RATES.items()),
        rule=POSITIVE,
    )
    momentum: float = setting(0.0, "momentum of sgd", rule=SHARE_OR_NONE)
    weight_decay: float = setting(
        0.0,
        "factor of half the squared norm of all kernels in the loss",
        rule=NOT_NEGATIVE,
    )
    dataset: str = setting("auto", IMAGES_HELP, metavar="NAME|DIR")
    vocabulary: int | None = None
    augment: bool | None = setting(
        None,
        "1: shift and mirror training images at random",
        shown="1 for images in colour",
    )
    image_size: tuple[int, int] | None = setting(
        None,
        "height and width to scale the images of a folder to",
        shown="that which all have",
        type=_read_image_size,
        metavar="HxW",
    )

    @property
    def reads_text(self) -> bool:
        """Whether the network is a language model."""
        return self.architecture in LANGUAGE_MODELS

    @property
    def results(self) -> results.Results:
        """How the results of the network are ranked and reported."""
        return results.WORDS if self.reads_text else results.IMAGES

    @property
    def network(self) -> str:
        return f"{self.form}-{self.trained}"

    @property
    def trained(self) -> str:
        """The network and its data set."""
        return f"{self.architecture}-{word(self.dataset)}"

    @property
    def base_name(self) -> str:
        words = self.architecture, self.subcommand, word(self.dataset)
        ranks = None if self.ranks is None else "-".join(map(str, self.ranks))
        return self.name_run(*words, rank=ranks)

    def record(self) -> dict[str, Any]:
        joined = {
            name: None if value is None else ",".join(map(str, value))
            for name, value in (("ranks", self.ranks), ("image_size", self.image_size))
        }
        if self.reads_text:
            joined["val_size"] = None
        return {"experiment": "images"} | super().record() | joined

    def check(self) -> None:
        super().check()
        if self.reads_text:
            self.leave_out("augment", "image_size")
            require(
                self.vocabulary is not None and self.vocabulary >= 3,
                self,
                "vocabulary",
                "be at least 3: unknown words, ends of lines and a word",
            )
        else:
            self.leave_out("vocabulary")
        folder = self.image_size is None or self.dataset not in IMAGES
        require(folder, self, "image_size", "come with a folder as `--dataset`")

    def check_momentum(self, given: Container[str]) -> None:
        """Raises `ValueError` if the optimizer lacks a momentum that is given."""
        used = self.optimizer == "sgd" or "momentum" not in given
        require(used, self, "momentum", "come with `--optimizer sgd`")

    def leave_out(self, *names: str) -> None:
        """Raises `ValueError` if there are settings that the network has no use for."""
        for name in names:
            unset = getattr(self, name) is None
            require(unset, self, name, f"be left out with -n {self.architecture}")


DEFAULTS = {
    config.subcommand: config
    for config in (
        Config("dense-reference", integrator=None),
        Config("fixed-rank", ranks=(20,)),
        Config("rank-adaptive", ranks=(100,), tolerance=0.3),
    )
}


def parse(arguments: Sequence[str], prog: str, architecture: str) -> Config:
    """Parses the command line of a program into settings.

    Args:
        arguments: The arguments.
        prog: The name of the program.
        architecture: The network that it trains.
    """
    return options.parse_subcommand(
        arguments,
        Parser(prog=prog, description=f"Trains {architecture} on images."),
        _DESCRIPTIONS,
        lambda name, given: resolve(name, {"architecture": architecture, **given}),
        DEFAULTS,
    )


def resolve(subcommand: str, given: dict[str, Any]) -> Config:
    """Fills the given settings up with the defaults of a subcommand.

    Args:
        subcommand: A key of `DEFAULTS`.
        given: The settings that are not left to the defaults, by name.

    Raises:
        ValueError: If a setting is out of bounds.
    """
    config = Config(**add_training_defaults(vars(DEFAULTS[subcommand]), given))
    config.check()
    config.check_momentum(given)
    return config


def add_training_defaults(
    defaults: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """Adds the defaults of the network and of the optimizer to the settings of a run.

    Args:
        defaults: The defaults of the subcommand.
        given: The settings that override defaults.
    """
    architecture = given.get("architecture", defaults["architecture"])
    values = defaults | NETWORKS.get(architecture, {}) | given
    if given.get("learning_rate") is None and "optimizer" in given:
        values["learning_rate"] = None
    if values["learning_rate"] is None:
        values["learning_rate"] = LEARNING_RATES.get(values["optimizer"])
    return values
