"""The budgets of compression runs, and their options."""

import re
from dataclasses import dataclass, fields
from typing import Any

from experiments.cli.checks import option
from experiments.cli.options import setting

# How many times fewer parameters.
PRESETS = {"light": 2.0, "medium": 4.0, "strong": 8.0}


def _read_ranks(text: str) -> dict[str, Any]:
    found = {}
    for part in text.split(","):
        match = re.fullmatch(r"(.+)=([1-9]\d*)(?:x([1-9]\d*))?", part)
        if match is None:
            raise ValueError(
                "must be layers with their ranks, as conv_1=8,conv_2=16x20. "
                f"Received: {text}"
            )
        name, first, second = match.groups()
        found[name] = int(first) if second is None else (int(first), int(second))
    return found


@dataclass(frozen=True)
class Budget:
    """The options that set the budget of a compression, at most one of which is given.

    All but the preset are budgets of `dlrt.compress`.
    """

    preset: str | None = setting(
        None,
        "budget, as --ratio: "
        + ", ".join(f"{name}: {ratio:g}" for name, ratio in PRESETS.items()),
        shown="medium, of lstm --ratio 1.5",
        choices=tuple(PRESETS),
    )
    ratio: float | None = setting(
        None, "budget: X times fewer parameters", shown="--preset"
    )
    parameters: int | None = setting(None, "budget: N parameters", shown="--preset")
    flops: int | None = setting(None, "budget: N flops an image", shown="--preset")
    error: float | None = setting(
        None, "budget: relative error of every kernel", shown="--preset"
    )
    ranks: dict[str, Any] | None = setting(
        None,
        "budget: the rank of each layer, as conv_1=8, or conv_1=8x4 of a Tucker "
        "decomposition",
        shown="--preset",
        type=_read_ranks,
        metavar="LAYER=R[,...]",
    )


def take(given: dict[str, Any]) -> tuple[str, Any] | None:
    """Takes the budget, if there is one, out of the given settings."""
    names = [field.name for field in fields(Budget)]
    found = {name: given.pop(name) for name in names if given.get(name) is not None}
    if len(found) > 1:
        raise ValueError(
            "At most one of `--preset` and of the budgets "
            f"{', '.join(map(option, names[1:]))} may be given. Received: "
            f"{' '.join(map(option, found))}"
        )
    if not found:
        return None
    ((name, amount),) = found.items()
    return ("ratio", PRESETS[amount]) if name == "preset" else (name, amount)
