"""What an MNIST run can be told: settings, their defaults and their bounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrt_names.data_sets import IMAGES
from experiments.cli.checks import (
    at_least_one,
    few_weights,
    one_of,
    option,
    positive,
    require,
)
from experiments.cli.settings import Settings, list_integrators
from experiments.runs import truncation
from experiments.runs.checks import check_run

NUM_INPUTS = 28 * 28
NUM_HIDDEN = 4

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine")
REGULARIZERS = ("none", "l1", "l2", "l1l2", "full")


def list_datasets() -> tuple[str, ...]:
    """The names of the data sets whose images are of MNIST's size."""
    return IMAGES.of_shape((28, 28))


@dataclass(frozen=True)
class Config(Settings):
    """The settings of one run; `None` where a subcommand has no such setting.

    Beside those of `Settings`:

    Args:
        epochs: Number of epochs; of the adaptive phase, at most, when fine-tuning.
        start_rank: Rank of the hidden layers at the start. `None` with `load_model`:
            the ranks of the loaded low-rank network.
        tolerance: Relative truncation tolerance.
        max_rank: Upper bound of adapted ranks.
        integrator: Name of the integrator.
        fine_tune_epochs: Number of epochs at fixed rank after the adaptive phase.
        patience_ranks: Epochs that ranks must stay the same to count as settled.
        load_model: File or folder to take weights from.
        train: Whether to train, or only to evaluate what was loaded.
        dim_layer: Width of the hidden layers.
        batch_size: Images in a step.
        learning_rate: Learning rate, at the start of its schedule.
        optimizer: One of `OPTIMIZERS`.
        schedule: One of `SCHEDULES`.
        dataset: A name from `list_datasets`; the real name once the data are loaded.
        dataset_size: Share of the images to use.
        noise: Share of the training labels to replace by random ones.
        regularizer: One of `REGULARIZERS`, for the kernels of the hidden layers;
            `"full"` is L2 on all weights, those of the output and biases too.
        regularizer_amount: Its factor.
        val_size: Number or share of the training images to validate with.
    """

    epochs: int = 20
    start_rank: int | None = None
    tolerance: float | None = None
    max_rank: int | None = None
    integrator: str | None = "parallel_bug"
    fine_tune_epochs: int | None = None
    patience_ranks: int | None = None
    load_model: Path | None = None
    train: bool = True
    dim_layer: int = 500
    batch_size: int = 256
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    schedule: str = "cosine"
    dataset: str = "auto"
    dataset_size: float = 1.0
    noise: float = 0.0
    regularizer: str = "none"
    regularizer_amount: float = 1e-4
    # A sixth of MNIST's 60,000 training images are the usual 10,000.
    val_size: int | float = 1 / 6

    @property
    def full_rank(self) -> int:
        """The largest rank that every hidden layer can have."""
        return min(NUM_INPUTS, self.dim_layer)

    @property
    def kernels(self) -> list[tuple[int, int]]:
        """The shapes of the hidden layers' kernels."""
        width = self.dim_layer
        return [(NUM_INPUTS, width), *[(width, width)] * (NUM_HIDDEN - 1)]

    @property
    def dense(self) -> bool:
        """Whether the network has no low-rank layers."""
        return self.subcommand == "dense-reference"

    @property
    def network(self) -> str:
        """What is trained on what; the workbook has this name."""
        kind = "dense" if self.dense else "low-rank"
        return f"{kind}-{NUM_HIDDEN}x{self.dim_layer}-{self.dataset}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        parts = [self.subcommand, self.dataset, f"d{self.dim_layer}"]
        if self.tolerance is not None:
            parts.append(f"t{self.tolerance:g}")
        elif self.start_rank is not None:
            parts.append(f"r{self.start_rank}")
        return "-".join([*parts, f"seed{self.seed}"])


DEFAULTS = {
    config.subcommand: config
    for config in (
        Config("dense-reference", epochs=20, integrator=None),
        Config("fixed-rank", epochs=20, start_rank=20),
        Config("rank-adaptive", epochs=25, start_rank=100, tolerance=0.2),
        Config(
            "fine-tune",
            epochs=25,
            start_rank=100,
            tolerance=0.1,
            fine_tune_epochs=20,
            patience_ranks=3,
        ),
        Config("train-from-prune", epochs=20, start_rank=20),
    )
}


def weights(kernels: Sequence[tuple[int, int]], rank: int | None) -> int:
    """Number of the weights in kernels, each with factors of a rank if these are fewer.

    Args:
        kernels: The shapes.
        rank: The rank, `None` if they are dense.
    """
    return sum(
        n * m if rank is None else min(n * m, rank * (n + m)) for n, m in kernels
    )


def weights_at_once(kernels: Sequence[tuple[int, int]], rank: int | None) -> int:
    """Number of the weights that there must be memory for.

    Whatever the ranks are, each dense kernel is made for a moment: Keras reads every
    attribute of a layer that it saves.
    """
    return max(weights(kernels, rank), *(n * m for n, m in kernels))


def truncation_schedule(config: Config, steps_per_epoch: int) -> dict[str, int | None]:
    """When the adaptive phase of a run truncates: arguments of `LowRank`."""
    stops = config.fine_tune_epochs is None
    return truncation.schedule(config.epochs, steps_per_epoch, stops)


def selection_start(config: Config, steps_per_epoch: int) -> int:
    """The first epoch of the last phase whose model may be selected as the best."""
    if config.tolerance is None or config.fine_tune_epochs is not None:
        return 1
    return truncation.first_selected_epoch(config.epochs, steps_per_epoch)


def resolve(subcommand: str, given: dict[str, Any]) -> Config:
    """Fills the given settings up with the defaults of a subcommand.

    Args:
        subcommand: A key of `DEFAULTS`.
        given: The settings that are not left to the defaults, by name.

    Raises:
        ValueError: If a setting is outside of its bounds.
    """
    values = vars(DEFAULTS[subcommand]) | given
    config = Config(**values)
    _check(config)
    penalised = config.regularizer != "none" or "regularizer_amount" not in given
    require(penalised, config, "regularizer_amount", "come with `--regularizer`")
    if "start_rank" not in given and config.start_rank is not None:
        if config.load_model is not None and subcommand != "train-from-prune":
            values["start_rank"] = None
        else:
            # The default suits the default width; a narrow layer has no such rank.
            bound = config.max_rank or config.full_rank
            values["start_rank"] = min(config.start_rank, config.full_rank, bound)
    if "fine_tune_epochs" not in given and config.fine_tune_epochs is not None:
        values["fine_tune_epochs"] = min(config.fine_tune_epochs, config.epochs)
    if config.load_model is not None:
        values["load_model"] = config.load_model.expanduser().absolute()
    config = Config(**values)
    _check_ranks(config)
    # A rank that adapts may be that of the network that is loaded, or grow.
    dense = config.dense or subcommand == "train-from-prune"
    most = config.max_rank or config.full_rank
    rank = most if config.tolerance else config.start_rank or most
    count = weights_at_once(config.kernels, None if dense else rank)
    few_weights(config, count, "dim_layer")
    return config


def default_start_rank(config: Config) -> int:
    """The rank for a loaded network that is dense, where none was given."""
    default = config.start_rank or DEFAULTS[config.subcommand].start_rank or 1
    return min(default, config.full_rank, config.max_rank or config.full_rank)


def _check(config: Config) -> None:
    at_least_one(
        config,
        "epochs",
        "fine_tune_epochs",
        "patience_ranks",
        "dim_layer",
        "batch_size",
    )
    require(
        config.tolerance is None or 0 < config.tolerance < 1,
        config,
        "tolerance",
        "lie in (0, 1)",
    )
    positive(config, "learning_rate")
    require(0 < config.dataset_size <= 1, config, "dataset_size", "lie in (0, 1]")
    require(0 <= config.noise < 1, config, "noise", "lie in [0, 1)")
    amount = config.regularizer_amount
    require(
        math.isfinite(amount) and amount >= 0,
        config,
        "regularizer_amount",
        "be a number that is not negative",
    )
    size = config.val_size
    require(
        size > 0 if isinstance(size, int) else 0 < size < 1,
        config,
        "val_size",
        "be a positive number of images or a share in (0, 1)",
    )
    check_run(config)
    one_of(config, "dataset", list_datasets())
    one_of(config, "optimizer", OPTIMIZERS)
    one_of(config, "schedule", SCHEDULES)
    one_of(config, "regularizer", REGULARIZERS)
    if not config.dense:
        adaptive = config.tolerance is not None
        one_of(config, "integrator", list_integrators(adaptive))
    if not config.train and config.load_model is None:
        require(
            config.subcommand == "train-from-prune",
            config,
            "train",
            "be 1 where `--load-model` names nothing to evaluate",
        )


def _check_ranks(config: Config) -> None:
    limit = config.full_rank
    for name in ("start_rank", "max_rank"):
        rank = getattr(config, name)
        if rank is not None and not 1 <= rank <= limit:
            raise ValueError(
                f"`{option(name)}` must lie between 1 and {limit}, the full rank of "
                f"a hidden layer with `--dim-layer {config.dim_layer}`. "
                f"Received: {option(name)} {rank}"
            )
    if config.max_rank is None:
        return
    if config.max_rank < max(2, config.start_rank or 2):
        raise ValueError(
            "`--max-rank` must be at least 2 and at least `--start-rank`. Received: "
            f"--max-rank {config.max_rank}, --start-rank {config.start_rank}"
        )
