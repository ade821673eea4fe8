"""What images are for, by the folders that they are in."""

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dlrt.datasets._errors import DatasetFileError

# What people call the folders of the parts, in lower case.
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD = re.compile("|".join(sorted(_PARTS, key=len, reverse=True)), re.IGNORECASE)
# One image in five of each class, where there are no folders of parts.
_TEST_INTERVAL = 5

Folders = tuple[str, ...]


class Place(NamedTuple):
    """What an image is for: "train" or "test", and of which class it is."""

    path: PurePosixPath
    part: str
    class_name: str


class Places(NamedTuple):
    """What images are for.

    Attributes:
        used: Those that are for something, in the order of their paths.
        outside: Those in no folder of a class, or of no part.
        validation: Those of a validation part that is not used.
        tested_on: The name of a validation part that is used for testing.
        within: Folders within those of classes, whose names say nothing.
    """

    used: list[Place]
    outside: list[PurePosixPath]
    validation: list[PurePosixPath]
    tested_on: str | None
    within: list[PurePosixPath]


def assign_parts(where: Path, paths: Sequence[PurePosixPath]) -> Places:
    """Finds what images are for, by their sorted paths.

    That is `<part>/<class>/...`, `<class>/<part>/...`, or `<class>/...`.

    The names of parts are those of `_PARTS`, in any case, with the same before and
    after them: `seg_train` and `seg_test`. Folders that all images are in say nothing,
    nor do those that repeat the name of the one that they are in.
    """
    # A name that is repeated right below itself counts once.
    folders = _without_common(
        {path: tuple(name for name, _ in groupby(path.parts[:-1])) for path in paths}
    )
    deep = [names for names in folders.values() if len(names) > 1]
    parts = _parts({names[0] for names in folders.values()})
    if any(names[0] in parts for names in deep):
        return _in_parts(where, paths, folders, parts)
    inner = _parts({names[1] for names in deep})
    if deep and all(names[1] in inner for names in deep):
        swapped = {path: (*names[1::-1], *names[2:]) for path, names in folders.items()}
        return _in_parts(where, paths, swapped, inner)
    # Folders of parts without folders of classes are none of classes.
    if {"train", "test"} <= set(parts.values()):
        folders = {}
    return _without_parts(where, paths, folders)


def _parts(folders: Iterable[str]) -> dict[str, str]:
    """The part that folders side by side are for, of those that are for one."""
    found = [(name, match) for name in folders if (match := _WORD.search(name))]
    kinds: dict[Folders, dict[str, str]] = {}
    for name, match in found:
        around = name[: match.start()].lower(), name[match.end() :].lower()
        kinds.setdefault(around, {})[name] = _PARTS[match[0].lower()]
    return {
        name: part
        for around, parts in kinds.items()
        # A word in the name of a class means nothing.
        if not any(around) or {"train"} < set(parts.values())
        for name, part in parts.items()
    }


def _in_parts(
    where: Path,
    paths: Sequence[PurePosixPath],
    folders: dict[PurePosixPath, Folders],
    parts: dict[str, str],
) -> Places:
    found: dict[str, set[str]] = {}
    classes = {}
    for path, names in folders.items():
        if names[0] in parts and len(names) > 1:
            found.setdefault(parts[names[0]], set()).add(names[0])
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
    _require_parts(where, found)
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
        within=_within(classes),
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
    _require_parts(where, {place.part for place in used})
    outside = [path for path in paths if path not in folders]
    return Places(used, outside, [], None, _within(folders))


def _within(classes: dict[PurePosixPath, Folders]) -> list[PurePosixPath]:
    """The folders of images that have that of their class above them."""
    return sorted({path.parent for path, names in classes.items() if len(names) > 1})


def _without_common(
    folders: dict[PurePosixPath, Folders],
) -> dict[PurePosixPath, Folders]:
    """Folders of images without those that all images are in, and without no folder."""
    while True:
        folders = {path: names for path, names in folders.items() if names}
        first = {names[0] for names in folders.values()}
        deep = any(len(names) > 1 for names in folders.values())
        if len(first) != 1 or _parts(first) or not deep:
            return folders
        folders = {path: names[1:] for path, names in folders.items()}


def _require_parts(where: Path, found: Collection[str]) -> None:
    missing = [part for part in ("train", "test") if part not in found]
    if missing:
        raise DatasetFileError(
            f"{where}: no images in class folders of {' and '.join(missing)}; images "
            "are files <part>/<class>/<name>, or <class>/<name>, of which every fifth "
            "of a class is for testing"
        )
