"""Keeps the archive of tests in order: `python -m experiments.archive <subcommand>`.

Exit status: 0 when done, 1 when there are problems or something was refused, which the
output names, 2 after wrong input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli import quiet
from experiments.cli.command import FAILED, Parser, add_subcommands, fail
from experiments.cli.settings import LOG_DIR

_HELP = {
    "list": "Lists the tests: where they lie and how far they are.",
    "validate": "Names every problem, by file and row.",
    "repair": (
        "Removes temporary files of killed writers, moves finished tests to their "
        "place and tests that failed to wrongTests."
    ),
    "rename": "Gives a test another name.",
    "merge": "Makes one test of several that differ in the widths or ranks they cover.",
    "convert": "Writes tests of the present form beside old ones.",
    "thin": "Writes copies of finished tests with fewer epochs.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    given = _parser().parse_args(arguments)
    if not given.log_dir.is_dir():
        fail(f"`--log-dir` must be a folder. Received: --log-dir {given.log_dir}")
    # Logs are read by the package, and that takes seconds to start.
    quiet.import_keras()
    from experiments.archive import subcommands
    from experiments.archive.moves import Refusal

    try:
        return subcommands.run(given)
    except ValueError as error:
        fail(str(error))
    except (Refusal, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m experiments.archive",
        description="Keeps the archive of tests in order.",
    )
    subparsers = add_subcommands(parser, _HELP)
    for name, subparser in subparsers.items():
        subparser.add_argument(
            "--log-dir",
            type=Path,
            default=LOG_DIR,
            metavar="DIR",
            help="root of the archive (default: history_logs of the repository)",
        )
        if name in ("repair", "convert"):
            subparser.add_argument(
                "--dry-run", action="store_true", help="only show what would be done"
            )
    add = subparsers["rename"].add_argument
    add("old", metavar="OLD", help="name or folder of a test")
    add("new", metavar="NEW", help="its new name")
    add = subparsers["merge"].add_argument
    add("sources", metavar="SOURCE", nargs="+", help="names or folders of tests")
    add("target", metavar="TARGET", help="the test they become")
    add = subparsers["thin"].add_argument
    add("target", metavar="TARGET", type=Path, help="new folder")
    add(
        "--every",
        type=int,
        default=10,
        metavar="N",
        help="keep one epoch in N after the first ten, and the last (default: 10)",
    )
    add = subparsers["convert"].add_argument
    add("folders", metavar="FOLDER", nargs="+", help="folders of old logs")
    return parser
