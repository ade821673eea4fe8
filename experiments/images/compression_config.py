"""The settings of compression runs, their defaults and their bounds."""

import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrt_names.compression import ALLOCATIONS as ALLOCATIONS
from dlrt_names.compression import METHODS as _METHODS
from dlrt_names.compression import STRUCTURES
from experiments.cli.checks import at_least_one, one_of, option, require
from experiments.images.config import LANGUAGE_MODELS, Config, add_training_defaults
from experiments.runs.network_settings import not_negative

SUBCOMMAND = "compress"

HOYER, CP = "hoyer", "cp"
_ADAPTIVE = ("tolerance", "integrator")
_HOYER_SETTINGS = ("svd_epochs", "sparsity", "orthogonality")
METHODS = tuple(_METHODS)
# Only the method "dlrt" makes low-rank layers.
SCHEMES = tuple(name for name in STRUCTURES if name != "manifold")
SENSITIVITY = "sensitivity"
BUDGETS = ("ratio", "parameters", "flops", "error", "ranks")
# How many times fewer parameters.
PRESETS = {"light": 2.0, "medium": 4.0, "strong": 8.0}

_DEFAULT_BUDGET = ("ratio", PRESETS["medium"])
# Embeddings, two fifths of a language model, are not compressed.
_LANGUAGE_MODEL_BUDGET = ("ratio", 1.5)
_ATTACK = 0.1
# A trained network needs smaller steps than a new one.
_FINE_TUNING_SHARE = 0.1


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
        """What is trained on which data; the workbook has this name."""
        return f"svd-{self.scheme}-{self.trained}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        return f"{self.network}-h{self.sparsity:g}-seed{self.seed}"


@dataclass(frozen=True)
class CompressionConfig(Config):
    """The settings of one compression and of the training after it.

    Args:
        method: Name of the method, see `dlrt.compress`.
        budget: Its budget, `(key, amount)`.
        scheme: What kernels are decomposed into; `None`: that of the method.
        allocation: Which layer gets which rank; `None`: that of the method.
        layers: Which layers may be made smaller, see `dlrt.compress`; `None`: all that
            can be.
        train: Whether to fine-tune the compressed network, for `epochs`.
        test: Whether to measure latency and accuracy under attack at the end.
        attack: Largest change of a pixel in the attack; `None`: there is none, as of
            language models.
        transfer: Data set to fine-tune on; `None`: that of the dense network.
        load_model: The trained dense network; `None`: the newest finished run of it in
            `log_dir`, trained first if there is none.
        dense_epochs: Epochs of training it; `None`: those of `NETWORKS`.
        svd_epochs: Of "hoyer": epochs of training singular vectors and values, before
            the network is made smaller.
        sparsity: Of "hoyer": factor of the regularizer of singular values.
        orthogonality: Of "hoyer": factor of that of singular vectors.
    """

    method: str = "alds"
    budget: tuple[str, Any] = _DEFAULT_BUDGET
    scheme: str | None = None
    allocation: str | None = None
    layers: str | None = None
    train: bool = False
    test: bool = False
    attack: float | None = _ATTACK
    transfer: str | None = None
    load_model: Path | None = None
    dense_epochs: int | None = None
    svd_epochs: int = 10
    sparsity: float = 0.1
    orthogonality: float = 1.0
    kind = "fine-tuned"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        key, amount = self.budget
        what = f"{key}{amount:g}" if key != "ranks" else key
        scheme = [] if self.scheme is None else [self.scheme]
        seed = f"seed{self.seed}"
        return "-".join([self.network, SUBCOMMAND, self.method, *scheme, what, seed])

    def record(self) -> dict[str, Any]:
        """The settings that the log keeps."""
        key, amount = self.budget
        return super().record() | {
            "experiment": "compression",
            "budget": f"{key} {amount}",
        }

    def check(self) -> None:
        super().check()
        at_least_one(self, "dense_epochs", "svd_epochs")
        not_negative(self, "sparsity", "orthogonality")
        if self.method == HOYER and self.scheme is not None:
            one_of(self, "scheme", ("pointwise", "separable"))
        one_of(self, "method", METHODS)
        decomposition = self.scheme or self.method
        if decomposition == CP and importlib.util.find_spec("tensorly") is None:
            # Checked before the dense network is trained, not after.
            raise ValueError(
                "CP decompositions need the extra `cp`: pip install -e .[cp]"
            )
        if self.layers is not None:
            pattern = _is_pattern(self.layers)
            require(pattern, self, "layers", "be a regular expression")
            named = self.budget[0] == "ranks"
            allowed = "be left out with --ranks, which name them"
            require(not named, self, "layers", allowed)
        if self.reads_text:
            self.leave_out("attack", "transfer")
        else:
            valid = self.attack is not None and 0 < self.attack <= 1
            require(valid, self, "attack", "lie in (0, 1]")
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


def resolve(given: dict[str, Any]) -> CompressionConfig:
    """Fills the given settings up with the defaults.

    Args:
        given: The settings that override defaults, by name; keys of `BUDGETS` and
            `preset` set the budget.

    Raises:
        ValueError: If a setting is out of bounds.
    """
    given = dict(given)
    reads_text = given.get("architecture") in LANGUAGE_MODELS
    budget = _budget(given) or (
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


def _budget(given: dict[str, Any]) -> tuple[str, Any] | None:
    """Takes the budget, if there is one, out of the given settings."""
    found = {
        name: given.pop(name)
        for name in ("preset", *BUDGETS)
        if given.get(name) is not None
    }
    if len(found) > 1:
        raise ValueError(
            "At most one of `--preset` and of the budgets "
            f"{', '.join(map(option, BUDGETS))} may be given. Received: "
            f"{' '.join(map(option, found))}"
        )
    if not found:
        return None
    ((name, amount),) = found.items()
    return ("ratio", PRESETS[amount]) if name == "preset" else (name, amount)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True
