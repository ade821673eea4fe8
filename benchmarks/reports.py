"""Results as tables and files: CSV, Markdown, figures."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlrt.history import atomic_file


def format_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys, the names of which are the first line."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows in the place of an earlier file."""
    atomic_file.replace(path, format_csv(rows).encode())


def format_line(values: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(values)} |"


def format_head(columns: Sequence[str]) -> str:
    """The two lines above a Markdown table."""
    return f"{format_line(columns)}\n|{'---|' * len(columns)}"


def format_table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    return "\n".join([format_head(columns), *map(format_line, rows)])


def load_pyplot() -> Any:
    """Matplotlib's `pyplot`, for figures that no screen shows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path, dpi: int) -> None:
    """Writes a figure of `pyplot` in the place of an earlier file, and closes it."""
    with atomic_file.replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    load_pyplot().close(figure)
