"""The networks of a sweep."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from experiments.mnist.config import DEFAULTS, NUM_INPUTS, Config, resolve
from experiments.runs import names
from experiments.runs.names import Name
from experiments.runs.network_settings import weights
from experiments.sweep.options import METHODS, MOST_NETWORKS, Grid

# Training images of MNIST, without the sixth for validation.
_TRAIN_IMAGES = 50_000
# The settings with several values that dense and low-rank networks share.
_SHARED = "epochs", "batch_size", "learning_rate", "optimizer", "dataset_size", "noise"
# The options of single runs that have another name here.
_OPTIONS = {"--dim-layer": "--dims", "--seed": "--runs", "--tolerance": "--tolerances"}


@dataclass(frozen=True)
class Network:
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
        """What networks that share a compiled function have in common."""
        return tuple((vars(self.config) | {"seed": 0, "noise": 0.0}).values())

    @property
    def parameters(self) -> int:
        """Parameters at its start, as counted for prediction."""
        d = self.config.dim_layer
        rank = None if self.config.dense else self.config.start_rank
        return weights(self.config.kernels, rank) + 4 * d + 10 * d + 10

    @property
    def train_images(self) -> float:
        """Training images, as if they were MNIST's and split as usual."""
        return _TRAIN_IMAGES * self.config.dataset_size

    @property
    def flops(self) -> float:
        """Operations of the whole run, roughly: three products a weight and image."""
        return 6.0 * self.parameters * self.train_images * self.config.epochs

    def __str__(self) -> str:
        return f"{self.test}/{self.name}"


def list_networks(grid: Grid) -> tuple[list[Network], list[str]]:
    """The networks of a grid, and what was left out of it, with the reason.

    Raises:
        ValueError: If a setting is out of bounds, or nothing is left.
    """
    count = _count(grid)
    if count > MOST_NETWORKS:
        raise ValueError(
            f"A grid must have at most {MOST_NETWORKS:,} networks. Received: {count:,}"
        )
    found: dict[str, Network] = {}
    too_narrow: dict[tuple[str, int], set[int]] = {}
    for method, test, ranks in _tests(grid):
        for run, dim, rank in itertools.product(grid.runs, grid.dims, ranks):
            name = replace(test, run=run)
            # A setting out of bounds is named here by its option.
            limit = min(NUM_INPUTS, dim)
            allowed = None if rank is None else min(rank, limit)
            config = _config(method, grid, name, dim, allowed)
            if rank is not None and rank > limit:
                too_narrow.setdefault((names.compose(test), rank), set()).add(dim)
                continue
            network = Network(
                names.compose(name), names.compose_stem(name, dim, rank), config
            )
            found[str(network)] = network
    skipped = [
        f"{test}: rank {rank} is above the width {', '.join(map(str, sorted(dims)))}"
        for (test, rank), dims in too_narrow.items()
    ]
    if not found:
        raise ValueError(f"the grid is empty. {'; '.join(skipped)}")
    return list(found.values()), skipped


def group(networks: Iterable[Network]) -> list[list[Network]]:
    """Networks of one shape each, for one process; the longest work comes first."""
    units: dict[tuple, list[Network]] = {}
    for network in networks:
        units.setdefault(network.shape, []).append(network)
    return sorted(units.values(), key=lambda unit: -sum(n.flops for n in unit))


def _count(grid: Grid) -> int:
    """How many networks a grid has, with those that are left out."""
    tests = {"reference": 1, "dlrt": len(grid.ranks), "adaptive": len(grid.tolerances)}
    sizes = [len(getattr(grid, key)) for key in (*_SHARED, "runs", "dims")]
    several = len(_penalties(grid)) * math.prod(sizes)
    return several * sum(tests[method] for method in grid.methods)


def _penalties(grid: Grid) -> list[tuple[str, float]]:
    """Every regularizer with each of its factors."""
    return [
        (name, factor)
        for name in grid.regularizer
        for factor in ((0.0,) if name == "none" else grid.regularizer_amount)
    ]


def _tests(grid: Grid) -> Iterator[tuple[str, Name, tuple]]:
    """The tests of a grid: method, name without the run, and ranks."""
    ends = min(grid.dims), max(grid.dims) + 1
    shared = (getattr(grid, key) for key in _SHARED)
    for method, *values, (regularizer, amount) in itertools.product(
        grid.methods, *shared, _penalties(grid)
    ):
        settings = dict(zip(_SHARED, values, strict=True))
        name = Name(
            ends, **settings, regularizer=regularizer, regularizer_amount=amount
        )
        for changes, ranks in _tests_of(method, grid):
            yield method, replace(name, **changes), ranks


def _tests_of(method: str, grid: Grid) -> Iterator[tuple[dict[str, Any], tuple]]:
    """The parts of a method's test names, and the ranks in each test."""
    if method == "reference":
        yield {}, (None,)
    elif method == "adaptive":
        for tolerance in grid.tolerances:
            yield {"dlrt": True, "tolerance": tolerance}, (None,)
    else:
        # Networks of a single width differ by their ranks within one test.
        together = len(grid.dims) == 1
        for ranks in [grid.ranks] if together else ((rank,) for rank in grid.ranks):
            yield {"dlrt": True, "ranks": (min(ranks), max(ranks) + 1)}, ranks


def _config(method: str, grid: Grid, name: Name, dim: int, rank: int | None) -> Config:
    given = names.settings(name, dim, rank) | {
        "schedule": grid.schedule,
        "dataset": grid.dataset,
        "val_size": grid.val_size,
        "verbose": 0,
    }
    if method == "adaptive":
        given["start_rank"] = min(grid.start_rank, dim)
    subcommand = METHODS[method]
    if DEFAULTS[subcommand].integrator is not None:
        given["integrator"] = grid.integrator
    try:
        return resolve(subcommand, given)
    except ValueError as error:
        message = str(error)
        for single, several in _OPTIONS.items():
            message = re.sub(rf"{single}\b(?!-)", several, message)
        raise ValueError(message) from error
