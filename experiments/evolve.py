"""A network that finds its widths: `python -m experiments.evolve [options]`.

A convolutional network for images starts with more than a million parameters and ends
with as many as asked for, in one run. Writes an Excel log and the last model to
`history_logs/<run name>/`. Exit status: 0 when done, 2 after wrong input, 3 when the
loss stopped being a number, 4 when a file can't be written in the middle of a run, 130
after Ctrl-C.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dlrt_names.log_schema import TRAINED_PARAMETERS, WIDTH
from experiments.cli import command
from experiments.cli.checks import at_least_one, positive, require
from experiments.cli.command import Parser
from experiments.cli.run_options import RunOptions
from experiments.cli.settings import Settings, verbosity
from experiments.mnist.config import list_datasets
from experiments.runs import program
from experiments.runs.checks import check_run

if TYPE_CHECKING:
    import keras

    from dlrt.callbacks import HistoryLog
    from experiments.runs.folders import Run
    from experiments.runs.image_data import Data

_MODULE = "experiments.evolve"
# Those of the two convolutions and the dense layer at the start.
_WIDTHS = 20, 50, 500
# After so many epochs they stay as they are, or after all but one.
_STOP = 4
# No width falls below it; with all widths there, the network has this many parameters.
_MIN_WIDTH = 2
_LEAST_PARAMETERS = 382
# A sixth of MNIST's 60,000 training images are the usual 10,000.
_VAL_SIZE = 1 / 6

_UNITS = {
    "": 1,
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmg", start=1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmg", start=1)},
    "b": 1,
}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})", re.IGNORECASE)


@dataclass(frozen=True)
class Config(Settings):
    """The settings of a run.

    Beside those of `Settings`:

    Args:
        epochs: Number of epochs.
        max_parameters: What the network must not have more of at the end, if anything.
        max_memory: Bytes that its training must not take more of at the end, see
            `dlrt.evolution.training_memory`, if anything.
        stop: The number of epochs after which widths stay as they are.
        threshold: Relative singular value below which channels go anyway.
        samples: How many training images the singular values are measured on.
        batch_size: Images in a step.
        learning_rate: That of Adam at the start; a cosine takes it down to 0.
        dataset: A data set of `dlrt.datasets.load`.
    """

    subcommand: str = "evolve"
    epochs: int = 12
    max_parameters: int | None = 12_500
    max_memory: int | None = None
    stop: int = _STOP
    threshold: float = 0.01
    samples: int = 2000
    batch_size: int = 128
    learning_rate: float = 2e-3
    dataset: str = "auto"

    @property
    def network(self) -> str:
        """What is trained on what; the workbook has this name."""
        return f"evolve-{self.dataset}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        bounds = {"p": self.max_parameters, "m": self.max_memory}
        given = [f"{letter}{most}" for letter, most in bounds.items() if most]
        return "-".join([self.network, *given, f"seed{self.seed}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the experiment and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    words = command.words_of(arguments)
    config = parse(words)
    return program.run(_MODULE, words, config, partial(_run, config))


def parse(arguments: Sequence[str]) -> Config:
    """Returns the settings that the words on the command line stand for.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    parser = Parser(
        prog=f"python -m {_MODULE}",
        description="Trains a convolutional network that finds its own widths.",
        argument_default=argparse.SUPPRESS,
    )
    options = RunOptions(parser, Config())
    add = options.add
    add("-e", "--epochs", type=int, help="epochs")
    add("-p", "--max-parameters", type=int, metavar="N", help="parameters at the end")
    add(
        *("-m", "--max-memory"),
        type=_bytes,
        metavar="SIZE",
        help="memory of a step of training at the end, as 20MB, instead of or beside "
        "--max-parameters",
        default="without bound",
    )
    add(
        "--stop",
        type=int,
        metavar="EPOCHS",
        default=f"{_STOP}, or one below --epochs",
        help="after so many, widths stay",
    )
    add("--threshold", type=float, help="relative singular value that is kept")
    add("--samples", type=int, metavar="N", help="images to measure the values on")
    add("--batch-size", type=int, metavar="N", help="images in a step")
    add("--learning-rate", type=float, metavar="RATE", help="learning rate")
    add(
        "--dataset",
        choices=list_datasets(),
        help="data set; auto is mnist where it can be had, else digits",
    )
    options.add_run("weights, split and order of the images")
    given = vars(parser.parse_args(arguments))
    if "max_memory" in given:
        given = {"max_parameters": None} | given
    if "epochs" in given:
        given = {"stop": max(1, min(_STOP, given["epochs"] - 1))} | given
    config = Config(**given)
    with command.input_errors():
        _check(config)
    return config


def _bytes(text: str) -> int:
    """A size as people write it: 20MB, 1.5 GiB or a number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(
            "must be a size above 0, as 20MB, 512KiB or 1.5GB; without a unit it is "
            f"in bytes. Received: {text!r}"
        )
    return size


def _check(config: Config) -> None:
    check_run(config)
    at_least_one(config, "epochs", "stop", "samples", "batch_size")
    most = config.max_parameters
    enough = most is None or most >= _LEAST_PARAMETERS
    require(enough, config, "max_parameters", f"be at least {_LEAST_PARAMETERS}")
    positive(config, "learning_rate")
    require(0 <= config.threshold < 1, config, "threshold", "lie in [0, 1)")
    enough = config.epochs >= 2
    require(enough, config, "epochs", "be at least 2: after the first, widths stay")
    below = f"be below --epochs {config.epochs}"
    require(config.stop < config.epochs, config, "stop", below)


def _run(config: Config) -> int:
    program.begin(config)
    from experiments.runs import folders, image_data

    with command.input_errors():
        data = image_data.prepare(
            config.dataset, _VAL_SIZE, config.seed, 1.0, flat=False
        )
        config = replace(config, dataset=data.name)
        _check_memory(config, data.num_classes)
        if not config.resume:
            run = folders.create(config)
            with folders.removed_if_unusable(run):
                log, model, epoch = _begin(config, data, run)
        elif (found := folders.find(config)) is None:
            raise folders.missing(config)
        else:
            run = found
            log, model, epoch = _begin(config, data, run)
    print(f"evolve on {data.name}, in {run.directory}", flush=True)
    with program.training_errors(run.directory, "--learning-rate"):
        _train(config, data, run, log, model, epoch)
    print("\n".join(["", *_summary(log, model), ""]), flush=True)
    return 0


def _check_memory(config: Config, num_classes: int) -> None:
    """Raises `ValueError` if not even the smallest network is within the memory."""
    import dlrt

    if config.max_memory is None:
        return
    model = build(num_classes, (_MIN_WIDTH,) * len(_WIDTHS))
    _compile(model, config, 1)
    model.optimizer.build(model.trainable_variables)
    least = dlrt.evolution.training_memory(model, config.batch_size).total
    allowed = f"be at least {least}, with --batch-size {config.batch_size}"
    require(config.max_memory >= least, config, "max_memory", allowed)


def _begin(
    config: Config, data: "Data", run: "Run"
) -> tuple["HistoryLog", "keras.Model", int]:
    """The log and the model of a run, and how many epochs it has behind it."""
    import keras

    from dlrt.callbacks import HistoryLog
    from experiments.runs import checkpoints

    log = HistoryLog(
        run.workbook(config.network), config.record(), resume=config.resume
    )
    log.open()
    checkpoints.remove_leftovers(run.directory)
    saved = checkpoints.to_continue(run.last, log.rows)
    if saved is not None:
        model, state = saved
        return log, model, state.epoch
    keras.utils.set_random_seed(config.seed)
    model = build(data.num_classes)
    steps = -(-len(data.train[0]) // config.batch_size) * config.epochs
    _compile(model, config, steps)
    checkpoints.save(model, run.last, checkpoints.State(0, 0, 0, {}))
    return log, model, 0


def _compile(model: "keras.Model", config: Config, steps: int) -> None:
    import keras

    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    optimizer = keras.optimizers.Adam(rate)
    # Without slots its first step would be traced twice.
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def build(num_classes: int, widths: tuple[int, ...] | None = None) -> "keras.Model":
    """LeNet-5 without cropping, in the widths of Caffe unless others are given."""
    from keras import Input, Sequential, layers

    first, second, dense = widths or _WIDTHS
    return Sequential(
        [
            Input((28, 28, 1)),
            layers.Conv2D(first, 5, padding="same", activation="relu", name="conv_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(second, 5, padding="same", activation="relu", name="conv_2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(dense, activation="relu", name="dense"),
            layers.Dense(num_classes, name="classes"),
        ]
    )


def _train(
    config: Config,
    data: "Data",
    run: "Run",
    log: "HistoryLog",
    model: "keras.Model",
    epoch: int,
) -> None:
    import dlrt
    from experiments.runs import image_data, run_callbacks, scoring

    batches = image_data.ShuffledBatches(*data.train, config.batch_size, config.seed)
    evolve = dlrt.callbacks.Evolve(
        data.train[0][: config.samples],
        threshold=config.threshold,
        max_parameters=config.max_parameters,
        max_memory=config.max_memory,
        training_batch_size=config.batch_size,
        min_width=_MIN_WIDTH,
        stop=config.stop,
        verbose=int(verbosity(config) > 0),
    )
    model.fit(
        batches.for_fit(),
        epochs=config.epochs,
        initial_epoch=epoch,
        validation_data=data.val,
        validation_batch_size=image_data.EVALUATION_BATCH,
        # The data set shuffles by itself; Keras would shuffle its batches.
        shuffle=False,
        verbose=verbosity(config),
        callbacks=[
            batches.follow(),
            evolve,
            run_callbacks.StopAtNonFinite(),
            run_callbacks.StepLines(verbosity(config)),
            scoring.TestEvaluation(data.test),
            log,
            run_callbacks.LastCheckpoint(run.last),
        ],
    )


def _summary(log: "HistoryLog", model: "keras.Model") -> list[str]:
    """The result of a run, one fact a line."""
    rows = log.rows
    first, last = rows[0], rows[-1]
    names = [name for name in last if name.startswith(WIDTH)]
    facts = {
        "parameters": f"{first[TRAINED_PARAMETERS]:,} at the start, "
        f"{model.count_params():,} at the end",
        **(
            {
                "memory": f"{first['memory'] / 1e6:.1f} MB at the start, "
                f"{last['memory'] / 1e6:.1f} MB at the end"
            }
            if "memory" in last
            else {}
        ),
        "widths": ", ".join(
            f"{name.removeprefix(WIDTH)} {first[name]} to {last[name]}"
            for name in names
        ),
        "accuracy": f"{last['val_accuracy']:.2%} validation, "
        f"{last['test_accuracy']:.2%} test, after epoch {last['epoch']}",
        "seconds": f"{sum(row['seconds'] for row in rows):.0f}",
    }
    return [f"{name + ':':<12} {text}" for name, text in facts.items()]


if __name__ == "__main__":
    sys.exit(main())
