"""What images are for, by the folders that they are in."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dlrt.datasets._errors import DatasetFileError

# What people call the folders of the parts, in lower case.
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# One image in five of each class, where there are no folders of parts.
_TEST_INTERVAL = 5

Folders = tuple[str, ...]


class Place(NamedTuple):
    """What an image is for.

    Attributes:
        path: Where it is.
        part: "train" or "test".
        class_name: Its class.
    """

    path: PurePosixPath
    part: str
    class_name: str


class Places(NamedTuple):
    """What images are for.

    Attributes:
        used: Those that are for something, in the order of the paths.
        outside: Those that are in no folder of a class, or of no part.
        validation: Those of a validation part that is not used.
        tested_on: The name of a validation part that is used for testing.
    """

    used: list[Place]
    outside: list[PurePosixPath]
    validation: list[PurePosixPath]
    tested_on: str | None


def places(where: Path, paths: Sequence[PurePosixPath]) -> Places:
    """What images are for: `<part>/<class>/...`, `<class>/<part>/...`, `<class>/...`.

    The names of parts are those of `_PARTS`, in any case. Folders that all images are
    in say nothing.

    Args:
        where: What errors name.
        paths: Their paths, sorted.

    Raises:
        DatasetFileError: If there are no images of a part, or two folders for one.
    """
    folders = _without_common({path: path.parts[:-1] for path in paths})
    deep = [names for names in folders.values() if len(names) > 1]
    if any(_part(names[0]) for names in deep):
        return _in_parts(where, paths, folders)
    if deep and all(_part(names[1]) for names in deep):
        swapped = {path: (*names[1::-1], *names[2:]) for path, names in folders.items()}
        return _in_parts(where, paths, swapped)
    classes = {names[0] for names in folders.values()}
    # Unless they are folders of parts without folders of classes.
    if not {"train", "test"} <= set(map(_part, classes)):
        return _without_parts(where, paths, folders)
    raise _missing(where, ["train", "test"])


def _in_parts(
    where: Path, paths: Sequence[PurePosixPath], folders: dict[PurePosixPath, Folders]
) -> Places:
    found: dict[str, set[str]] = {}
    classes = {}
    for path, names in folders.items():
        part = _part(names[0])
        if part is not None and len(names) > 1:
            found.setdefault(part, set()).add(names[0])
            classes[path] = names[1:]
    for part, names_of_part in found.items():
        if len(names_of_part) > 1:
            raise DatasetFileError(
                f"{where}: several folders are for {part}: "
                f"{', '.join(sorted(names_of_part))}"
            )
    tested_on = None
    if "test" not in found and "validation" in found:
        (tested_on,) = found["test"] = found.pop("validation")
    missing = [part for part in ("train", "test") if part not in found]
    if missing:
        raise _missing(where, missing)
    parts = {name: part for part, (name,) in found.items()}
    classes = _without_common(classes)
    used = [
        Place(path, parts[folders[path][0]], names[0])
        for path, names in classes.items()
    ]
    return Places(
        used=[place for place in used if place.part != "validation"],
        outside=[path for path in paths if path not in classes],
        validation=[place.path for place in used if place.part == "validation"],
        tested_on=tested_on,
    )


def _without_parts(
    where: Path, paths: Sequence[PurePosixPath], folders: dict[PurePosixPath, Folders]
) -> Places:
    counts: dict[str, int] = {}
    used = []
    for path, (name, *_) in folders.items():
        counts[name] = counts.get(name, 0) + 1
        part = "train" if counts[name] % _TEST_INTERVAL else "test"
        used.append(Place(path, part, name))
    found = {place.part for place in used}
    missing = [part for part in ("train", "test") if part not in found]
    if missing:
        raise _missing(where, missing)
    return Places(used, [path for path in paths if path not in folders], [], None)


def _part(name: str) -> str | None:
    return _PARTS.get(name.lower())


def _without_common(
    folders: dict[PurePosixPath, Folders],
) -> dict[PurePosixPath, Folders]:
    """Folders of images without those that all images are in, and without no folder."""
    while True:
        folders = {path: names for path, names in folders.items() if names}
        first = {names[0] for names in folders.values()}
        if (
            len(first) != 1
            or _part(*first)
            or all(len(n) == 1 for n in folders.values())
        ):
            return folders
        folders = {path: names[1:] for path, names in folders.items()}


def _missing(where: Path, parts: list[str]) -> DatasetFileError:
    return DatasetFileError(
        f"{where}: no images in class folders of {' and '.join(parts)}; images are "
        "files <part>/<class>/<name>, or <class>/<name>, of which every fifth of a "
        "class is for testing"
    )
