"""The settings that dense and low-rank networks of several experiments share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlrt_names.data_sets import IMAGES
from experiments.cli.checks import (
    EPOCHS,
    POSITIVE,
    SHARE,
    SHARE_OR_ALL,
    count,
    must,
    option,
)
from experiments.cli.options import setting
from experiments.cli.settings import Settings, list_integrators
from experiments.runs.checks import check_run
from experiments.runs.phases import Phase

SCHEDULES = ("constant", "cosine")


def list_datasets() -> tuple[str, ...]:
    """The names of the data sets whose images are of MNIST's size."""
    return IMAGES.of_shape((28, 28))


@dataclass(frozen=True)
class LowRankSettings(Settings):
    """The settings of networks whose layers may have low rank."""

    epochs: int = setting(20, "epochs, at most", "-e", rule=EPOCHS)
    tolerance: float | None = setting(
        None,
        "relative truncation tolerance: larger means smaller ranks",
        "-t",
        rule=SHARE,
    )
    max_rank: int | None = setting(
        None,
        "upper bound of the ranks",
        "-m",
        shown="full rank",
        where="tolerance",
        rule=count(2),
    )
    integrator: str | None = setting(
        "parallel_bug",
        "how factors are stepped",
        choices=lambda settings: list_integrators(settings.adaptive),
    )

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
        super().check()
        check_run(self)


def setting_of_small_images() -> Any:
    """The setting that names one of the data sets of 28x28."""
    return setting(
        "auto",
        "data set; auto is mnist where it can be had, else digits",
        choices=lambda _: list_datasets(),
    )


def read_size(text: str) -> int | float:
    """A number of images or a share of them."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(
        f"must be a number of images or a share in (0, 1). Received: {text}"
    )


@dataclass(frozen=True)
class ImageSettings(LowRankSettings):
    """The settings of networks that classify."""

    batch_size: int = setting(256, "images in a step", rule=count())
    learning_rate: float | None = setting(
        1e-3, "learning rate, at the start of its schedule", rule=POSITIVE
    )
    optimizer: str = "adam"
    schedule: str = setting(
        "cosine",
        "learning rate over the epochs: constant, or a cosine down to 0",
        choices=SCHEDULES,
    )
    # The real name once the data are loaded.
    dataset: str = setting_of_small_images()
    dataset_size: float = setting(1.0, "share of images to use", rule=SHARE_OR_ALL)
    # A sixth of MNIST's 60,000 training images are the usual 10,000.
    val_size: int | float = setting(
        1 / 6,
        "number or share of the training images to validate with",
        shown="a sixth, 10000 for mnist",
        rule=must(
            lambda size: size > 0 if isinstance(size, int) else 0 < size < 1,
            "be a positive number of images or a share in (0, 1)",
        ),
        type=read_size,
    )


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
