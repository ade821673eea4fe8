"""The file that can stand for the command line of a sweep: names and their texts."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.cli.command import suggestion

_TAG = "tag:yaml.org,2002:"
_EMPTY = "it must have names and values"
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
                f"{suggestion(name, known)} Allowed: {', '.join(known)}"
            )
        if name in settings:
            raise ValueError(f"`--config` has a setting twice in {path}: {key}")
        settings[name] = text
    return settings


def _pairs(path: Path) -> list[tuple[str, str]]:
    # Some editors begin a file with a mark of the byte order.
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise ValueError("its name must end in .toml, .yaml or .yml")
    if path.suffix == ".toml":
        content = tomllib.loads(text)
        if not content:
            raise ValueError(_EMPTY)
        return [(key, _from_toml(key, value)) for key, value in content.items()]
    # Not what YAML makes of texts, but the texts: to YAML 010 is 8, and 1:30 is 90.
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(_EMPTY)
    for key, _ in root.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError("its names must be texts")
    return [(key.value, _from_yaml(key.value, node)) for key, node in root.value]


def _from_toml(key: str, value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    for item in values:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise _unsuitable(key, item)
    return " ".join(map(str, values))


def _from_yaml(key: str, node: Any) -> str:
    import yaml

    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if node.tag not in [f"{_TAG}{kind}" for kind in (*_SCALARS, "seq")]:
        raise _unsuitable(key, node.tag)
    texts = []
    for item in nodes:
        if item.tag not in [f"{_TAG}{kind}" for kind in _SCALARS]:
            raise _unsuitable(key, item.tag)
        text = item.value
        if item.tag == f"{_TAG}int" and text.lstrip("+-")[:1] == "0" and text != "0":
            raise ValueError(
                f"{key} must be written without a zero in front, for which YAML has "
                f"rules of its own. Received: {text}"
            )
        texts.append(text)
    return " ".join(texts)


def _unsuitable(key: str, value: object) -> ValueError:
    return ValueError(
        f"{key} must be a text, a number or a list of these. Received: {value}"
    )
