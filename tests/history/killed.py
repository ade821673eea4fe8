"""A program that writes a log, and dies when it is about to replace a file."""

_PROGRAM = """
import os, signal, sys
from dlrt.callbacks import HistoryLog

path, first, at_replace = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
replace = os.replace

def replace_or_die(*names):
    global at_replace
    at_replace -= 1
    if at_replace == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)

os.replace = replace_or_die
log = HistoryLog(path, {configuration!r}, resume=first > 1)
for epoch in range(first, 100_000):
    {before}
    log.append(epoch, 0.0, {{"loss": 1.0 / epoch}})
    print(epoch, flush=True)
"""


def program(configuration=None, before="pass"):
    """The program; `before` is run in each epoch, before that is appended."""
    return _PROGRAM.format(configuration=configuration, before=before)
