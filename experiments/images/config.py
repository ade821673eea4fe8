"""What an image run can be told: settings, their defaults and their bounds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments._checks import at_least_one, check_run, one_of, positive, require
from experiments._config import ADAPTIVE_INTEGRATORS, DATASETS, INTEGRATORS, SCHEDULES
from experiments._settings import LOG_DIR, record

# The learning rate of each: of SGD, which has no momentum, that of "Low-rank lottery
# tickets".
LEARNING_RATES = {"adam": 1e-3, "adamw": 1e-3, "sgd": 0.05}


@dataclass(frozen=True)
class Config:
    """The settings of one run; `None` where a subcommand has no such setting.

    Args:
        subcommand: Which of the runs.
        architecture: A name of `experiments.images.networks`.
        epochs: Number of epochs.
        ranks: Rank of every layer that is low-rank, at the start if it adapts; one
            for all, or one for each layer. A smaller kernel has its full rank.
        tolerance: Relative truncation tolerance.
        max_rank: Upper bound of adapted ranks.
        integrator: Name of the integrator.
        batch_size: Images in a step.
        optimizer: A key of `LEARNING_RATES`.
        learning_rate: Learning rate, at the start of its schedule. `None`: that of the
            optimizer in `LEARNING_RATES`.
        schedule: A name of `experiments._config.SCHEDULES`.
        dataset: A data set's name; the real name once the data are loaded.
        dataset_size: Share of the images to use.
        val_size: Number or share of the training images to validate with.
        seed: Seed of initial weights, split and order of the images.
        run_name: Name of the run's folder. Defaults to one made from the settings.
        log_dir: Folder of the runs.
        resume: Whether to continue a run.
        verbose: Keras's `verbose`. Defaults to what suits the terminal.
    """

    subcommand: str
    architecture: str = "lenet5"
    epochs: int = 40
    ranks: tuple[int, ...] | None = None
    tolerance: float | None = None
    max_rank: int | None = None
    integrator: str | None = "parallel_bug"
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float | None = None
    schedule: str = "cosine"
    dataset: str = "auto"
    dataset_size: float = 1.0
    # A sixth of MNIST's 60,000 training images are the usual 10,000.
    val_size: int | float = 1 / 6
    seed: int = 0
    run_name: str | None = None
    log_dir: Path = LOG_DIR
    resume: bool = False
    verbose: int | None = None

    @property
    def dense(self) -> bool:
        """Whether the network has no low-rank layers."""
        return self.subcommand == "dense-reference"

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
        return f"{kind}-{self.architecture}-{self.dataset}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        parts = [self.architecture, self.subcommand, self.dataset]
        if self.adaptive:
            parts.append(f"t{self.tolerance:g}")
        elif self.ranks is not None:
            parts.append("r" + "-".join(map(str, self.ranks)))
        return "-".join([*parts, f"seed{self.seed}"])

    def record(self) -> dict[str, Any]:
        """The settings that the log keeps."""
        ranks = None if self.ranks is None else ",".join(map(str, self.ranks))
        return {"experiment": "images"} | record(self) | {"ranks": ranks}


DEFAULTS = {
    config.subcommand: config
    for config in (
        Config("dense-reference", integrator=None),
        Config("fixed-rank", ranks=(20,)),
        Config("rank-adaptive", ranks=(100,), tolerance=0.15),
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
    values = vars(DEFAULTS[subcommand]) | given
    if values["learning_rate"] is None:
        values["learning_rate"] = LEARNING_RATES.get(values["optimizer"])
    config = Config(**values)
    _check(config)
    return config


def _check(config: Config) -> None:
    at_least_one(config, "epochs", "batch_size")
    if config.tolerance is not None:
        require(0 < config.tolerance < 1, config, "tolerance", "lie in (0, 1)")
    if config.max_rank is not None:
        require(config.max_rank >= 2, config, "max_rank", "be at least 2")
    one_of(config, "optimizer", LEARNING_RATES)
    positive(config, "learning_rate")
    require(0 < config.dataset_size <= 1, config, "dataset_size", "lie in (0, 1]")
    size = config.val_size
    require(
        size > 0 if isinstance(size, int) else 0 < size < 1,
        config,
        "val_size",
        "be a positive number of images or a share in (0, 1)",
    )
    check_run(config)
    one_of(config, "dataset", DATASETS)
    one_of(config, "schedule", SCHEDULES)
    if not config.dense:
        known = ADAPTIVE_INTEGRATORS if config.adaptive else INTEGRATORS
        one_of(config, "integrator", known)
