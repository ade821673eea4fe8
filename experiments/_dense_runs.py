"""Which dense MNIST network a pruned one begins with."""

from dataclasses import replace

from dlrt.callbacks import read_history
from experiments import _runs
from experiments._config import Config
from experiments._log_format import equal
from experiments._runs import Run


def newest(config: Config) -> Run | None:
    """The newest finished dense run with a run's width, images and split.

    With another split, the dense network may have been trained on images that the
    pruned one would be validated with.
    """
    network = replace(config, subcommand="dense-reference").network
    record = config.record()
    keys = ("dataset", "dim_layer", "dataset_size", "noise", "val_size", "seed")
    for run in _runs.newest_first(config.log_dir):
        workbook = run.log(network)
        if not (workbook.exists() and run.best.exists()):
            continue
        try:
            rows, stored = read_history(workbook)
        except ValueError:
            continue
        finished = bool(rows) and rows[-1]["epoch"] >= stored.get("epochs", 0) > 0
        if finished and all(equal(stored.get(key), record[key]) for key in keys):
            return run
    return None
