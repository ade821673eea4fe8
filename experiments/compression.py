"""Compresses trained networks: `python -m experiments.compression [options]`.

A dense network is trained, unless there is one, made smaller by a method of
`dlrt.compress`, and with `--train` trained on. The Excel log has its accuracies, and
what became of each layer; with `--test`, `tests.json` has speed and accuracy under
attack, or perplexity. Both are with the models in `history_logs/<run name>/`. Exit
status: 0 when done, 2 after wrong input, 3 when the loss stopped being a number, 4 when
a file can't be written in the middle of a run, 130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from experiments.cli import command
from experiments.images import compression_options
from experiments.images.compression import HOYER, CompressionConfig
from experiments.images.config import Config
from experiments.runs import program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import keras

    from experiments.images.compressing import Compressing
    from experiments.runs.image_data import Data

_MODULE = "experiments.compression"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a compression and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    words = command.words_of(arguments)
    config = compression_options.parse(words, f"python -m {_MODULE}")
    return program.run(_MODULE, words, config, partial(_run, config))


def _run(config: CompressionConfig) -> int:
    program.begin(config)
    from experiments.images import compressing, training

    with command.input_errors():
        data = training.load(config)
        config = replace(config, dataset=data.name)
        target = data
        if config.transfer is not None:
            target = training.load(replace(config, dataset=config.transfer))
    dense = _dense(config, data)
    trained = dense if config.method != HOYER else _decomposed(config, data, dense)
    with command.input_errors():
        compressed = compressing.Compressing(config, data, target, dense, trained)
    directory = compressed.run.directory
    print(f"{config.method} on {config.network}, in {directory}", flush=True)
    print(compressed.report, flush=True)
    with program.training_errors(directory, "--learning-rate"):
        compressed.finish()
    _print_summary(compressed)
    return 0


def _dense(config: CompressionConfig, data: "Data") -> "keras.Model":
    from experiments.images import compressing, training

    path = config.load_model
    if path is None:
        dense = replace(config.dense_run(), dataset=data.name)
        path = _trained(dense, data, partial(training.build, dense, data))
    with command.input_errors():
        return compressing.load_dense(path, config, data)


def _decomposed(
    config: CompressionConfig, data: "Data", dense: "keras.Model"
) -> "keras.Model":
    """The dense network after a training of its singular vectors and values."""
    from experiments.images import compressing

    settings = replace(config.svd_run(), dataset=data.name)
    path = _trained(settings, data, partial(compressing.decomposed, settings, dense))
    with command.input_errors():
        return compressing.load_dense(path, config, data)


def _trained(
    config: Config, data: "Data", start: "Callable[[], keras.Model]"
) -> "Path":
    """The best model of the newest finished run, trained first if need be."""
    from experiments.images import compressing
    from experiments.images.training import Training

    found = compressing.newest(config, data)
    if found is not None:
        print(f"{config.kind} network: {found.best}", flush=True)
        return found.best
    print(f"There is no such {config.kind} network; it is trained first.", flush=True)
    with command.input_errors():
        training = Training(config, data, start)
    try:
        with program.training_errors(training.run.directory, "--learning-rate"):
            training.train()
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None
    return training.run.best


def _print_summary(compressed: "Compressing") -> None:
    from experiments.runs import summary

    training, config = compressed.training, compressed.config
    lines = summary.lines(
        compressed.run,
        config.network,
        config.kind if config.train else None,
        training.first_selected_epoch,
        config.task,
    )
    tests = [
        f"{name}: {found['parameters']:,} parameters, {found['flops']:,} flops, "
        f"{config.task.tested(found)}, "
        f"{found['latency_ms']:.1f} ms for {found['latency_batch']} "
        f"{config.task.examples}"
        for name, found in compressed.tests.items()
    ]
    print("\n".join(["", *lines, "", *tests]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
