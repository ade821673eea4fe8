"""What loading by name has in common: names, places, and the second choice of two."""

import os
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from dlrt.datasets._errors import DatasetFallbackWarning, DatasetUnavailableError
from dlrt_names.data_sets import AUTO, CORPORA, IMAGES, Loader, Registry

ENVIRONMENT_VARIABLE = "DLRT_DATA_DIR"


def register(name: str, loader: Loader, shape: tuple[int, ...] | None = None) -> None:
    """Adds a data set of images, which `load` then knows by its name.

    The experiments take the name as their `--dataset`, once the module that adds it has
    been imported.

    Args:
        name: Letters, digits and "_"; not the name of another one.
        loader: A function that gets the `data_dir` of `load`, which may be `None`, and
            returns `Arrays`, or a tuple of its first four, which `load` checks and
            scales. Where the data can't be had, it raises a `DatasetUnavailableError`.
        shape: Shape of an image, if it is known. A program that needs images of one
            shape does not offer data sets of another.

    Raises:
        ValueError: If the name is taken, or has other characters.
        TypeError: If the loader can't be called.

    Example:
    >>> def load_noise(data_dir):
    ...     images = np.random.default_rng(0).random((20, 8, 8))
    ...     labels = np.arange(20) % 2
    ...     return images[:16], labels[:16], images[16:], labels[16:]
    >>> dlrt.datasets.register("noise", load_noise, (8, 8))
    >>> dlrt.datasets.load("noise").num_classes
    2
    """
    IMAGES.register(name, loader, shape)


def register_corpus(name: str, loader: Loader) -> None:
    """Adds a corpus, which `load_corpus` and `load_text` then know by its name.

    Args:
        name: Letters, digits and "_"; not the name of another one.
        loader: A function without arguments that returns a `Corpus`, whose parts may
            be any iterables of pairs. `load_corpus` strips sentences, brings them to
            Unicode form NFC, and drops pairs of which a side is blank.

    Raises:
        ValueError: If the name is taken, or has other characters.
        TypeError: If the loader can't be called.
    """
    CORPORA.register(name, loader)


def load_named(
    registry: Registry, name: str, warning: str, *arguments: Any
) -> tuple[str, Any]:
    """Loads what has a name, of "auto" the fallback where the preferred can't be had.

    A warning then says so, and why. The name of what was loaded is returned, too.
    """
    if name != AUTO:
        return name, registry.find(name)(*arguments)
    try:
        return registry.preferred, registry.find(registry.preferred)(*arguments)
    except DatasetUnavailableError as error:
        warnings.warn(f"{warning}{error}", DatasetFallbackWarning, stacklevel=3)
    return registry.fallback, registry.find(registry.fallback)(*arguments)


def find_own(
    names: Collection[str], data_dir: str | os.PathLike[str] | None = None
) -> tuple[Path | None, str]:
    """Returns the first of some names in `data_dir`, or where `DLRT_DATA_DIR` says.

    Beside it stands what has named the directory or, where there is no such path, why.
    The directory must exist.
    """
    source = "data_dir"
    value: object = data_dir
    if data_dir is None:
        source = ENVIRONMENT_VARIABLE
        value = os.environ.get(ENVIRONMENT_VARIABLE) or None
        if value is None:
            return None, f"{source} is not set"
    directory = _find(value, Path.is_dir)
    if directory is None:
        raise ValueError(
            f"`{source}` must name an existing directory. Received: {source}={value!r}"
        )
    for name in names:
        if os.path.lexists(directory / name):
            return directory / name, source
    return None, f"{source} ({directory}) has no {' and no '.join(names)}"


def find_path(
    name: object, registry: Registry, what: str, is_one: Callable[[Path], bool]
) -> Path:
    """Returns the path in the place of a name; a `ValueError` if there is none."""
    path = _find(name, is_one)
    if path is None:
        raise ValueError(
            f"`name` must be one of {tuple(registry)} or the path of {what}. Received: "
            f"name={name!r}"
        )
    return path


def _find(value: object, is_one: Callable[[Path], bool]) -> Path | None:
    # An empty path would otherwise mean the working directory.
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        path = Path(value).expanduser()
        return path if is_one(path) else None
    return None
