"""Keeps the archive of tests in order: `python -m experiments.archive <subcommand>`.

Exit status: 0 when done, 1 when there are problems or something was refused, which the
output names, 2 after wrong input.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import quiet
from experiments.cli.command import FAILED, WRONG_INPUT, Parser, add_subcommands, fail
from experiments.cli.settings import LOG_DIR

if TYPE_CHECKING:
    from experiments.archive.archived_tests import ArchivedTest

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
# Seconds between two lines about the progress.
_PERIOD = 5.0


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
    from experiments.archive.moves import Refusal

    try:
        return _SUBCOMMANDS[given.subcommand](given)
    except ValueError as error:
        fail(str(error))
    except (Refusal, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def _list(given: argparse.Namespace) -> int:
    from experiments.archive import table

    tests = _tests(given.log_dir)
    print("\n".join(table.lines(map(table.entry, tests))))
    return 0


def _validate(given: argparse.Namespace) -> int:
    from experiments.archive import checks

    count = 0
    tests = _tests(given.log_dir)
    for problem in checks.problems(given.log_dir, tests):
        print(problem, flush=True)
        count += 1
    print(f"{count} problem{'' if count == 1 else 's'}")
    return FAILED if count else 0


def _repair(given: argparse.Namespace) -> int:
    from experiments.archive import checks

    tests = _tests(given.log_dir)
    repairs = checks.repairs(given.log_dir, tests)
    return _do(((item.text, item.act) for item in repairs), given.dry_run)


def _rename(given: argparse.Namespace) -> int:
    from experiments.archive import merging

    print(merging.rename(given.log_dir, given.old, given.new))
    return 0


def _merge(given: argparse.Namespace) -> int:
    from experiments.archive import merging

    print(merging.merge(given.log_dir, given.sources, given.target))
    return 0


def _convert(given: argparse.Namespace) -> int:
    from experiments.archive import merging, old_logs

    folders = []
    for word in given.folders:
        folder = merging.locate(given.log_dir, word)
        if folder is None:
            raise ValueError(f"`folder` must be a folder of logs. Received: {word}")
        folders.append(folder)
    statuses = [0]
    for folder in folders:
        try:
            items = list(old_logs.conversions(folder))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            statuses.append(WRONG_INPUT)
            continue
        for item in items:
            if isinstance(item, Exception):
                print(f"error: {item}", file=sys.stderr)
                statuses.append(FAILED)
            elif isinstance(item, str):
                print(item, flush=True)
            else:
                text = f"write {item.goal} from {item.source}"
                statuses.append(_do([(text, item.act)], given.dry_run))
    return max(statuses)


def _thin(given: argparse.Namespace) -> int:
    from experiments.archive import archived_tests, thinning

    if given.every < 1:
        fail(f"`--every` must be at least 1. Received: --every {given.every}")
    finished = (archived_tests.Place.FINISHED, archived_tests.Place.FINISHED_FULL_SET)
    for test in _tests(given.log_dir):
        if test.place in finished:
            for path in thinning.thin(test, given.target, given.every):
                print(path, flush=True)
    return 0


_SUBCOMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "validate": _validate,
    "repair": _repair,
    "rename": _rename,
    "merge": _merge,
    "convert": _convert,
    "thin": _thin,
}


def _do(actions: Iterable[tuple[str, Callable[[], object]]], dry_run: bool) -> int:
    """Says and does one thing after the other; what is refused stops none of them."""
    from experiments.archive.moves import Refusal

    status = 0
    for text, act in actions:
        print(f"would {text}" if dry_run else text, flush=True)
        if dry_run:
            continue
        try:
            act()
        except (Refusal, OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            status = FAILED
    return status


def _tests(root: Path) -> Iterator["ArchivedTest"]:
    """The tests under a root, with a line on stderr where looking takes long."""
    from experiments.archive import archived_tests

    tests = archived_tests.tests(root)
    last = time.monotonic()
    for number, test in enumerate(tests):
        if time.monotonic() - last > _PERIOD:
            last = time.monotonic()
            print(f"{number} of {len(tests)} tests read", file=sys.stderr, flush=True)
        yield test


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m experiments.archive",
        description="Keeps the archive of tests in order.",
    )
    for name, subparser in add_subcommands(parser, _HELP).items():
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
        _add_operands(name, subparser)
    return parser


def _add_operands(name: str, parser: argparse.ArgumentParser) -> None:
    if name == "rename":
        parser.add_argument("old", metavar="OLD", help="name or folder of a test")
        parser.add_argument("new", metavar="NEW", help="its new name")
    elif name == "merge":
        parser.add_argument(
            "sources", metavar="SOURCE", nargs="+", help="names or folders of tests"
        )
        parser.add_argument("target", metavar="TARGET", help="the test they become")
    elif name == "thin":
        parser.add_argument("target", metavar="TARGET", type=Path, help="new folder")
        parser.add_argument(
            "--every",
            type=int,
            default=10,
            metavar="N",
            help="keep one epoch in N after the first ten, and the last (default: 10)",
        )
    elif name == "convert":
        parser.add_argument(
            "folders", metavar="FOLDER", nargs="+", help="folders of old logs"
        )
