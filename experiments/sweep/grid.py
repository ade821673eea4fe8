"""The grid of a sweep: its settings, and the networks that they stand for."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from experiments.mnist.config import DEFAULTS, NUM_INPUTS, Config, resolve, weights
from experiments.runs import names
from experiments.runs.names import Name

METHODS = ("reference", "dlrt", "adaptive")
_SUBCOMMANDS = {
    "reference": "dense-reference",
    "dlrt": "fixed-rank",
    "adaptive": "rank-adaptive",
}
# Of MNIST, without the sixth to validate with.
_TRAIN_IMAGES = 50_000
# Of what has several values: what dense and low-rank networks have in common.
_SHARED = "epochs", "batch_size", "learning_rate", "optimizer", "dataset_size", "noise"
# The names of tests have words for no others.
OPTIMIZERS = ("adam", "sgd")
REGULARIZERS = ("none", *names.REGULARIZERS)

MOST_CELLS = 100_000
# The options of single runs that have another name here.
_OPTIONS = {"--dim-layer": "--dims", "--seed": "--runs", "--tolerance": "--tolerances"}


@dataclass(frozen=True)
class Grid:
    """A sweep; every combination of what has several values is trained.

    Args:
        methods: Some of `METHODS`: dense, at fixed ranks, at adaptive ranks.
        runs: Numbers of the repetitions, which are their seeds.
        dims: Widths of the hidden layers.
        ranks: Ranks of `"dlrt"`.
        tolerances: Tolerances of `"adaptive"`.
        start_rank: Rank at which `"adaptive"` starts, at most full rank.
        epochs, batch_size, learning_rate, optimizer, dataset_size, noise, regularizer,
        regularizer_amount: As in `Config`, several values each.
        dataset, val_size, integrator, schedule: As in `Config`.
    """

    methods: tuple[str, ...] = ("reference", "dlrt")
    runs: tuple[int, ...] = (0,)
    dims: tuple[int, ...] = tuple(range(10, 201, 10))
    ranks: tuple[int, ...] = (5,)
    tolerances: tuple[float, ...] = (0.2,)
    start_rank: int = 100
    epochs: tuple[int, ...] = (250,)
    batch_size: tuple[int, ...] = (256,)
    learning_rate: tuple[float, ...] = (1e-3,)
    optimizer: tuple[str, ...] = ("adam",)
    dataset: str = "auto"
    dataset_size: tuple[float, ...] = (0.1,)
    noise: tuple[float, ...] = (0.0,)
    regularizer: tuple[str, ...] = ("none",)
    regularizer_amount: tuple[float, ...] = (1e-4,)
    val_size: int | float = 1 / 6
    integrator: str = "parallel_bug"
    schedule: str = "constant"

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if values == ():
                raise ValueError(
                    f"`--{field.name.replace('_', '-')}` must name at least one value, "
                    "or the grid is empty"
                )
        for name, allowed in (
            ("methods", METHODS),
            ("optimizer", OPTIMIZERS),
            ("regularizer", REGULARIZERS),
        ):
            for value in getattr(self, name):
                if value not in allowed:
                    raise ValueError(
                        f"`--{name}` must be of {', '.join(allowed)}. Received: {value}"
                    )
        for name in ("dims", "ranks"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"`--{name}` must be at least 1. Received: 0")


@dataclass(frozen=True)
class Cell:
    """One network of a sweep.

    Args:
        test: Name of the test that it belongs to, `Run<k>` included.
        name: Name of its workbook, `dim<d>` or `rank<r>`.
        config: Its settings.
    """

    test: str
    name: str
    config: Config

    @property
    def shape(self) -> tuple:
        """What networks that can be trained by the same compiled function share."""
        config = self.config
        values = vars(config) | {"seed": 0, "noise": 0.0}
        return tuple(values[field.name] for field in fields(Config))

    def __str__(self) -> str:
        return f"{self.test}/{self.name}"


def cells(grid: Grid) -> tuple[list[Cell], list[str]]:
    """The networks of a grid, and what was left out of it, with the reason.

    Raises:
        ValueError: If a setting is outside of its bounds, or nothing is left.
    """
    count = _count(grid)
    if count > MOST_CELLS:
        raise ValueError(
            f"A grid must have at most {MOST_CELLS:,} networks. Received: {count:,}"
        )
    found: dict[tuple[str, str], Cell] = {}
    too_narrow: dict[tuple[str, int], set[int]] = {}
    for method, shared in itertools.product(grid.methods, _combinations(grid)):
        for of_method, rank_of in _tests(method, grid):
            for run in grid.runs:
                name = Name(**shared, **of_method, run=run)
                for dim, rank in itertools.product(grid.dims, rank_of):
                    # A setting out of bounds is named here by its option.
                    limit = min(NUM_INPUTS, dim)
                    allowed = None if rank is None else min(rank, limit)
                    config = _config(method, grid, name, dim, allowed)
                    test = names.compose(name)
                    if rank is not None and rank > limit:
                        key = names.compose(replace(name, run=None)), rank
                        too_narrow.setdefault(key, set()).add(dim)
                        continue
                    cell_name = names.cell(name, dim, rank)
                    found[test, cell_name] = Cell(test, cell_name, config)
    skipped = [
        f"{test}: rank {rank} is above the width {', '.join(map(str, sorted(dims)))}"
        for (test, rank), dims in too_narrow.items()
    ]
    if not found:
        raise ValueError(f"the grid is empty. {'; '.join(skipped)}")
    return list(found.values()), skipped


def units(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that one process trains one after another, the longest work first."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.shape, []).append(cell)
    return sorted(
        groups.values(), key=lambda group: -sum(flops(c.config) for c in group)
    )


def parameters(config: Config) -> int:
    """Parameters of a network at its start, as counted for prediction."""
    d = config.dim_layer
    rank = None if config.dense else config.start_rank
    return weights(config.kernels, rank) + 4 * d + 10 * d + 10


def flops(config: Config) -> float:
    """Operations of a whole run, roughly: three products a weight and image."""
    return 6.0 * parameters(config) * train_images(config) * config.epochs


def train_images(config: Config) -> float:
    """Training images of a network, as if it were MNIST and split as usual."""
    return _TRAIN_IMAGES * config.dataset_size


def _count(grid: Grid) -> int:
    """How many networks a grid has, with those that are left out."""
    tests = {"reference": 1, "dlrt": len(grid.ranks), "adaptive": len(grid.tolerances)}
    penalties = (
        1 if regularizer == "none" else len(grid.regularizer_amount)
        for regularizer in grid.regularizer
    )
    sizes = [len(getattr(grid, key)) for key in (*_SHARED, "runs", "dims")]
    several = sum(penalties) * math.prod(sizes)
    return several * sum(tests[method] for method in grid.methods)


def _combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    """What the names of all methods' tests have in common."""
    for values in itertools.product(*(getattr(grid, key) for key in _SHARED)):
        for regularizer in grid.regularizer:
            amounts = grid.regularizer_amount if regularizer != "none" else (0.0,)
            for amount in amounts:
                yield dict(zip(_SHARED, values, strict=True)) | {
                    "dims": (min(grid.dims), max(grid.dims) + 1),
                    "regularizer": regularizer,
                    "regularizer_amount": amount,
                }


def _tests(method: str, grid: Grid) -> Iterator[tuple[dict[str, Any], tuple]]:
    """The tests of a method: what their names say of it, and the ranks in each."""
    if method == "reference":
        yield {}, (None,)
    elif method == "adaptive":
        for tolerance in grid.tolerances:
            yield {"dlrt": True, "tolerance": tolerance}, (None,)
    elif len(grid.dims) == 1:
        yield (
            {"dlrt": True, "ranks": (min(grid.ranks), max(grid.ranks) + 1)},
            grid.ranks,
        )
    else:
        for rank in grid.ranks:
            yield {"dlrt": True, "ranks": (rank, rank + 1)}, (rank,)


def _config(method: str, grid: Grid, name: Name, dim: int, rank: int | None) -> Config:
    given: dict[str, Any] = {
        "dim_layer": dim,
        "epochs": name.epochs,
        "batch_size": name.batch_size,
        "learning_rate": name.learning_rate,
        "optimizer": name.optimizer,
        "schedule": grid.schedule,
        "dataset": grid.dataset,
        "dataset_size": name.dataset_size,
        "noise": name.noise,
        "regularizer": name.regularizer,
        "val_size": grid.val_size,
        "seed": name.run,
        "verbose": 0,
    }
    if name.regularizer != "none":
        given["regularizer_amount"] = name.regularizer_amount
    subcommand = _SUBCOMMANDS[method]
    if method == "dlrt":
        given["start_rank"] = rank
    if method == "adaptive":
        given["tolerance"] = name.tolerance
        given["start_rank"] = min(grid.start_rank, dim)
    if DEFAULTS[subcommand].integrator is not None:
        given["integrator"] = grid.integrator
    try:
        return resolve(subcommand, given)
    except ValueError as error:
        message = str(error)
        for single, several in _OPTIONS.items():
            message = re.sub(rf"{single}\b(?!-)", several, message)
        raise ValueError(message) from error
