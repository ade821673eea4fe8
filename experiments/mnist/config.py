"""The settings of MNIST runs: their options, defaults and bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.cli import options
from experiments.cli.checks import (
    EPOCHS,
    NOT_NEGATIVE,
    SHARE_OR_NONE,
    count,
    few_weights,
    require,
)
from experiments.cli.command import Parser
from experiments.cli.options import setting
from experiments.runs.network_settings import (
    ImageSettings,
    check_ranks,
    weights_at_once,
)
from experiments.runs.phases import Phase

NUM_INPUTS = 28 * 28
NUM_HIDDEN = 4

_DESCRIPTIONS = {
    "dense-reference": "Trains the dense network that the others are compared with.",
    "fixed-rank": "Trains a low-rank network at one fixed rank.",
    "rank-adaptive": "Trains a low-rank network that finds its own ranks.",
    "fine-tune": (
        "Trains with adaptive ranks until they settle, then goes on at those ranks."
    ),
    "train-from-prune": (
        "Prunes a dense network by SVD, then retrains it at a fixed rank. Without "
        "--load-model it takes the newest finished dense-reference run with the same "
        "data and width, or trains one first."
    ),
}


@dataclass(frozen=True)
class Config(ImageSettings):
    """The settings of one run; `None` where a subcommand has no such setting."""

    epochs: int = setting(
        20, "epochs; of fine-tune the adaptive ones, at most", "-e", rule=EPOCHS
    )
    # `None`: the ranks of the loaded low-rank network.
    start_rank: int | None = setting(
        None,
        "rank of the hidden layers, at the start if it adapts; by default at most full "
        "rank, and with a low-rank --load-model its ranks",
        "-s",
    )
    candidates: int = setting(
        0,
        "directions that a truncation keeps beyond those that the tolerance asks for, "
        "so that ranks grow as well; 2 is a good choice",
        where="tolerance",
        rule=count(0),
    )
    fine_tune_epochs: int | None = setting(
        None,
        "epochs at fixed rank after those, by default at most as many",
        rule=EPOCHS,
    )
    patience_ranks: int | None = setting(
        None, "ranks have settled after so many epochs without a change", rule=count()
    )
    load_model: Path | None = setting(
        None,
        "weights to start from: a .keras file, or of a dense network the .weights.h5 "
        "or a folder of w<i>.npy, b<i>.npy, w_out.npy, b_out.npy",
        "-l",
        shown="none",
    )
    train: bool = setting(True, "0: only evaluate and log what was loaded", "-a")
    dim_layer: int = setting(500, "width of the hidden layers", "-d", rule=count())
    optimizer: str = setting(
        "adam",
        "optimizer; sgd has momentum 0.9",
        choices=("adam", "adamw", "nadam", "rmsprop", "sgd"),
    )
    noise: float = setting(
        0.0,
        "share of the training labels to replace by random ones",
        rule=SHARE_OR_NONE,
    )
    regularizer: str = setting(
        "none",
        "penalty on the kernels of the hidden layers; in low-rank layers l1 acts on "
        "the singular values; full is l2 on all weights",
        choices=("none", "l1", "l2", "l1l2", "full"),
    )
    regularizer_amount: float = setting(
        1e-4, "factor of the penalty", rule=NOT_NEGATIVE
    )

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
        return f"{self.form}-{NUM_HIDDEN}x{self.dim_layer}-{self.dataset}"

    @property
    def base_name(self) -> str:
        words = self.subcommand, self.dataset, f"d{self.dim_layer}"
        return self.name_run(*words, rank=self.start_rank)

    @property
    def phases(self) -> list[Phase]:
        (phase,) = super().phases
        phase = replace(phase, candidates=self.candidates)
        if self.fine_tune_epochs is None:
            return [phase]
        adaptive = replace(phase, name="adaptive", last=False)
        return [adaptive, Phase("fixed", self.fine_tune_epochs)]

    def check(self) -> None:
        super().check()
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


def parse(arguments: Sequence[str]) -> Config:
    """Parses the command line into settings."""
    parser = Parser(
        prog="python -m experiments.mnist_dense",
        description="Trains networks of four hidden layers on MNIST and its like.",
    )
    return options.parse_subcommand(arguments, parser, _DESCRIPTIONS, resolve, DEFAULTS)


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
    needed = weights_at_once(config.kernels, None if dense else rank)
    few_weights(config, needed, "dim_layer")
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
