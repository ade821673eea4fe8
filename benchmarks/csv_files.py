"""Results as CSV files."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlrt.history import atomic_file


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys, the names of which are the first line."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows in the place of an earlier file."""
    atomic_file.replace(path, text(rows).encode())
