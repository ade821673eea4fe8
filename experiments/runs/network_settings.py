"""The settings that dense and low-rank networks of several experiments share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dlrt_names.data_sets import IMAGES
from experiments.cli.checks import at_least_one, one_of, option, positive, require
from experiments.cli.settings import Settings, list_integrators
from experiments.runs.checks import check_run
from experiments.runs.phases import Phase

SCHEDULES = ("constant", "cosine")


def list_datasets() -> tuple[str, ...]:
    """The names of the data sets whose images are of MNIST's size."""
    return IMAGES.of_shape((28, 28))


@dataclass(frozen=True)
class LowRankSettings(Settings):
    """The settings of networks whose layers may have low rank.

    Beside those of `Settings`:

    Args:
        epochs: Number of epochs, at most.
        tolerance: Relative truncation tolerance; `None` where ranks are fixed.
        max_rank: Upper bound of adapted ranks.
        integrator: Name of the integrator; `None` for dense networks.
    """

    epochs: int = 20
    tolerance: float | None = None
    max_rank: int | None = None
    integrator: str | None = "parallel_bug"

    @property
    def dense(self) -> bool:
        """Whether the network has no low-rank layers."""
        return self.subcommand in ("dense-reference", "reference")

    @property
    def adaptive(self) -> bool:
        """Whether ranks change."""
        return self.tolerance is not None

    @property
    def kind(self) -> str:
        """How ranks are chosen; the log has it as the name of the phase."""
        if self.dense:
            return "dense"
        return "adaptive" if self.adaptive else "fixed"

    @property
    def form(self) -> str:
        """The prefix of the names of workbooks."""
        return "dense" if self.dense else "low-rank"

    @property
    def phases(self) -> list[Phase]:
        """The phases of a run, in order."""
        return [Phase(self.kind, self.epochs, self.adaptive)]

    def name_run(self, *words: str, rank: object = None) -> str:
        """The name of a run: words, its tolerance or else its rank, and its seed."""
        parts = list(words)
        if self.adaptive:
            parts.append(f"t{self.tolerance:g}")
        elif rank is not None:
            parts.append(f"r{rank}")
        return "-".join([*parts, f"seed{self.seed}"])

    def check(self) -> None:
        """Raises `ValueError` if a setting is out of bounds."""
        at_least_one(self, "epochs")
        if self.tolerance is not None:
            require(0 < self.tolerance < 1, self, "tolerance", "lie in (0, 1)")
        check_run(self)
        if self.integrator is not None:
            one_of(self, "integrator", list_integrators(self.adaptive))


@dataclass(frozen=True)
class ImageSettings(LowRankSettings):
    """The settings of networks that classify.

    Beside those of `LowRankSettings`:

    Args:
        batch_size: Images in a step.
        learning_rate: Learning rate, at the start of its schedule.
        optimizer: Name of the optimizer.
        schedule: One of `SCHEDULES`.
        dataset: Name of a data set; the real one once the data are loaded.
        dataset_size: Share of the images to use.
        val_size: Number or share of the training images to validate with.
    """

    batch_size: int = 256
    learning_rate: float | None = 1e-3
    optimizer: str = "adam"
    schedule: str = "cosine"
    dataset: str = "auto"
    dataset_size: float = 1.0
    # A sixth of MNIST's 60,000 training images are the usual 10,000.
    val_size: int | float = 1 / 6

    def check(self) -> None:
        super().check()
        at_least_one(self, "batch_size")
        positive(self, "learning_rate")
        one_of(self, "schedule", SCHEDULES)
        require(0 < self.dataset_size <= 1, self, "dataset_size", "lie in (0, 1]")
        size = self.val_size
        require(
            size > 0 if isinstance(size, int) else 0 < size < 1,
            self,
            "val_size",
            "be a positive number of images or a share in (0, 1)",
        )


def not_negative(settings: Settings, *names: str) -> None:
    """Raises `ValueError` unless a setting is finite and at least 0."""
    for name in names:
        value = getattr(settings, name)
        valid = math.isfinite(value) and value >= 0
        require(valid, settings, name, "be a number that is not negative")


def check_ranks(settings: Settings, full: int, where: str, *names: str) -> None:
    """Raises `ValueError` if a rank, where it is given, is not one of a kernel.

    Args:
        settings: All settings.
        full: The full rank.
        where: What has this full rank, as the end of "the full rank".
        names: Names of the ranks.
    """
    for name in names:
        rank = getattr(settings, name)
        if rank is not None and not 1 <= rank <= full:
            raise ValueError(
                f"`{option(name)}` must lie between 1 and {full}, the full rank "
                f"{where}. Received: {option(name)} {rank}"
            )


def weights(kernels: Sequence[tuple[int, int]], rank: int | None) -> int:
    """The number of weights in kernels, as factors where these have fewer.

    Args:
        kernels: The shapes.
        rank: The rank, `None` if they are dense.
    """
    return sum(
        n * m if rank is None else min(n * m, rank * (n + m)) for n, m in kernels
    )


def weights_at_once(kernels: Sequence[tuple[int, int]], rank: int | None) -> int:
    """The number of weights that must fit into memory.

    Whatever the ranks, each dense kernel exists briefly: Keras reads every attribute of
    a layer that it saves.
    """
    return max(weights(kernels, rank), *(n * m for n, m in kernels))
