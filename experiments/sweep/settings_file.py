"""The file that can replace the command line of a sweep: names and their texts."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from experiments.cli.command import suggest

_TAG = "tag:yaml.org,2002:"
_SCALARS = ("str", "int", "float", "bool", "timestamp")


def read(path: Path, known: Iterable[str]) -> dict[str, str]:
    """The settings in a TOML or YAML file, as they would be on the command line.

    Args:
        path: The file.
        known: The names that a setting can have, with underscores.

    Raises:
        ValueError: If the file can't be read, or a name is not known.
    """
    try:
        pairs = _pairs(path)
    except Exception as error:
        # YAML's and TOML's own errors have no base but this one.
        reason = " ".join(str(error).split())
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        if isinstance(error, UnicodeDecodeError):
            reason = "it must be UTF-8"
        raise ValueError(
            f"`--config` can't be read: {reason}. Received: --config {path}"
        ) from error
    settings: dict[str, str] = {}
    for key, text in pairs:
        name = key.replace("-", "_")
        if name not in known:
            raise ValueError(
                f"`--config` has an unknown setting in {path}: {key}."
                f"{suggest(name, known)} Allowed: {', '.join(known)}"
            )
        if name in settings:
            raise ValueError(f"`--config` has a setting twice in {path}: {key}")
        settings[name] = text
    return settings


def _pairs(path: Path) -> list[tuple[str, str]]:
    # Some editors start a file with a byte order mark.
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".toml":
        values = _read_toml(text)
    elif path.suffix in (".yaml", ".yml"):
        values = _read_yaml(text)
    else:
        raise ValueError("its name must end in .toml, .yaml or .yml")
    if not values:
        raise ValueError("it must have names and values")
    return [(key, " ".join(texts)) for key, texts in values]


def _read_toml(text: str) -> list[tuple[str, list[str]]]:
    pairs = []
    for key, value in tomllib.loads(text).items():
        items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, bool) or not isinstance(item, str | int | float):
                raise _unsuitable(key, item)
        pairs.append((key, [str(item) for item in items]))
    return pairs


def _read_yaml(text: str) -> list[tuple[str, list[str]]]:
    """Keeps scalars as text, which YAML would convert: 010 to 8, and 1:30 to 90."""
    import yaml

    pairs = []
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, node in root.value if isinstance(root, yaml.MappingNode) else ():
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError("its names must be texts")
        listed = isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq"
        items = node.value if listed else [node]
        for item in items:
            kind = item.tag.removeprefix(_TAG)
            if kind not in _SCALARS:
                raise _unsuitable(key.value, item.tag)
            if kind == "int" and re.match(r"[+-]*0.", item.value):
                raise ValueError(
                    f"{key.value} must be written without a zero in front, for which "
                    f"YAML has rules of its own. Received: {item.value}"
                )
        pairs.append((key.value, [item.value for item in items]))
    return pairs


def _unsuitable(key: str, value: object) -> ValueError:
    return ValueError(
        f"{key} must be a text, a number or a list of these. Received: {value}"
    )
