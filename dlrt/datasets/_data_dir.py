"""The directory that users keep their data sets in."""

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "DLRT_DATA_DIR"


def find_own_directory(
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[str, Path | None]:
    """Returns what names the user's directory, and the directory if any.

    Args:
        data_dir: The directory; if `None`, what `DLRT_DATA_DIR` names.

    Raises:
        ValueError: If what names the directory does not name an existing one.
    """
    source = "data_dir"
    value: object = data_dir
    if data_dir is None:
        source = ENVIRONMENT_VARIABLE
        value = os.environ.get(ENVIRONMENT_VARIABLE) or None
        if value is None:
            return source, None
    # An empty path would otherwise mean the working directory.
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        path = Path(value).expanduser()
        if path.is_dir():
            return source, path
    raise ValueError(
        f"`{source}` must name an existing directory. Received: {source}={value!r}"
    )
