"""The settings of compression runs: their options, defaults and bounds."""

import argparse
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrt_names.compression import ALLOCATIONS, METHODS, STRUCTURES
from experiments.cli import options
from experiments.cli.checks import (
    EPOCHS,
    NOT_NEGATIVE,
    SHARE,
    SHARE_OR_ALL,
    count,
    must,
    one_of,
    require,
)
from experiments.cli.command import Parser
from experiments.cli.options import setting
from experiments.images import budgets
from experiments.images.budgets import PRESETS
from experiments.images.config import (
    IMAGES_HELP,
    LANGUAGE_MODELS,
    NETWORKS,
    Config,
    add_training_defaults,
)

SUBCOMMAND = "compress"

HOYER, CP = "hoyer", "cp"
_ADAPTIVE = ("tolerance", "integrator")
_HOYER_SETTINGS = ("svd_epochs", "sparsity", "orthogonality")
# Only the method "dlrt" makes low-rank layers.
SCHEMES = tuple(name for name in STRUCTURES if name != "manifold")
SENSITIVITY = "sensitivity"

_DEFAULT_BUDGET = ("ratio", PRESETS["medium"])
# Embeddings, two fifths of a language model, are not compressed.
_LANGUAGE_MODEL_BUDGET = ("ratio", 1.5)
# A trained network needs smaller steps than a new one.
_FINE_TUNING_SHARE = 0.1


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


@dataclass(frozen=True)
class SVDTrainingConfig(Config):
    """The settings of training a network as singular vectors and values.

    Args:
        scheme: How kernels are folded, see `dlrt.decompose`, as the next two.
        sparsity: Factor of the regularizer of singular values.
        orthogonality: Factor of that of singular vectors.
    """

    scheme: str = "pointwise"
    sparsity: float = 0.1
    orthogonality: float = 1.0
    kind = "decomposed"

    @property
    def network(self) -> str:
        return f"svd-{self.scheme}-{self.trained}"

    @property
    def base_name(self) -> str:
        return f"{self.network}-h{self.sparsity:g}-seed{self.seed}"


@dataclass(frozen=True)
class CompressionConfig(Config):
    """The settings of one compression, see `dlrt.compress`, and of the training after.

    Args:
        budget: The budget, `(key, amount)`.
    """

    architecture: str = setting("lenet5", "the network", "-n", choices=tuple(NETWORKS))
    method: str = setting("alds", "how it is made smaller", choices=tuple(METHODS))
    budget: tuple[str, Any] = _DEFAULT_BUDGET
    scheme: str | None = setting(
        None,
        "what kernels are decomposed into",
        shown="that of the method",
        choices=SCHEMES,
    )
    allocation: str | None = setting(
        None,
        "which layer gets which rank",
        shown="that of the method",
        choices=tuple(ALLOCATIONS),
    )
    layers: str | None = setting(
        None,
        "regular expression for the names of the layers that may be made smaller, "
        "matched in full, as 'conv.*'",
        shown="all that can be",
        rule=must(_is_pattern, "be a regular expression"),
        metavar="PATTERN",
    )
    train: bool = setting(
        False, "train the smaller network on, for --epochs", shown="no"
    )
    test: bool = setting(
        False, "measure speed, and accuracy under attack or perplexity", shown="no"
    )
    # `None` for language models, which are not attacked.
    attack: float | None = setting(
        0.1, "largest change of a pixel in the attack of --test", rule=SHARE_OR_ALL
    )
    transfer: str | None = setting(
        None,
        "data set to train the smaller network on, with a new last layer",
        shown="--dataset",
        metavar="NAME|DIR",
    )
    load_model: Path | None = setting(
        None,
        "the trained dense network, a .keras file",
        "-l",
        shown="the newest finished run of the network, trained if there is none",
    )
    dense_epochs: int | None = setting(
        None,
        "epochs of the dense network, if it is trained",
        shown="those of the network",
        rule=EPOCHS,
    )
    tolerance: float | None = setting(
        None,
        "of --method dlrt: truncation tolerance, from which ranks follow within the "
        "budget",
        "-t",
        shown="the ranks of the budget stay",
        rule=SHARE,
    )
    svd_epochs: int = setting(
        10,
        "of --method hoyer: epochs of training singular vectors and values, before the "
        "network is made smaller",
        rule=EPOCHS,
    )
    sparsity: float = setting(
        0.1,
        "of --method hoyer: factor of the regularizer of singular values",
        rule=NOT_NEGATIVE,
    )
    orthogonality: float = setting(
        1.0, "of --method hoyer: factor of that of singular vectors", rule=NOT_NEGATIVE
    )
    batch_size: int = setting(
        128,
        "images in a step",
        shown=f"128, of lstm {NETWORKS['lstm']['batch_size']}",
        rule=count(),
    )
    dataset: str = setting(
        "auto",
        f"{IMAGES_HELP}; of lstm, a text: pt_en, ted, phrases, a file, or a folder "
        "with train.txt, validation.txt and test.txt; auto is pt_en where it can be "
        "had, else phrases",
        metavar="NAME|DIR",
    )
    vocabulary: int | None = setting(
        None,
        "of lstm: words to know, the most frequent ones of the text",
        shown=str(NETWORKS["lstm"]["vocabulary"]),
        rule=count(),
    )
    kind = "fine-tuned"

    @property
    def base_name(self) -> str:
        key, amount = self.budget
        what = f"{key}{amount:g}" if key != "ranks" else key
        scheme = [] if self.scheme is None else [self.scheme]
        seed = f"seed{self.seed}"
        return "-".join([self.network, SUBCOMMAND, self.method, *scheme, what, seed])

    def record(self) -> dict[str, Any]:
        key, amount = self.budget
        return super().record() | {
            "experiment": "compression",
            "budget": f"{key} {amount}",
        }

    def check(self) -> None:
        super().check()
        if self.method == HOYER and self.scheme is not None:
            one_of(self, "scheme", ("pointwise", "separable"))
        decomposition = self.scheme or self.method
        if decomposition == CP and importlib.util.find_spec("tensorly") is None:
            # Checked before the dense network is trained, not after.
            raise ValueError(
                "CP decompositions need the extra `cp`: pip install -e .[cp]"
            )
        if self.layers is not None:
            named = self.budget[0] == "ranks"
            allowed = "be left out with --ranks, which name them"
            require(not named, self, "layers", allowed)
        if self.reads_text:
            self.leave_out("attack", "transfer")
        if self.method != "dlrt":
            self._require_unset("be left out without --method dlrt", *_ADAPTIVE)
        else:
            self._require_unset("be left out with --method dlrt", "scheme")
        if not self.train:
            self._require_unset("come with --train", "tolerance", "transfer")

    def _require_unset(self, allowed: str, *names: str) -> None:
        for name in names:
            require(getattr(self, name) is None, self, name, allowed)

    def dense_run(self) -> Config:
        """The settings of the run that trains the dense network."""
        given = self._shared
        if self.dense_epochs is not None:
            given["epochs"] = self.dense_epochs
        defaults = vars(Config("dense-reference", integrator=None))
        return Config(**add_training_defaults(defaults, given))

    def svd_run(self) -> SVDTrainingConfig:
        """The settings of the run that trains singular vectors and values."""
        alike = ("optimizer", "learning_rate", "momentum", "schedule", "sparsity")
        given = {name: getattr(self, name) for name in (*alike, "orthogonality")}
        return SVDTrainingConfig(
            "svd-training",
            epochs=self.svd_epochs,
            scheme=self.scheme or "pointwise",
            integrator=None,
            **given,
            **self._shared,
        )

    @property
    def _shared(self) -> dict[str, Any]:
        """The settings that all runs of one compression have in common."""
        names = (
            *("architecture", "batch_size", "vocabulary", "augment", "dataset"),
            *("image_size", "dataset_size", "val_size", "seed", "log_dir", "verbose"),
        )
        return {name: getattr(self, name) for name in names}


DEFAULTS = CompressionConfig(SUBCOMMAND, epochs=10, integrator=None)


def parse(arguments: Sequence[str], prog: str) -> CompressionConfig:
    """Parses the command line of a program with some name into settings."""
    parser = Parser(
        prog=prog,
        description="Makes a trained network smaller by a low-rank method.",
        argument_default=argparse.SUPPRESS,
    )
    return options.parse(arguments, parser, resolve, budgets.Budget(), DEFAULTS)


def resolve(given: dict[str, Any]) -> CompressionConfig:
    """Fills the given settings up with the defaults.

    Args:
        given: The settings that override defaults, and the `budgets.Budget`, by name.

    Raises:
        ValueError: If a setting is out of bounds.
    """
    given = dict(given)
    reads_text = given.get("architecture") in LANGUAGE_MODELS
    budget = budgets.take(given) or (
        _LANGUAGE_MODEL_BUDGET if reads_text else _DEFAULT_BUDGET
    )
    alike = add_training_defaults(vars(DEFAULTS), given)
    values = vars(DEFAULTS) | given | {"budget": budget}
    values |= {name: alike[name] for name in ("batch_size", "vocabulary")}
    if reads_text:
        values["attack"] = given.get("attack")
    if "learning_rate" not in given:
        values |= {
            name: given.get(name, alike[name]) for name in ("optimizer", "momentum")
        }
        values["learning_rate"] = _FINE_TUNING_SHARE * alike["learning_rate"]
    if values["method"] == "dlrt":
        values["integrator"] = given.get("integrator", "parallel_bug")
    config = CompressionConfig(**values)
    config.check()
    if reads_text:
        ignored = "val_size" in given
        require(not ignored, config, "val_size", "be left out with -n lstm")
    config.check_momentum(given)
    for option_of, used, names in (
        ("--method hoyer", config.method == HOYER, _HOYER_SETTINGS),
        ("--test", config.test, ("attack",)),
    ):
        for name in names:
            allowed = used or name not in given
            require(allowed, config, name, f"come with `{option_of}`")
    if config.load_model is not None:
        return replace(config, load_model=config.load_model.expanduser().absolute())
    return config
