"""A log: the history of one trained network, and the setting it was trained in."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlrt_names.log_schema import CONVERTED, RANK, WIDTH
from experiments.runs import names
from experiments.runs.log_format import WRONG, equal


class Unusable(ValueError):
    """A log that can't be evaluated.

    Args:
        reason: What is wrong.
        row: Row of the sheet or line of the file, counted from 1.
    """

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.row = row


@dataclass(frozen=True, order=True)
class Setting:
    """What the networks of one curve have in common, but for rank and width.

    Args:
        low_rank: Whether hidden layers are low-rank ones.
        tolerance: Truncation tolerance of adaptive ranks.
        subcommand: The kind of run, where the log says it.
        integrator: How factors are stepped, where the log says it.
        optimizer, learning_rate, schedule, batch_size, epochs: How it was trained.
        dataset, dataset_size, noise: With which images and labels.
        regularizer, regularizer_amount: And with which penalty.
        fine_tune_epochs: Epochs at fixed rank after those of adaptive ranks.
        max_rank: Bound of adaptive ranks, where the log says it.
        val_size: Share or number of the training images to validate with, likewise.
    """

    low_rank: bool = False
    tolerance: float = 0.0
    subcommand: str = ""
    integrator: str = ""
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = ""
    batch_size: int = 256
    epochs: int = 0
    dataset: str = "mnist"
    dataset_size: float = 1.0
    noise: float = 0.0
    regularizer: str = "none"
    regularizer_amount: float = 0.0
    fine_tune_epochs: int = 0
    max_rank: int = 0
    val_size: float = 0.0

    @property
    def data(self) -> str:
        """The data in words."""
        name = {"mnist": "MNIST"}.get(self.dataset, self.dataset.replace("_", " "))
        share = "" if self.dataset_size == 1 else f" {100 * self.dataset_size:g} %"
        if name == "MNIST" and self.dataset_size == 0.1:
            share = " 5K-1K"
        noise = f", {100 * self.noise:g} % label noise" if self.noise else ""
        return f"{name}{share}{noise}"


@dataclass(frozen=True)
class Log:
    """The history of one trained network.

    Args:
        path: The file.
        test: Name of its folder.
        setting: How it was trained.
        width: Width of the hidden layers, `None` where they have no common one.
        rank: Their fixed rank as the test names it, `None` for dense and adaptive
            networks; layers that are narrower have their full rank.
        seed: The random seed.
        epochs: Number of each epoch; 0 was measured before training.
        columns: Values an epoch by column, nan where there is none.
        spectra: Singular values by layer, an array or `None` for each epoch.
        configuration: The sheet of that name, empty for a CSV file.
        diverged: The first epoch whose loss is no finite number, if there is one.
        expected_epochs: Number of the last epoch of a finished run, if it is known.
        remarks: What is odd about it, though it can be used.
        layers: What a compression has done to each layer.
        tests: What was measured of each network of a compression, by its name.
    """

    path: Path
    test: str
    setting: Setting
    width: int | None
    rank: int | None
    seed: int | None
    epochs: np.ndarray
    columns: Mapping[str, np.ndarray]
    spectra: Mapping[str, list[np.ndarray | None]]
    configuration: Mapping[str, Any]
    diverged: int | None = None
    expected_epochs: int | None = None
    remarks: tuple[str, ...] = ()
    layers: tuple[Mapping[str, Any], ...] = ()
    tests: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def unfinished(self) -> bool:
        return self.expected_epochs is not None and (
            self.epochs[-1] < self.expected_epochs
        )

    @property
    def wrong(self) -> bool:
        """Whether a sweep has put it aside, since its training failed."""
        return WRONG in self.path.absolute().parts

    @property
    def state(self) -> str:
        if self.diverged is not None:
            return "diverged"
        if self.wrong:
            return "failed"
        return "unfinished" if self.unfinished else "finished"

    @property
    def ranks(self) -> np.ndarray:
        """Ranks of the hidden layers, a row an epoch."""
        return self._of_layers(RANK)

    @property
    def sizes(self) -> np.ndarray:
        """Ranks and changing widths of the layers, a row an epoch."""
        return self._of_layers((RANK, WIDTH))

    def _of_layers(self, start: str | tuple[str, ...]) -> np.ndarray:
        found = [v for name, v in self.columns.items() if name.startswith(start)]
        return np.array(found).T.reshape(len(self.epochs), len(found))

    def column(self, name: str) -> np.ndarray:
        """Values an epoch, all of them nan if the log lacks the column."""
        missing = np.full(len(self.epochs), np.nan)
        return self.columns.get(name, missing)

    def selected(self) -> int:
        """Index of the epoch with the best validation accuracy at the final sizes."""
        accuracy = self.column("val_accuracy").copy()
        final = (self.sizes == self.sizes[-1]).all(axis=1)
        accuracy[~final | (self.epochs == 0)] = np.nan
        return (
            len(accuracy) - 1
            if np.isnan(accuracy).all()
            else int(np.nanargmax(accuracy))
        )


def find_network(
    test: str, file: str, configuration: Mapping[str, Any]
) -> tuple[Setting, int, int | None, int | None, tuple[str, ...]]:
    """What a folder, a file name and a configuration sheet say together.

    Returns:
        Setting, width, fixed rank, seed, and remarks.

    Raises:
        Unusable: If they contradict each other, or don't tell the width.
    """
    stored = setting_fields(configuration)
    try:
        name = names.parse(test)
    except ValueError:
        return *_of_run(test, configuration, stored), _odd_name(test)
    cell, value = _cell(file)
    width = _only(name.dims) if cell != "dim" else value
    rank = None
    if name.ranks is not None:
        rank = _only(name.ranks) if cell != "rank" else value
    for what, found, ends in (("width", width, name.dims), ("rank", rank, name.ranks)):
        if ends is None:
            continue
        if found is None:
            raise Unusable(
                f"neither the name of the file nor {test!r} tells the {what}"
            )
        if not ends[0] <= found < ends[1]:
            raise Unusable(f"{what} {found} is not one of those of {test!r}")
    setting = replace(
        Setting(**stored),
        low_rank=name.dlrt,
        tolerance=name.tolerance or 0.0,
        optimizer=name.optimizer,
        learning_rate=name.learning_rate,
        batch_size=name.batch_size,
        epochs=name.epochs,
        dataset_size=name.dataset_size,
        noise=name.noise,
        regularizer=name.regularizer,
        regularizer_amount=name.regularizer_amount,
    )
    said = {
        key: getattr(setting, key)
        for key in ("epochs", "batch_size", "learning_rate", "noise", "dataset_size")
    }
    _compare(configuration, said | {"dim_layer": width}, test)
    # A converted log says nothing but what its name does.
    converted = CONVERTED in configuration
    low_rank = configuration.get("start_rank") is not None
    if configuration and not converted and low_rank != name.dlrt:
        kind = "a dense" if name.dlrt else "a low-rank"
        raise Unusable(f"its configuration is that of {kind} network, unlike {test!r}")
    seed = configuration.get("seed", name.run)
    remarks = ()
    if name.run is not None and seed != name.run:
        remarks = (f"its seed is {seed}, although it is run {name.run}",)
    return setting, width, rank, seed, remarks


def setting_fields(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a setting that a configuration sheet has."""
    found = {
        field.name: configuration[field.name]
        for field in fields(Setting)
        if isinstance(configuration.get(field.name), _kinds(field.default))
    }
    if found.get("regularizer", "none") == "none":
        found.pop("regularizer_amount", None)
    return found


def _kinds(default: Any) -> tuple[type, ...]:
    return (int, float) if isinstance(default, float) else (type(default),)


def _of_run(
    test: str, configuration: Mapping[str, Any], stored: dict[str, Any]
) -> tuple[Setting, int, int | None, int | None]:
    width = configuration.get("dim_layer")
    if not isinstance(width, int):
        raise Unusable(
            f"its folder {test!r} is no name of a test, and its configuration has no "
            "`dim_layer`"
        )
    rank = configuration.get("start_rank")
    # A low-rank network that was loaded brings its ranks along.
    low_rank = rank is not None or configuration.get("integrator") is not None
    setting = Setting(**stored | {"low_rank": low_rank})
    return (
        setting,
        width,
        None if setting.tolerance else rank,
        configuration.get("seed"),
    )


def _odd_name(test: str) -> tuple[str, ...]:
    if "TestDim" not in test:
        return ()
    return (f"{test!r} is no name of a test; it is taken for what its sheet says",)


def _cell(file: str) -> tuple[str, int | None]:
    """What the name of a workbook says: `("dim", 20)` for `dim20.xlsx`."""
    for what in ("dim", "rank"):
        if file.startswith(what) and file[len(what) :].isdecimal():
            return what, int(file[len(what) :])
    return "", None


def _only(ends: tuple[int, int]) -> int | None:
    return ends[0] if ends[1] == ends[0] + 1 else None


def _compare(
    configuration: Mapping[str, Any], said: Mapping[str, Any], test: str
) -> None:
    for key, value in said.items():
        stored = configuration.get(key, value)
        if not equal(stored, value):
            raise Unusable(
                f"its configuration says {key} {stored}, unlike the {value} of {test!r}"
            )
