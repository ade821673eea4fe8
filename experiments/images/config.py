"""The settings of image runs, their defaults and their bounds.

The language model of compression runs shares them, where that makes sense.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from dlrt_names.data_sets import IMAGES
from experiments.cli.checks import at_least_one, one_of, require
from experiments.cli.settings import word
from experiments.runs import results
from experiments.runs.network_settings import ImageSettings, not_negative

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


@dataclass(frozen=True)
class Config(ImageSettings):
    """The settings of one run; `None` where a subcommand has no such setting.

    Beside those of `ImageSettings`, whose `dataset` may be a folder, and whose
    `val_size` is not for texts, which have a part for validation:

    Args:
        architecture: A key of `NETWORKS`.
        ranks: Rank of every layer that is low-rank, at the start if it adapts; one
            for all, or one for each layer. A smaller kernel has its full rank.
        optimizer: A key of `LEARNING_RATES`.
        learning_rate: `None`: that of the optimizer in `LEARNING_RATES`.
        momentum: Momentum of SGD.
        weight_decay: Factor of half the squared norm of all kernels in the loss.
        vocabulary: Of language models: number of words to know, at most.
        augment: Whether to shift and mirror training images; `None`: those in colour.
        image_size: Height and width that the images of a folder are scaled to.
    """

    architecture: str = "lenet5"
    epochs: int = 40
    ranks: tuple[int, ...] | None = None
    batch_size: int = 128
    learning_rate: float | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    vocabulary: int | None = None
    augment: bool | None = None
    image_size: tuple[int, int] | None = None

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
        """What is trained on which data; the workbook has this name."""
        return f"{self.form}-{self.trained}"

    @property
    def trained(self) -> str:
        """The network and its data set."""
        return f"{self.architecture}-{word(self.dataset)}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        words = self.architecture, self.subcommand, word(self.dataset)
        ranks = None if self.ranks is None else "-".join(map(str, self.ranks))
        return self.name_run(*words, rank=ranks)

    def record(self) -> dict[str, Any]:
        """The settings that the log keeps."""
        joined = {
            name: None if value is None else ",".join(map(str, value))
            for name, value in (("ranks", self.ranks), ("image_size", self.image_size))
        }
        if self.reads_text:
            joined["val_size"] = None
        return {"experiment": "images"} | super().record() | joined

    def check(self) -> None:
        super().check()
        one_of(self, "architecture", NETWORKS)
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
        at_least_one(self, "max_rank", "vocabulary")
        if self.max_rank is not None:
            require(self.max_rank >= 2, self, "max_rank", "be at least 2")
        one_of(self, "optimizer", LEARNING_RATES)
        require(0 <= self.momentum < 1, self, "momentum", "lie in [0, 1)")
        not_negative(self, "weight_decay")

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
