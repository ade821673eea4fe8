"""Keeps stderr clean: no notices of the backend, one line for each warning."""

import contextlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator

# Notices and warnings of TensorFlow's C++ side, the line that introduces them, and what
# it calls an error on every machine without a GPU.
_NOTICE = re.compile(
    rb"[IW]\d{4} |WARNING: All log messages before absl|E\d{4} .*cuInit.*\(303\)"
)


def import_keras(devices: bool = True) -> None:
    """Imports Keras without the start-up notices that TensorFlow always prints.

    Some are printed before its log level takes effect. Everything else is printed
    afterwards; with `TF_CPP_MIN_LOG_LEVEL=0` notices are too.

    Args:
        devices: Whether to look for devices now, which takes the memory of a GPU. A
            program that only starts others leaves that to them.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if level == "0" or "keras" in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            import keras

            if devices:
                # The first operation looks for devices and prints what it finds.
                keras.ops.ones(())
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            captured.seek(0)
            os.write(2, b"".join(li for li in captured if not _NOTICE.match(li)))


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Prints only the first line of each warning, which says what to do.

    The line of the source that Python shows with it would look like a crash.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        line = str(warning.message).partition("\n")[0]
        print(f"WARNING: {line}", file=sys.stderr, flush=True)
