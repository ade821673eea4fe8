"""The programs that train: how they begin, and how they end."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from experiments.cli import command, quiet
from experiments.cli.settings import Settings
from experiments.runs import checks, folders
from experiments.runs.finite import NonFiniteLoss

if TYPE_CHECKING:
    from experiments.runs.run import Run
    from experiments.runs.task import Task


_Settings = TypeVar("_Settings", bound=Settings)


def begin(settings: Settings) -> None:
    """Starts Keras, once the folder and the input files of the run are checked.

    Keras takes seconds to start; help, mistyped options and names don't wait for it.
    """
    with command.input_errors():
        folders.check(settings)
        checks.check_sources(settings)
    quiet.import_keras()


@contextlib.contextmanager
def training_errors(directory: Path, rate: str) -> Iterator[None]:
    """Ends the program with one line where the training of a run can't go on.

    `rate` is the option to lower when the loss stops being a number.

    Raises:
        SystemExit: With status 2 when a step takes more memory than there is, 3 when
            the loss stopped being a number, 4 when a file can't be written.
        KeyboardInterrupt: With the name of the run, for `run`.
    """
    try:
        yield
    except NonFiniteLoss as error:
        _end(
            command.NON_FINITE,
            f"{error}. The log and the checkpoint of the last finished epoch stay in "
            f"{directory}; try a smaller {rate}",
        )
    except OSError as error:
        _end(
            command.UNWRITABLE,
            f"{error}. The log and the checkpoint of the last epoch that was saved "
            f"stay in {directory}; --resume continues from there",
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(directory.name) from None
    except Exception as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            # TensorFlow makes a SystemError of one that comes while it reads a list.
            raise KeyboardInterrupt(directory.name) from None
        if not command.lacks_memory(error):
            raise
        command.fail(
            f"There is not enough memory for a step; try smaller sizes of batch and "
            f"network. What there is of the run stays in {directory}"
        )


def run(
    module: str, words: Sequence[str], settings: Settings, act: Callable[[], int]
) -> int:
    """Runs a program and returns its exit status.

    After Ctrl-C it prints how to continue.

    Args:
        module: What `python -m` takes.
        words: The words after it.
        settings: What they stand for.
        act: Does the work and returns the exit status.
    """
    try:
        return act()
    except KeyboardInterrupt as interrupt:
        more = [] if settings.resume else ["--resume"]
        if settings.run_name is None and interrupt.args:
            more += ["--run-name", interrupt.args[0]]
        same = command.compose_command(module, [*words, *more])
        print(f"\nInterrupted. Continue with: {same}", file=sys.stderr)
        return command.INTERRUPTED


def _end(status: int, message: str) -> NoReturn:
    print(f"\nerror: {message}", file=sys.stderr)
    sys.exit(status)


def main(
    module: str,
    parse: Callable[[Sequence[str]], _Settings],
    act: Callable[[_Settings], object],
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs a program and returns its exit status.

    Args:
        module: What `python -m` takes.
        parse: Makes settings of the words after it.
        act: Does the work, once Keras has started.
        arguments: The words. Defaults to those of the command line.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    words = command.words_of(arguments)
    settings = parse(words)

    def begin_and_act() -> int:
        begin(settings)
        act(settings)
        return 0

    return run(module, words, settings, begin_and_act)


def perform(make: "Callable[[], Task]", prints: bool = True) -> "Run":
    """Sets a run up and trains; prints where the run is, and at the end its result.

    The program ends with one line if the input is wrong or the training can't go on.
    """
    from experiments.runs.run import Run

    with command.input_errors():
        run = Run(make())
    if prints:
        print(run.task.announcement(run.folder.directory), flush=True)
    with training_errors(run.folder.directory, run.task.rate):
        run.train()
    if prints:
        print("\n".join(["", *run.task.summary(run)]), flush=True)
    return run


@contextlib.contextmanager
def part_of_a_run() -> Iterator[None]:
    """Trains what another run needs; after Ctrl-C, that other run is resumed."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None
