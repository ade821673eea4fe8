"""Settings of a program: each field of a dataclass describes its option.

`setting` gives a field its help and its bounds, `add_options` adds the options of a
dataclass to a parser, and `check` compares its values with the bounds.
"""

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, field
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from experiments.cli.checks import Rule, one_of, option, require
from experiments.cli.command import Parser, add_subcommands, input_errors

_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "NAME", Path: "PATH"}
_Settings = TypeVar("_Settings")


def setting(
    default: Any,
    help: str,
    *flags: str,
    shown: str = "",
    where: str = "",
    rule: Rule | None = None,
    choices: Any = None,
    **keywords: Any,
) -> Any:
    """A field that is an option of the command line, with the field's name as flag.

    Args:
        default: The default of the field. A program or subcommand with the default
            `None` lacks the option, unless `shown` tells what that stands for.
        help: The help of the option.
        flags: Other flags.
        shown: The default in the help, if not the value.
        where: Another setting without which the option makes no sense.
        rule: What is required of values other than `None`.
        choices: The allowed values, or a function of the settings that returns them.
        keywords: Other arguments of `add_argument`. The defaults of `type` and
            `metavar` follow from the field; `type` may raise `ValueError`s that tell
            what a text must be.
    """
    described = {"help": help, "flags": flags, "shown": shown, "where": where}
    described |= {"rule": rule, "choices": choices, "keywords": keywords}
    return field(default=default, metadata=described)


def _fields(kind: type) -> dict[str, Field]:
    """The settings of a dataclass that are options, those of subclasses first.

    Where a subclass only has another default, the field of the base describes it.
    """
    found: dict[str, Field] = {}
    for base in kind.__mro__:
        for name in inspect.get_annotations(base):
            described = vars(base)["__dataclass_fields__"].get(name)
            if described is not None and described.metadata:
                found.setdefault(name, described)
    return found


def _choices(described: Field, settings: object) -> Any:
    choices = described.metadata["choices"]
    return choices(settings) if callable(choices) else choices


def add_options(parser: argparse.ArgumentParser, defaults: object) -> None:
    """Adds the options of a dataclass to a parser, with their defaults in the help.

    Args:
        parser: The parser, which should omit options that were not given
            (`argument_default=argparse.SUPPRESS`).
        defaults: An instance of the dataclass.
    """
    for name, described in _fields(type(defaults)).items():
        words, value = described.metadata, getattr(defaults, name)
        missing = words["where"] and getattr(defaults, words["where"]) is None
        if missing or (value is None and not words["shown"]):
            continue
        text = f"{words['help']} (default: {words['shown'] or _written(value)})"
        keywords = _arguments(described)
        if words["choices"] is not None:
            keywords |= {"choices": _choices(described, defaults), "metavar": None}
        if keywords.get("type", str) not in _METAVARS:
            keywords["type"] = _with_message(keywords["type"])
        parser.add_argument(
            *words["flags"], option(name), help=text.replace("%", "%%"), **keywords
        )


def readers(kind: type) -> dict[str, Callable[[str], Any]]:
    """What reads the text of each setting of a dataclass that takes one, by name."""
    arguments = {name: _arguments(field) for name, field in _fields(kind).items()}
    return {name: found["type"] for name, found in arguments.items() if "type" in found}


def _arguments(described: Field) -> dict[str, Any]:
    """The arguments of `add_argument` for a field, whose first type counts."""
    kinds = get_args(described.type) or (described.type,)
    kind = next(kind for kind in kinds if kind is not NoneType)
    if kind is not bool:
        implied = {"type": kind, "metavar": _METAVARS.get(kind)}
    elif described.default is False:
        implied = {"action": "store_true"}
    else:
        implied = {"type": _zero_or_one, "metavar": "{0,1}"}
    return implied | described.metadata["keywords"]


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(int(value) if isinstance(value, bool) else value)


def _with_message(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """`argparse` shows only messages of its own error type."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _zero_or_one(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"must be 0 or 1. Received: {text}")
    return text == "1"


def check(settings: object) -> None:
    """Raises `ValueError` if a setting of a dataclass is out of its bounds."""
    for name, described in _fields(type(settings)).items():
        value, rule = getattr(settings, name), described.metadata["rule"]
        if value is None:
            continue
        if described.metadata["choices"] is not None:
            one_of(settings, name, _choices(described, settings))
        unmet = rule(value) if rule is not None else ""
        require(not unmet, settings, name, unmet)


def parse(
    arguments: Sequence[str],
    parser: Parser,
    resolve: Callable[[dict[str, Any]], _Settings],
    *defaults: object,
) -> _Settings:
    """Parses a command line into settings.

    Args:
        arguments: The arguments.
        parser: The parser, which omits options that were not given.
        resolve: Makes settings from the given options, by name.
        defaults: The settings that are options.

    Raises:
        SystemExit: With status 2 and one line on stderr if a word is wrong, or with
            status 0 after the help.
    """
    for settings in defaults:
        add_options(parser, settings)
    given = vars(parser.parse_args(arguments))
    with input_errors():
        return resolve(given)


def parse_subcommand(
    arguments: Sequence[str],
    parser: Parser,
    descriptions: Mapping[str, str],
    resolve: Callable[[str, dict[str, Any]], _Settings],
    defaults: Mapping[str, _Settings],
    *others: object,
) -> _Settings:
    """Parses a command line with a subcommand, see `parse`.

    Args:
        arguments: The arguments.
        parser: The parser of the command.
        descriptions: What each subcommand does.
        resolve: Makes settings from a subcommand and the given options, by name.
        defaults: The settings of each subcommand that are options.
        others: More settings, which are options of all subcommands.
    """
    subparsers = add_subcommands(
        parser, descriptions, argument_default=argparse.SUPPRESS
    )
    for name, subparser in subparsers.items():
        for settings in (defaults[name], *others):
            add_options(subparser, settings)
    given = vars(parser.parse_args(arguments))
    subcommand = given.pop("subcommand")
    with input_errors():
        return resolve(subcommand, given)
