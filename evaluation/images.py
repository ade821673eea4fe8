"""Logs of networks for images: which network, how it shrank, what was measured."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from dlrt.callbacks import read_table
from dlrt_names.log_schema import LAYERS
from evaluation.logs import Setting, Unusable, setting_fields
from experiments.runs.log_format import TESTS

_EXPERIMENTS = ("images", "compression")
_EVOLVE = "evolve"
# What a network is, by the subcommand of its run, in the order of figures and tables.
_SUBCOMMANDS = {
    "dense-reference": "dense",
    "fixed-rank": "fixed",
    "rank-adaptive": "adaptive",
    "svd-training": "decomposed",
    "compress": "compressed",
    _EVOLVE: "evolved",
}
KINDS = tuple(_SUBCOMMANDS.values())
_LOW_RANK = ("fixed", "adaptive", "decomposed", "compressed")
# Networks that find their widths start as this one.
_EVOLVED = "lenet5"
_AUGMENTED = {True: "augmented", False: "not augmented"}

_RANKS = re.compile(r"\d+(,\d+)*")
# Settings that are taken as they are, if they are numbers or texts.
_NUMBERS = (
    *("vocabulary", "dense_epochs", "momentum", "weight_decay"),
    *("max_parameters", "max_memory", "stop", "threshold", "samples"),
)
# Those of a training of singular values, and the method that starts from one.
_OF_VALUES = ("svd_epochs", "sparsity", "orthogonality")
_HOYER = "hoyer"
_TEXTS = ("method", "scheme", "allocation", "layers", "load_model", "image_size")

# What a sheet of layers must say of each, as numbers but for the first.
_LAYER = ("name", "parameters_before", "parameters", "error")

Layer = Mapping[str, Any]
Tests = Mapping[str, Mapping[str, float]]


class Network(NamedTuple):
    """What the runs of one network for images have in common.

    Args:
        setting: How it was trained, and on which images.
        architecture: What it is a form of.
        kind: One of `KINDS`.
        ranks: Fixed ranks, or those at the start.
        budget: What a compression had to keep to: `("ratio", 4.0)`.
        training: In words, if it was not trained: "not fine-tuned".
        source: The images of the dense network, where they are others.
        attack: The largest change of a pixel, where the network was attacked.
        augment: Whether training images were changed, where the log says it.
        vocabulary, method, scheme, allocation, layers, load_model, image_size,
            dense_epochs, svd_epochs, sparsity, orthogonality, momentum, weight_decay,
            max_parameters, max_memory, stop, threshold, samples: The settings of these
            names, where the log has them.
    """

    setting: Setting
    architecture: str
    kind: str
    ranks: tuple[int, ...] | None = None
    vocabulary: float | None = None
    method: str | None = None
    budget: tuple[str, Any] | None = None
    scheme: str | None = None
    allocation: str | None = None
    layers: str | None = None
    training: str | None = None
    source: str | None = None
    attack: float | None = None
    load_model: str | None = None
    dense_epochs: float | None = None
    svd_epochs: float | None = None
    sparsity: float | None = None
    orthogonality: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    augment: str | None = None
    image_size: str | None = None
    max_parameters: float | None = None
    max_memory: float | None = None
    stop: float | None = None
    threshold: float | None = None
    samples: float | None = None


def is_run(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a run on images."""
    return (
        configuration.get("experiment") in _EXPERIMENTS
        or configuration.get("subcommand") == _EVOLVE
    )


def compresses(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a run that makes a network smaller."""
    return (
        is_run(configuration)
        and _SUBCOMMANDS.get(configuration.get("subcommand", "")) == "compressed"
    )


def find_network(configuration: Mapping[str, Any]) -> Network:
    """What a configuration sheet says about the network.

    Raises:
        Unusable: If it doesn't tell the kind of run, or what was trained.
    """
    subcommand = configuration.get("subcommand")
    if subcommand not in _SUBCOMMANDS:
        raise Unusable(
            f"its configuration has the `subcommand` {subcommand!r}, which is none of "
            f"{', '.join(_SUBCOMMANDS)}"
        )
    kind = _SUBCOMMANDS[subcommand]
    wanted = {"compressed": ("architecture", "method", "budget"), "evolved": ()}
    for key in wanted.get(kind, ("architecture",)):
        if not isinstance(configuration.get(key), str):
            raise Unusable(f"its configuration has no `{key}`")
    found: dict[str, Any] = {
        **{name: _of_type(configuration, name, int | float) for name in _NUMBERS},
        **{name: _of_type(configuration, name, str) for name in _TEXTS},
    }
    if kind == "decomposed" or found["method"] == _HOYER:
        found |= {n: _of_type(configuration, n, int | float) for n in _OF_VALUES}
    setting = Setting(**setting_fields(configuration))
    setting = replace(setting, low_rank=kind in _LOW_RANK)
    if kind == "compressed":
        setting, compression = _compression(setting, configuration)
        found |= compression
    return Network(
        setting,
        configuration.get("architecture", _EVOLVED),
        kind,
        ranks=_ranks(configuration.get("ranks")),
        augment=_AUGMENTED.get(configuration.get("augment")),
        **found,
    )


def _compression(
    setting: Setting, configuration: Mapping[str, Any]
) -> tuple[Setting, dict[str, Any]]:
    """What counts of the training of a compressed network, and more about it."""
    found: dict[str, Any] = {"budget": _budget(configuration["budget"])}
    transfer = _of_type(configuration, "transfer", str)
    if transfer is not None:
        found["source"] = setting.dataset
        setting = replace(setting, dataset=transfer)
    if configuration.get("test") is True:
        found["attack"] = _of_type(configuration, "attack", int | float)
    if configuration.get("train") is False:
        found["training"] = "not fine-tuned"
        kept = ("low_rank", "dataset", "dataset_size", "val_size")
        setting = Setting(**{name: getattr(setting, name) for name in kept})
    return setting, found


def _of_type(configuration: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = configuration.get(name)
    return value if isinstance(value, kind) else None


def _ranks(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not _RANKS.fullmatch(str(value)):
        raise Unusable(f"its configuration has the `ranks` {value!r}")
    return tuple(map(int, str(value).split(",")))


def _budget(text: str) -> tuple[str, Any]:
    """The key and the amount, a number unless it is ranks by layer."""
    key, _, amount = text.partition(" ")
    try:
        return key, float(amount)
    except ValueError:
        return key, re.sub(r"[{}'\" ]", "", amount).replace(":", "=")


def read_layers(path: Path) -> tuple[tuple[Layer, ...], Iterable[str]]:
    """What a compression has done to each layer, and what is wrong with that sheet."""
    try:
        rows = read_table(path, LAYERS)
    except ValueError:
        return (), [f"it has no sheet {LAYERS!r}"]
    for number, row in enumerate(rows, start=2):
        for name in _LAYER:
            kind = str if name == "name" else int | float
            if not isinstance(row.get(name), kind):
                return (), [
                    f"its sheet {LAYERS!r} has {row.get(name)!r} for the {name!r} of "
                    f"row {number}"
                ]
    return tuple(rows), []


def read_tests(folder: Path, expected: bool) -> tuple[Tests, Iterable[str]]:
    """What was measured of each network of a run, and what is wrong with the file.

    Args:
        folder: That of the run.
        expected: Whether there is something wrong if it has no such file.
    """
    try:
        content = json.loads((folder / TESTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing = f"it has no {TESTS}, though `test` was asked for"
        return {}, [missing] if expected else []
    except (OSError, ValueError) as error:
        return {}, [f"its {TESTS} can't be read ({error})"]
    if not isinstance(content, dict) or not all(
        isinstance(values, dict) for values in content.values()
    ):
        return {}, [f"its {TESTS} does not name networks with their measurements"]
    return {
        stage: {name: _finite(value) for name, value in values.items()}
        for stage, values in content.items()
    }, []


def _finite(value: Any) -> float:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else math.nan
