"""The subcommands of the archive; each returns its exit status."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from experiments.archive import (
    archived_tests,
    checks,
    merging,
    old_logs,
    table,
    thinning,
)
from experiments.archive.archived_tests import ArchivedTest, Place
from experiments.archive.moves import Action, Refusal
from experiments.cli.command import FAILED, WRONG_INPUT, fail

# Seconds between two lines about the progress.
_PERIOD = 5.0


def _list(given: argparse.Namespace) -> int:
    print(table.format_table(_read_tests(given.log_dir)))
    return 0


def _validate(given: argparse.Namespace) -> int:
    count = 0
    for problem in checks.find_problems(given.log_dir, _read_tests(given.log_dir)):
        print(problem, flush=True)
        count += 1
    print(f"{count} problem{'' if count == 1 else 's'}")
    return FAILED if count else 0


def _repair(given: argparse.Namespace) -> int:
    repairs = checks.plan_repairs(given.log_dir, _read_tests(given.log_dir))
    return _do(repairs, given.dry_run)


def _rename(given: argparse.Namespace) -> int:
    print(merging.rename(given.log_dir, given.old, given.new))
    return 0


def _merge(given: argparse.Namespace) -> int:
    print(merging.merge(given.log_dir, given.sources, given.target))
    return 0


def _convert(given: argparse.Namespace) -> int:
    folders = []
    for word in given.folders:
        folder = merging.locate(given.log_dir, word)
        if folder is None:
            raise ValueError(f"`folder` must be a folder of logs. Received: {word}")
        folders.append(folder)
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
                statuses.append(_do([item], given.dry_run))
    return max(statuses)


def _thin(given: argparse.Namespace) -> int:
    if given.every < 1:
        fail(f"`--every` must be at least 1. Received: --every {given.every}")
    for test in _read_tests(given.log_dir):
        if test.place in (Place.FINISHED, Place.FINISHED_FULL_SET):
            for path in thinning.thin(test, given.target, given.every):
                print(path, flush=True)
    return 0


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "validate": _validate,
    "repair": _repair,
    "rename": _rename,
    "merge": _merge,
    "convert": _convert,
    "thin": _thin,
}


def _do(actions: Iterable[Action], dry_run: bool) -> int:
    """Announces and carries out actions in order; a refusal stops no others."""
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


def _read_tests(root: Path) -> Iterator[ArchivedTest]:
    """The tests under a root, with progress on stderr if reading takes long."""
    tests = archived_tests.list_tests(root)
    last = time.monotonic()
    for number, test in enumerate(tests):
        if time.monotonic() - last > _PERIOD:
            last = time.monotonic()
            print(f"{number} of {len(tests)} tests read", file=sys.stderr, flush=True)
        yield test
