"""The runs of transformers: by network, with the numbers that figures show."""

from collections.abc import Iterable, Sequence

import numpy as np

from evaluation.logs import Log
from evaluation.series import Cell, Key, group, labels, none_first
from evaluation.statistics import over_epochs
from evaluation.transformers import Network, find_network

_WORDS = {
    "layers": "{} layers",
    "heads": "{} heads",
    "feed_forward": "feed-forward {}",
    "embedding_rank": "embeddings of rank {}",
    "vocab_size": "{} subwords",
    "max_length": "sentences of {} subwords",
    "batch_tokens": "{} tokens a step",
    "steps_per_epoch": "{} steps an epoch",
    "minutes": "{:g} minutes",
    "warm_up_steps": "warm-up {}",
    "learning_rate_factor": "learning rate times {:g}",
    "dropout": "dropout {:g}",
}


def networks(logs: Iterable[Log], excluded: Iterable[Log] = ()) -> dict[Network, Cell]:
    """Every network and its runs: dense ones, then by rank, then by tolerance."""
    return group(
        logs, excluded, lambda log: find_network(log.configuration), none_first
    )


def names(keys: Sequence[Network]) -> list[str]:
    """Names that tell networks apart, no longer than needed."""
    methods = labels(Key(key.setting, key.dim, key.rank) for key in keys)
    differ = [
        field for field in _WORDS if len({getattr(key, field) for key in keys}) > 1
    ]
    starts = len({key._replace(start_rank=None) for key in keys}) < len(keys)
    return [
        ", ".join(
            [
                method,
                *(
                    _WORDS[field].format(getattr(key, field))
                    for field in differ
                    if getattr(key, field) is not None
                ),
                *([f"from rank {key.start_rank}"] if starts and key.start_rank else []),
            ]
        )
        for method, key in zip(methods, keys, strict=True)
    ]


def best(log: Log) -> int:
    """Index of the trained epoch with the smallest validation loss, or the last."""
    loss = log.column("val_loss").copy()
    loss[log.epochs == 0] = np.nan
    return len(loss) - 1 if np.isnan(loss).all() else int(np.nanargmin(loss))


def value(log: Log, column: str, at: str) -> float:
    """A value of a run.

    Args:
        log: The run.
        column: Which value.
        at: "best" for that of the epoch `best`, "last" for the last there is.
    """
    values = log.column(column)
    if at == "best":
        return float(values[best(log)])
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else np.nan


def typical(log: Log, column: str) -> float:
    """Median over trained epochs: the first one, which compiles, counts little."""
    values = log.column(column)[log.epochs > 0]
    return float(np.nanmedian(values)) if (~np.isnan(values)).any() else np.nan


def times(logs: Sequence[Log]) -> np.ndarray:
    """Mean seconds of training until the end of each epoch that any log has.

    Sums of the mean seconds of an epoch, so that runs that end early don't make the
    time go back.
    """
    epochs, seconds = over_epochs(logs, "seconds")
    return np.cumsum(np.where(epochs > 0, seconds.mean, 0.0))
