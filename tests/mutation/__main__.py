"""Whether tests notice deliberate faults, one at a time.

For each of `faults.FAULTS` the source gets its fault, in a copy of the checkout, and
the quick tests that must notice it run until the first fails. A table says which test
that was. Without faults the tests must pass: `sh run_scripts/test.sh`.
"""

import argparse
import concurrent.futures
import multiprocessing
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutation.faults import FAULTS, Fault, planted
from mutation.running import run_tests

ROOT = Path(__file__).resolve().parents[2]
# A fault may lead to a loop without end.
SECONDS = 900
# What pytest ends with: all passed, some failed, tests that could not be collected.
PASSED, NOTICED = 0, (1, 2)
# Processes with a copy of what takes longest to import.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["keras", "openpyxl", "pytest"])


def main(words: list[str] | None = None) -> int:
    options = parsed(words)
    faults = [fault for fault in FAULTS if wanted(fault, options.words)]
    for fault in faults:
        planted(fault, ROOT)
    if options.check or not faults:
        print(f"{len(faults)} faults, and the source has the text of each")
        return 0 if faults else 2
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="dlrt-mutation-") as folder:
        for number in range(options.jobs):
            copies.put(copy_checkout(Path(folder) / str(number)))

        def examine(fault: Fault) -> tuple[str, ...]:
            copy = copies.get()
            try:
                row = examined(fault, copy, options.all)
            finally:
                copies.put(copy)
            print("  ".join(row), flush=True)
            return row

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            rows = list(pool.map(examine, faults))
    found = [row[0].strip() for row in rows]
    print(", ".join(f"{found.count(word)} {word}" for word in dict.fromkeys(found)))
    return 0 if set(found) <= {"noticed"} else 1


def parsed(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutation.sh", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of paths; default: all faults")
    parser.add_argument("--check", action="store_true", help="only look for the texts")
    parser.add_argument(
        "--all", action="store_true", help="slow tests for what quick ones don't notice"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    return parser.parse_args(words)


def wanted(fault: Fault, words: list[str]) -> bool:
    return not words or any(word in fault.path for word in words)


def copy_checkout(folder: Path) -> Path:
    """A copy of the files that are under version control, or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def examined(fault: Fault, copy: Path, slow: bool) -> tuple[str, ...]:
    """A row of the table: whether it was noticed, seconds, where, what and by whom."""
    source = copy / fault.path
    sound = source.read_text(encoding="utf-8")
    source.write_text(planted(fault, copy), encoding="utf-8")
    begin = time.monotonic()
    try:
        test = first_failure(fault, copy)
        word = "unnoticed" if test is None else "noticed"
        if slow and test is None:
            test = first_failure(fault, copy, "--all")
            word = "unnoticed" if test is None else "only by --all"
    finally:
        source.write_text(sound, encoding="utf-8")
    seconds = f"{time.monotonic() - begin:4.0f} s"
    return f"{word:13}", seconds, f"{fault.path}: {fault.why}", test or ""


def first_failure(fault: Fault, copy: Path, *options: str) -> str | None:
    """The first test that fails with a fault in the source, `None` if none does."""
    report = copy / ".report"
    words = ["-x", "-q", "-p", "no:cacheprovider", *options, *fault.tests]
    process = FORKS.Process(target=run_tests, args=(copy, words, report))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        return f"none ended within {SECONDS} s"
    if process.exitcode == PASSED:
        return None
    said = report.read_text(encoding="utf-8")
    if process.exitcode not in NOTICED:
        sys.exit(f"pytest could not run {fault.tests}:\n{said}")
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", said, re.MULTILINE)
    return failed[1] if failed else "the tests can't be collected"


if __name__ == "__main__":
    sys.exit(main())
