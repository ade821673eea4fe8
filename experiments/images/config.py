"""What an image run can be told: settings, their defaults and their bounds.

The language model of compression runs is told the same, where that makes sense.
"""

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from dlrt_names.data_sets import IMAGES
from experiments.cli.checks import at_least_one, one_of, positive, require
from experiments.cli.settings import Settings, list_integrators, word
from experiments.mnist.config import SCHEDULES
from experiments.runs import tasks
from experiments.runs.checks import check_run

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
# Those that are given words, not images.
LANGUAGE_MODELS = ("lstm",)


@dataclass(frozen=True)
class Config(Settings):
    """The settings of one run; `None` where a subcommand has no such setting.

    Beside those of `Settings`:

    Args:
        architecture: A key of `NETWORKS`.
        epochs: Number of epochs.
        ranks: Rank of every layer that is low-rank, at the start if it adapts; one
            for all, or one for each layer. A smaller kernel has its full rank.
        tolerance: Relative truncation tolerance.
        max_rank: Upper bound of adapted ranks.
        integrator: Name of the integrator.
        batch_size: Images, or chunks of words, in a step.
        optimizer: A key of `LEARNING_RATES`.
        learning_rate: Learning rate, at the start of its schedule. `None`: that of the
            optimizer in `LEARNING_RATES`.
        momentum: Momentum of SGD.
        weight_decay: Factor of half the squared norm of all kernels in the loss.
        schedule: A name of `experiments.mnist.config.SCHEDULES`.
        vocabulary: Of language models: number of words to know, at most.
        augment: Whether to shift and mirror training images; `None`: those in colour.
        dataset: A data set's name or folder; the real name once the data are loaded.
        image_size: Height and width that the images of a folder are scaled to.
        dataset_size: Share of the images, or of the lines of a text, to use.
        val_size: Number or share of the training images to validate with; texts have a
            part for that.
    """

    architecture: str = "lenet5"
    epochs: int = 40
    ranks: tuple[int, ...] | None = None
    tolerance: float | None = None
    max_rank: int | None = None
    integrator: str | None = "parallel_bug"
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "cosine"
    vocabulary: int | None = None
    augment: bool | None = None
    dataset: str = "auto"
    image_size: tuple[int, int] | None = None
    dataset_size: float = 1.0
    # A sixth of MNIST's 60,000 training images are the usual 10,000.
    val_size: int | float = 1 / 6

    @property
    def dense(self) -> bool:
        """Whether the network has no low-rank layers."""
        return self.subcommand == "dense-reference"

    @property
    def reads_text(self) -> bool:
        """Whether the network is a language model."""
        return self.architecture in LANGUAGE_MODELS

    @property
    def task(self) -> tasks.Task:
        """What the network is trained for."""
        return tasks.WORDS if self.reads_text else tasks.IMAGES

    @property
    def adaptive(self) -> bool:
        """Whether ranks change."""
        return self.tolerance is not None

    @property
    def kind(self) -> str:
        """What the ranks are."""
        if self.dense:
            return "dense"
        return "adaptive" if self.adaptive else "fixed"

    @property
    def network(self) -> str:
        """What is trained on what; the workbook has this name."""
        kind = "dense" if self.dense else "low-rank"
        return f"{kind}-{self.trained}"

    @property
    def trained(self) -> str:
        """The network and its data set."""
        return f"{self.architecture}-{word(self.dataset)}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        parts = [self.architecture, self.subcommand, word(self.dataset)]
        if self.adaptive:
            parts.append(f"t{self.tolerance:g}")
        elif self.ranks is not None:
            parts.append("r" + "-".join(map(str, self.ranks)))
        return "-".join([*parts, f"seed{self.seed}"])

    def record(self) -> dict[str, Any]:
        """The settings that the log keeps."""
        joined = {
            name: None if value is None else ",".join(map(str, value))
            for name, value in (("ranks", self.ranks), ("image_size", self.image_size))
        }
        if self.reads_text:
            joined["val_size"] = None
        return {"experiment": "images"} | super().record() | joined


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
        ValueError: If a setting is outside of its bounds.
    """
    config = Config(**trained_alike(vars(DEFAULTS[subcommand]), given))
    check(config)
    check_momentum(config, given)
    return config


def trained_alike(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run, with those of its network and its optimizer.

    Args:
        defaults: Those of the subcommand.
        given: Those that are not left to the defaults.
    """
    architecture = given.get("architecture", defaults["architecture"])
    values = defaults | NETWORKS.get(architecture, {}) | given
    if given.get("learning_rate") is None and "optimizer" in given:
        values["learning_rate"] = None
    if values["learning_rate"] is None:
        values["learning_rate"] = LEARNING_RATES.get(values["optimizer"])
    return values


def check(config: Config) -> None:
    """Raises `ValueError` if a setting is outside of its bounds."""
    at_least_one(config, "epochs", "batch_size")
    one_of(config, "architecture", NETWORKS)
    if config.reads_text:
        leave_out(config, "augment", "image_size")
        require(
            config.vocabulary is not None and config.vocabulary >= 3,
            config,
            "vocabulary",
            "be at least 3: unknown words, ends of lines and a word",
        )
    else:
        leave_out(config, "vocabulary")
    folder = config.image_size is None or config.dataset not in IMAGES
    require(folder, config, "image_size", "come with a folder as `--dataset`")
    if config.tolerance is not None:
        require(0 < config.tolerance < 1, config, "tolerance", "lie in (0, 1)")
    at_least_one(config, "max_rank", "vocabulary")
    if config.max_rank is not None:
        require(config.max_rank >= 2, config, "max_rank", "be at least 2")
    one_of(config, "optimizer", LEARNING_RATES)
    positive(config, "learning_rate")
    require(0 <= config.momentum < 1, config, "momentum", "lie in [0, 1)")
    decay = config.weight_decay
    valid = math.isfinite(decay) and decay >= 0
    require(valid, config, "weight_decay", "be a number that is not negative")
    require(0 < config.dataset_size <= 1, config, "dataset_size", "lie in (0, 1]")
    size = config.val_size
    require(
        size > 0 if isinstance(size, int) else 0 < size < 1,
        config,
        "val_size",
        "be a positive number of images or a share in (0, 1)",
    )
    check_run(config)
    one_of(config, "schedule", SCHEDULES)
    if config.integrator is not None:
        known = list_integrators(config.adaptive)
        one_of(config, "integrator", known)


def check_momentum(config: Config, given: Container[str]) -> None:
    """Raises `ValueError` if a momentum is given that the optimizer doesn't have."""
    used = config.optimizer == "sgd" or "momentum" not in given
    require(used, config, "momentum", "come with `--optimizer sgd`")


def leave_out(config: Config, *names: str) -> None:
    """Raises `ValueError` if there are settings that the network has no use for."""
    for name in names:
        unset = getattr(config, name) is None
        require(unset, config, name, f"be left out with -n {config.architecture}")
