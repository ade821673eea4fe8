"""Peak memory of training, a process for each network.

    python -m benchmarks.memory dense 5120 20 256

prints the bytes that training has taken at its peak, over what the process had when
everything was imported.
"""

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.networks import Case, images, make_network

_STEPS = 8


def peak_of_training(kind: str, case: Case) -> int:
    """Bytes that training takes at its peak, measured in a process of its own.

    Raises:
        RuntimeError: If the process fails.
    """
    size = [str(number) for number in (case.width, case.rank, case.batch)]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", kind, *size],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    if process.returncode:
        raise RuntimeError(f"{kind} at {case} failed:\n{process.stderr[-2000:]}")
    return int(process.stdout.split()[-1])


def _measure(kind: str, case: Case) -> int:
    # What every process needs, whatever it trains.
    make_network(kind, Case(8, 2, 8)).fit(*images(8), batch_size=8, verbose=0)
    before = _resident()
    x, y = images(_STEPS * case.batch)
    make_network(kind, case).fit(x, y, batch_size=case.batch, verbose=0)
    return _peak() - before


def _resident() -> int:
    """Bytes in memory now, or at the peak where the system does not say."""
    return _of_status("VmRSS") or _peak()


def _peak() -> int:
    # `ru_maxrss` would count what the parent had when it forked.
    if found := _of_status("VmHWM"):
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _of_status(name: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    for line in status.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return 1024 * int(value.split()[0])
    return 0


if __name__ == "__main__":
    kind, *size = sys.argv[1:]
    print(_measure(kind, Case(*map(int, size))))
