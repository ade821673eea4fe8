"""Compresses trained networks: `python -m experiments.compression [options]`.

A dense network is trained, unless there is one, made smaller by a method of
`dlrt.compress`, and with `--train` trained on. The Excel log has its accuracies, what
became of each layer, and with `--test` speed and accuracy under attack; it is with the
models in `history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong input, 3
when the loss stopped being a number, 4 when a file can't be written in the middle of a
run, 130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from experiments import _command, _quiet
from experiments.images import compression_options
from experiments.images.compression import CompressionConfig

if TYPE_CHECKING:
    from experiments._data import Data
    from experiments._runs import Run
    from experiments.images.compressing import Compressing

_MODULE = "experiments.compression"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a compression and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    words = _command.words_of(arguments)
    config = compression_options.parse(words, f"python -m {_MODULE}")
    return _command.run(_MODULE, words, config, partial(_run, config))


def _run(config: CompressionConfig) -> int:
    # Keras takes seconds to start; help and mistyped options don't wait for it.
    _quiet.import_keras()
    from experiments.images import compressing, training

    with _command.input_errors():
        data = training.load(config)
        config = replace(config, dataset=data.name)
        target = data
        if config.transfer is not None:
            target = training.load(replace(config, dataset=config.transfer))
    run = None if config.load_model is not None else _dense_run(config, data)
    with _command.input_errors():
        dense = compressing.load_dense(config, run, data)
        compressed = compressing.Compressing(config, data, target, dense)
    directory = compressed.run.directory
    print(f"{config.method} on {config.network}, in {directory}", flush=True)
    print(compressed.report, flush=True)
    with _command.training_errors(directory, "--learning-rate"):
        compressed.finish()
    _print_summary(compressed)
    return 0


def _dense_run(config: CompressionConfig, data: "Data") -> "Run":
    """The newest finished dense run, trained first if need be."""
    from experiments.images import compressing

    dense = replace(config.dense_run(), dataset=data.name)
    found = compressing.newest_dense(dense)
    if found is not None:
        print(f"Dense network: {found.best}", flush=True)
        return found
    print("There is no such dense network yet; one is trained first.", flush=True)
    with _command.input_errors():
        training = compressing.train_dense(dense, data)
    try:
        with _command.training_errors(training.run.directory, "--learning-rate"):
            training.train()
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None
    return training.run


def _print_summary(compressed: "Compressing") -> None:
    from experiments import _summary

    training, config = compressed.training, compressed.config
    lines = _summary.lines(
        compressed.run,
        config.network,
        config.kind if config.train else None,
        training.first_selected_epoch,
    )
    tests = [
        f"{name}: {found['parameters']:,} parameters, {found['flops']:,} flops, "
        f"{100 * found['test_accuracy']:.2f} % of the test images, "
        f"{100 * found['attacked_accuracy']:.2f} % under attack, "
        f"{found['latency_ms']:.1f} ms for {found['latency_batch']} images"
        for name, found in compressed.tests.items()
    ]
    print("\n".join(["", *lines, "", *tests]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
