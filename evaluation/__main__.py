"""Evaluates logs: `python -m evaluation figures|tables|report [logs ...]`.

Logs are workbooks, or folders that hold <name of the test>/historyLogs/<network>.xlsx
at any depth. What is wrong with a log is said on stderr. Exit status: 0 when done, 2
after wrong input.
"""

import argparse
import errno
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.choices import FORMATS, KINDS
from experiments.cli import quiet
from experiments.cli.command import Parser
from experiments.cli.settings import LOG_DIR

if TYPE_CHECKING:
    from evaluation.collection import Collection
    from evaluation.figures import Options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    # Keras takes seconds to start; help and mistyped options don't wait for it.
    quiet.import_keras()
    from evaluation.collection import collect
    from evaluation.series import uneven

    try:
        _check_output(given)
    except OSError as error:
        return _fail(f"`--output`: {error.strerror}. Received: {given.output}")
    try:
        collection = collect(given.logs or [LOG_DIR], given.unfinished)
    except FileNotFoundError as error:
        return _fail(str(error))
    for problem in collection.problems:
        print(f"evaluation: {problem}", file=sys.stderr)
    if not collection.counted:
        return _fail("no log is left to evaluate")
    for note in uneven(collection):
        print(f"evaluation: {note}", file=sys.stderr)
    try:
        for path in given.run(collection, given):
            print(path, flush=True)
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename}")
    return 0


def _check_output(given: argparse.Namespace) -> None:
    """Raises an `OSError` if what is written has no room, before logs are read."""
    from dlrt.history import atomic_file

    if given.run is _report:
        atomic_file.check(given.output)
    elif given.output.exists() and not given.output.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it must be a folder")


def _figures(collection: "Collection", given: argparse.Namespace) -> Iterator[Path]:
    from evaluation import figures, style

    drawings = figures.plan(collection, _options(given))
    for drawing in drawings:
        yield from style.save(drawing.draw(), given.output, drawing.name, given.formats)
    if not drawings:
        print("evaluation: these logs give no such figure", file=sys.stderr)


def _tables(collection: "Collection", given: argparse.Namespace) -> Iterator[Path]:
    from evaluation import style, tables

    for table in tables.all_tables(collection):
        for ending, write in tables.WRITERS.items():
            path = given.output / f"{table.name}.{ending}"
            style.replace(path, write(table).encode())
            yield path


def _report(collection: "Collection", given: argparse.Namespace) -> Iterator[Path]:
    from evaluation import figures, report, style

    drawings = figures.plan(collection, _options(given))
    title = given.title or _title(collection)
    page = report.page(collection, drawings, title)
    style.replace(given.output, page.encode())
    yield given.output


def _title(collection: "Collection") -> str:
    tests = sorted({log.test for log in collection.counted})
    return tests[0] if len(tests) == 1 else f"{len(tests)} tests of dlrt"


def _options(given: argparse.Namespace) -> "Options":
    from evaluation.figures import Options

    return Options(given.kinds, given.band, given.at, given.widths, given.ranks)


def _fail(message: str) -> int:
    print(f"evaluation: error: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="figures|tables|report")
    figures = commands.add_parser("figures", help="draws every figure the logs give")
    figures.set_defaults(run=_figures)
    tables = commands.add_parser("tables", help="writes CSV, Markdown and LaTeX tables")
    tables.set_defaults(run=_tables)
    report = commands.add_parser("report", help="writes one HTML page with everything")
    report.set_defaults(run=_report)
    for command, output in (
        (figures, LOG_DIR / "figures"),
        (tables, LOG_DIR / "tables"),
        (report, LOG_DIR / "report.html"),
    ):
        command.description = f"{command.prog.split()[-1].capitalize()} from logs."
        command.add_argument(
            "logs",
            nargs="*",
            type=Path,
            help="workbooks or folders (default: history_logs)",
        )
        command.add_argument(
            "--output",
            type=Path,
            default=output,
            metavar="PATH",
            help=f"where to write (default: history_logs/{output.name})",
        )
        command.add_argument(
            "--unfinished",
            action="store_true",
            help="use logs too that end before their last epoch",
        )
    for command in (figures, report):
        _add_drawing_options(command)
    figures.add_argument(
        "--formats",
        type=_words("formats", FORMATS),
        default=("png", "pdf"),
        metavar="F,F",
        help=f"of {', '.join(FORMATS)} (default: png,pdf)",
    )
    report.add_argument("--title", help="title of the page")
    return parser


def _add_drawing_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--kinds",
        type=_words("kinds", KINDS),
        default=KINDS,
        metavar="K,K",
        help=f"only these figures, of {', '.join(KINDS)}",
    )
    command.add_argument(
        "--band",
        choices=("range", "std"),
        default="range",
        help="what shades show: smallest to largest run, or the standard deviation "
        "(default: range)",
    )
    command.add_argument(
        "--at",
        choices=("last", "best"),
        default="last",
        help="which epoch is final: the last, or that of the best validation accuracy "
        "(of transformers: the smallest validation loss; of networks for images it is "
        "always the best; default: last)",
    )
    for name in ("widths", "ranks"):
        command.add_argument(
            f"--{name}",
            type=_sizes,
            default=(),
            metavar="N,N",
            help=f"{name} whose epochs and clouds are drawn (default: a few)",
        )


def _words(name: str, allowed: Sequence[str]):
    def read(text: str) -> tuple[str, ...]:
        words = tuple(text.split(","))
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(
                    f"{name} must be of {', '.join(allowed)}. Received: {word!r}"
                )
        return words

    return read


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(word) if word.isdecimal() else 0 for word in text.split(","))
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers from 1 on, with commas. Received: {text!r}"
        )
    return sizes


if __name__ == "__main__":
    sys.exit(main())
