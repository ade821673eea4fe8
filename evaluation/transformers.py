"""Logs of transformers that translate: which network it is, and its layers."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from dlrt_names.log_schema import BLEU, CHRF, RANK
from evaluation.logs import Log, Setting, Unusable, setting_fields

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", BLEU, CHRF)

_EXPERIMENT = "transformer"
_REFERENCE = "reference"
_ADAPTIVE = "rank-adaptive"

_SIDES = ("encoder", "decoder")
_PARTS = ("self_attention", "cross_attention", "feed_forward")
_ENDS = ("query", "key", "value", "output")
_PROJECTION = re.compile(
    rf"({'|'.join(_SIDES)})_(\d+)_({'|'.join(_PARTS)})(?:/({'|'.join(_ENDS)})|_(\d+))"
)


class Network(NamedTuple):
    """What the runs of one transformer have in common.

    Args:
        setting: How it was trained, the corpus as its data set.
        dim: Width of embeddings and sublayers.
        layers, heads, feed_forward: The rest of its shape, where the log says it.
        rank: Its fixed rank.
        start_rank: The rank from which adaptive ones start.
        embedding_rank: The rank of its embeddings, where the log says it, as all that
            follows.
        vocab_size, max_length, batch_tokens, steps_per_epoch, minutes, warm_up_steps,
            learning_rate_factor, dropout: What else it was trained with.
    """

    setting: Setting
    dim: int
    layers: int | None = None
    heads: int | None = None
    feed_forward: int | None = None
    rank: int | None = None
    start_rank: int | None = None
    embedding_rank: int | None = None
    vocab_size: int | None = None
    max_length: int | None = None
    batch_tokens: int | None = None
    steps_per_epoch: int | None = None
    minutes: float | None = None
    warm_up_steps: int | None = None
    learning_rate_factor: float | None = None
    dropout: float | None = None

    @property
    def method(self) -> str:
        """What the rank is: "dense", "fixed" or "adaptive"."""
        if not self.setting.low_rank:
            return "dense"
        return "adaptive" if self.setting.subcommand == _ADAPTIVE else "fixed"


class Projection(NamedTuple):
    """A low-rank layer of a transformer.

    Args:
        group: The layer that it belongs to: "encoder 1".
        name: What it is called there: "self-attention query".
        order: Where it comes from the input on.
    """

    group: str
    name: str
    order: tuple


def is_run(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a transformer's run."""
    return configuration.get("experiment") == _EXPERIMENT


def find_network(configuration: Mapping[str, Any]) -> Network:
    """What a configuration sheet says about the network.

    Raises:
        Unusable: If it doesn't tell the kind of run and the width.
    """
    for key, kind in (("subcommand", str), ("dim", int)):
        if not isinstance(configuration.get(key), kind):
            raise Unusable(f"its configuration has no `{key}`")
    method = configuration["subcommand"]
    stored = setting_fields(configuration)
    stored["low_rank"] = method != _REFERENCE
    if method != _ADAPTIVE:
        stored["tolerance"] = 0.0
    rank = _number(configuration, "rank") if stored["low_rank"] else None
    ranks = (None, rank) if method == _ADAPTIVE else (rank, None)
    setting = Setting(**stored | {"dataset": str(configuration.get("corpus", "text"))})
    others = {
        field: _number(configuration, field)
        for field in Network._fields
        if field not in ("setting", "rank", "start_rank")
    }
    return Network(setting, rank=ranks[0], start_rank=ranks[1], **others)


def _number(configuration: Mapping[str, Any], key: str) -> int | float | None:
    value = configuration.get(key)
    return value if isinstance(value, int | float) else None


def projections(log: Log) -> dict[str, Projection]:
    """The low-rank layers by the names of their columns, from input to output."""
    found = {
        column: _projection(column.removeprefix(RANK))
        for column in log.columns
        if column.startswith(RANK)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].order))


def _projection(layer: str) -> Projection:
    match = _PROJECTION.fullmatch(layer)
    if match is None:
        # The vocabulary comes after all layers; what has another name ends the list.
        place = len(_SIDES) if layer == "output" else len(_SIDES) + 1
        return Projection("", layer, (place,))
    side, number, part, end, index = match.groups()
    name = f"{part.replace('_', '-')} {end or index}"
    within = _ENDS.index(end) if end else int(index)
    order = (_SIDES.index(side), int(number), _PARTS.index(part), within)
    return Projection(f"{side} {number}", name, order)
