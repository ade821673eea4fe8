"""Compresses trained networks: `python -m experiments.compression [options]`.

A dense network is trained, unless there is one, made smaller by a method of
`dlrt.compress`, and with `--train` trained on. The Excel log has its accuracies, and
what became of each layer; with `--test`, `tests.json` has speed and accuracy under
attack, or perplexity. Both are with the models in `history_logs/<run name>/`. Exit
status: 0 when done, 2 after wrong input, 3 when the loss stopped being a number, 4 when
a file can't be written in the middle of a run, 130 after Ctrl-C.
"""

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from experiments.cli import command
from experiments.images.compression_config import HOYER, CompressionConfig, parse
from experiments.images.config import Config
from experiments.runs import program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import keras

    from experiments.runs.image_data import Data

_MODULE = "experiments.compression"


def _run(config: CompressionConfig) -> None:
    from experiments.images import compression_task, task

    with command.input_errors():
        data = target = task.load(config)
        config = replace(config, dataset=data.name)
        if config.transfer is not None:
            target = task.load(replace(config, dataset=config.transfer))
    path = config.load_model or _train(config.dense_run(), data)
    with command.input_errors():
        trained = dense = compression_task.load_dense(path, config, data)
    if config.method == HOYER:
        settings = config.svd_run()
        start = partial(compression_task.decompose, settings, dense)
        path = _train(settings, data, start)
        with command.input_errors():
            trained = compression_task.load_dense(path, config, data)
    program.perform(
        partial(compression_task.Compression, config, data, target, dense, trained)
    )


def _train(
    config: Config, data: "Data", start: "Callable[[], keras.Model] | None" = None
) -> "Path":
    """The best model of the newest finished run, trained first if need be."""
    from experiments.images import compression_task
    from experiments.images.task import Images

    found = compression_task.find_newest(config, data)
    if found is not None:
        print(f"{config.kind} network: {found.best}", flush=True)
        return found.best
    print(f"There is no such {config.kind} network; it is trained first.", flush=True)
    with program.part_of_a_run():
        run = program.perform(partial(Images, config, data, start), prints=False)
    return run.folder.best


_PARSE = partial(parse, prog=f"python -m {_MODULE}")
main = partial(program.main, _MODULE, _PARSE, _run)


if __name__ == "__main__":
    sys.exit(main())
