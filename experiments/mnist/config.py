"""The settings of MNIST runs, their defaults and their bounds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.checks import at_least_one, few_weights, one_of, require
from experiments.runs.network_settings import (
    ImageSettings,
    check_ranks,
    list_datasets,
    not_negative,
    weights_at_once,
)
from experiments.runs.phases import Phase

NUM_INPUTS = 28 * 28
NUM_HIDDEN = 4

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd")
REGULARIZERS = ("none", "l1", "l2", "l1l2", "full")


@dataclass(frozen=True)
class Config(ImageSettings):
    """The settings of one run; `None` where a subcommand has no such setting.

    Beside those of `ImageSettings`, whose `epochs` are those of the adaptive phase, at
    most, when fine-tuning:

    Args:
        start_rank: Rank of the hidden layers at the start. `None` with `load_model`:
            the ranks of the loaded low-rank network.
        fine_tune_epochs: Number of epochs at fixed rank after the adaptive phase.
        patience_ranks: Epochs that ranks must stay the same to count as settled.
        load_model: File or folder to take weights from.
        train: Whether to train, or only to evaluate what was loaded.
        dim_layer: Width of the hidden layers.
        noise: Share of the training labels to replace by random ones.
        regularizer: One of `REGULARIZERS`, for the kernels of the hidden layers;
            `"full"` is L2 on all weights, those of the output and biases too.
        regularizer_amount: Its factor.
    """

    start_rank: int | None = None
    fine_tune_epochs: int | None = None
    patience_ranks: int | None = None
    load_model: Path | None = None
    train: bool = True
    dim_layer: int = 500
    noise: float = 0.0
    regularizer: str = "none"
    regularizer_amount: float = 1e-4

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
    def prunes(self) -> bool:
        """Whether the network is made from a dense one, by pruning."""
        return self.subcommand == "train-from-prune"

    @property
    def network(self) -> str:
        """What is trained on which data; the workbook has this name."""
        return f"{self.form}-{NUM_HIDDEN}x{self.dim_layer}-{self.dataset}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        words = self.subcommand, self.dataset, f"d{self.dim_layer}"
        return self.name_run(*words, rank=self.start_rank)

    @property
    def phases(self) -> list[Phase]:
        if self.fine_tune_epochs is None:
            return super().phases
        adaptive = Phase("adaptive", self.epochs, adaptive=True, last=False)
        return [adaptive, Phase("fixed", self.fine_tune_epochs)]

    def check(self) -> None:
        super().check()
        at_least_one(self, "fine_tune_epochs", "patience_ranks", "dim_layer")
        one_of(self, "dataset", list_datasets())
        one_of(self, "optimizer", OPTIMIZERS)
        one_of(self, "regularizer", REGULARIZERS)
        require(0 <= self.noise < 1, self, "noise", "lie in [0, 1)")
        not_negative(self, "regularizer_amount")
        if not self.train and self.load_model is None:
            allowed = "be 1 where `--load-model` names nothing to evaluate"
            require(self.prunes, self, "train", allowed)


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


def resolve(subcommand: str, given: dict[str, Any]) -> Config:
    """Fills the given settings up with the defaults of a subcommand.

    Args:
        subcommand: A key of `DEFAULTS`.
        given: The settings that are not left to the defaults, by name.

    Raises:
        ValueError: If a setting is out of bounds.
    """
    values = vars(DEFAULTS[subcommand]) | given
    config = Config(**values)
    config.check()
    penalised = config.regularizer != "none" or "regularizer_amount" not in given
    require(penalised, config, "regularizer_amount", "come with `--regularizer`")
    if "start_rank" not in given and config.start_rank is not None:
        if config.load_model is not None and not config.prunes:
            values["start_rank"] = None
        else:
            # The default suits the default width; a narrow layer can't have this rank.
            bound = config.max_rank or config.full_rank
            values["start_rank"] = min(config.start_rank, config.full_rank, bound)
    if "fine_tune_epochs" not in given and config.fine_tune_epochs is not None:
        values["fine_tune_epochs"] = min(config.fine_tune_epochs, config.epochs)
    if config.load_model is not None:
        values["load_model"] = config.load_model.expanduser().absolute()
    config = Config(**values)
    _check_ranks(config)
    # A rank that adapts may be that of the network that is loaded, or grow.
    dense = config.dense or config.prunes
    most = config.max_rank or config.full_rank
    rank = most if config.tolerance else config.start_rank or most
    count = weights_at_once(config.kernels, None if dense else rank)
    few_weights(config, count, "dim_layer")
    return config


def default_start_rank(config: Config) -> int:
    """The rank for a loaded network that is dense, where none was given."""
    default = config.start_rank or DEFAULTS[config.subcommand].start_rank or 1
    return min(default, config.full_rank, config.max_rank or config.full_rank)


def _check_ranks(config: Config) -> None:
    where = f"of a hidden layer with `--dim-layer {config.dim_layer}`"
    check_ranks(config, config.full_rank, where, "start_rank", "max_rank")
    if config.max_rank is None:
        return
    if config.max_rank < max(2, config.start_rank or 2):
        raise ValueError(
            "`--max-rank` must be at least 2 and at least `--start-rank`. Received: "
            f"--max-rank {config.max_rank}, --start-rank {config.start_rank}"
        )
