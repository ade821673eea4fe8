"""The subcommands of the archive."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.archive import (
    archived_tests,
    checks,
    merging,
    old_logs,
    table,
    thinning,
)
from experiments.archive.archived_tests import ArchivedTest
from experiments.archive.moves import Action, Refusal
from experiments.cli.command import FAILED, WRONG_INPUT, fail

# Seconds between two lines about the progress.
_PERIOD = 5.0


def run(given: argparse.Namespace) -> int:
    """Runs the subcommand of a command line and returns its exit status."""
    root = given.log_dir
    match given.subcommand:
        case "list":
            print(table.format_table(_read_tests(root)))
        case "validate":
            return _validate(root)
        case "repair":
            return _do(checks.plan_repairs(root, _read_tests(root)), given.dry_run)
        case "rename":
            print(merging.rename(root, given.old, given.new))
        case "merge":
            print(merging.merge(root, given.sources, given.target))
        case "convert":
            return _convert(root, given.folders, given.dry_run)
        case "thin":
            _thin(root, given.target, given.every)
    return 0


def _validate(root: Path) -> int:
    count = 0
    for problem in checks.find_problems(root, _read_tests(root)):
        print(problem, flush=True)
        count += 1
    print(f"{count} problem{'' if count == 1 else 's'}")
    return FAILED if count else 0


def _convert(root: Path, words: Iterable[str], dry_run: bool) -> int:
    what = "`folder` must be a folder of logs"
    # All of them are looked for before the first is converted.
    folders = [merging.find(root, word, what) for word in words]
    statuses = [0]
    for folder in folders:
        try:
            items = list(old_logs.plan_conversions(folder))
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
                statuses.append(_do([item], dry_run))
    return max(statuses)


def _thin(root: Path, target: Path, every: int) -> None:
    if every < 1:
        fail(f"`--every` must be at least 1. Received: --every {every}")
    for test in _read_tests(root):
        if test.place in archived_tests.FINISHED:
            for path in thinning.thin(test, target, every):
                print(path, flush=True)


def _do(actions: Iterable[Action], dry_run: bool) -> int:
    """Announces and carries out actions in order; a refusal stops no others."""
    status = 0
    for text, act in actions:
        print(f"would {text}" if dry_run else text, flush=True)
        try:
            if not dry_run:
                act()
        except (Refusal, OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            status = FAILED
    return status


def _read_tests(root: Path) -> Iterator[ArchivedTest]:
    """The tests under a root, with progress on stderr if reading takes long."""
    tests = archived_tests.list_tests(root)
    last = time.monotonic()
    for number, test in enumerate(tests):
        if time.monotonic() - last > _PERIOD:
            last = time.monotonic()
            print(f"{number} of {len(tests)} tests read", file=sys.stderr, flush=True)
        yield test
