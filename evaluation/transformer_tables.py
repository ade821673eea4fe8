"""Tables of the results of transformers."""

import numpy as np

from dlrt_names.log_schema import BLEU, CHRF, COMPRESSION, PARAMETERS, SECONDS, SPEED
from evaluation.cells import Table, known, last_epochs
from evaluation.collection import Collection
from evaluation.logs import Log
from evaluation.statistics import summarise
from evaluation.transformer_runs import best, names, networks, typical, value

_PERCENT = (COMPRESSION, "val_accuracy")
_WITH_RANGE = ("val_loss", "val_accuracy", BLEU)
# Values of the epoch with the smallest validation loss, and the last known ones.
_BEST = {
    "parameters": PARAMETERS,
    "compression %": COMPRESSION,
    "validation loss": "val_loss",
    "validation accuracy %": "val_accuracy",
    "test BLEU": BLEU,
    "test chrF": CHRF,
}
_LAST = {"last test BLEU": BLEU, "last test chrF": CHRF}
_TYPICAL = {"tokens a second": SPEED, "seconds an epoch": SECONDS}
_COLUMNS = (*_BEST, *_LAST, *_TYPICAL)
_MEANING = (
    "values of the epoch with the smallest validation loss, last known scores, and "
    "medians over epochs of speed and time"
)


def both(collection: Collection) -> list[Table]:
    """Means over runs, and every run."""
    return [means(collection), runs(collection)]


def means(collection: Collection) -> Table:
    """Means and ranges over the runs of each network."""
    header = ["network", "corpus", "width", "runs", "not counted", "epochs"]
    for name in _COLUMNS:
        header += [name, *_ends(name)]
    found = networks(collection.transformers, collection.excluded_transformers)
    rows = []
    for name, (key, cell) in zip(names(list(found)), found.items(), strict=True):
        row = [name, key.setting.data, key.dim, len(cell.logs), len(cell.excluded)]
        row.append(last_epochs(cell))
        samples = np.array([_numbers(log) for log in cell.logs])
        band = summarise(samples.reshape(len(cell.logs), len(_COLUMNS)))
        for column, *numbers in zip(
            _COLUMNS, band.mean, band.low, band.high, strict=True
        ):
            shown = numbers if _ends(column) else numbers[:1]
            row += [known(float(number)) for number in shown]
        rows.append(tuple(row))
    caption = f"Transformers: means, smallest and largest values over runs; {_MEANING}"
    return Table("transformers", caption, tuple(header), rows)


def runs(collection: Collection) -> Table:
    """Every run, also those that are in no mean."""
    header = ("run", "network", "seed", "epochs", "state", "best epoch", *_COLUMNS)
    found = networks(collection.transformers, collection.excluded_transformers)
    rows = []
    for name, cell in zip(names(list(found)), found.values(), strict=True):
        for log in (*cell.logs, *cell.excluded):
            facts = (log.test, name, log.seed, int(log.epochs[-1]), log.state)
            numbers = [known(number) for number in _numbers(log)]
            rows.append((*facts, int(log.epochs[best(log)]), *numbers))
    caption = f"Every run of a transformer: {_MEANING}"
    return Table("transformer-runs", caption, header, rows)


def _ends(name: str) -> list[str]:
    """The columns of the smallest and the largest value, where they are shown."""
    return [f"{name}, min", f"{name}, max"] if _BEST.get(name) in _WITH_RANGE else []


def _numbers(log: Log) -> list[float]:
    """What `_COLUMNS` name."""
    return [
        *(_share(column, value(log, column, "best")) for column in _BEST.values()),
        *(value(log, column, "last") for column in _LAST.values()),
        *(typical(log, column) for column in _TYPICAL.values()),
    ]


def _share(column: str, number: float) -> float:
    return 100 * number if column in _PERCENT else number
