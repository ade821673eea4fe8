"""Names of tests: what a sweep trains, in the grammar of the thesis.

    [DLRT[Rank<x-y>|Tol<x>]][SGD]TestDim<x-y>ep<x>batch<x>lr<x>
        [Noise<x>][Dataset<x>][L1L2Reg<x>|L1Reg<x>|Reg<x>|RegFull<x>][Run<k>]

in one word, as in `DLRTRank10-11TestDim1-301ep250batch256lr0-001Noise20Dataset10Run0`.
A missing method means the dense reference network, a missing optimizer Adam, a missing
noise none and a missing data set all images. Ranges are half open, as Python's: `1-301`
holds the widths 1 to 300. A decimal point is written as a hyphen. Noise, data set and
regularizer are in percent: `Dataset10` is 5K-1K of MNIST, `Reg0-1` is L2 with the
factor 0.001. `Tol20`, for adaptive ranks at the tolerance 0.2, is our addition.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any

# The optimizers of tests and their words.
OPTIMIZERS = {"adam": "", "sgd": "SGD"}
# Regularizers and their words, the longest words first.
REGULARIZERS = {"l1l2": "L1L2Reg", "l1": "L1Reg", "full": "RegFull", "l2": "Reg"}
# The settings that a name has under their own names, whatever the method.
_SETTINGS = (
    *("epochs", "batch_size", "learning_rate", "optimizer"),
    *("noise", "dataset_size", "regularizer"),
)
_RANGE = r"\d+-\d+"
_NUMBER = r"\d+(?:e-?\d+|-\d+)?"
_GRAMMAR = re.compile(
    rf"(?P<dlrt>DLRT(?:Rank(?P<ranks>{_RANGE})|Tol(?P<tolerance>{_NUMBER}))?)?"
    r"(?P<sgd>SGD)?"
    rf"TestDim(?P<dims>{_RANGE})"
    r"ep(?P<epochs>\d+)"
    r"batch(?P<batch_size>\d+)"
    rf"lr(?P<learning_rate>{_NUMBER})"
    rf"(?:Noise(?P<noise>{_NUMBER}))?"
    rf"(?:Dataset(?P<dataset_size>{_NUMBER}))?"
    rf"(?:(?P<regularizer>{'|'.join(REGULARIZERS.values())})(?P<amount>{_NUMBER}))?"
    r"(?:Run(?P<run>\d+))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Name:
    """The parsed name of a test.

    Args:
        dims: Widths of the hidden layers, `(first, last + 1)`.
        epochs: Number of epochs.
        batch_size: Images in a step.
        learning_rate: The learning rate.
        dlrt: Whether the network is a low-rank one.
        ranks: Its fixed ranks, `(first, last + 1)`.
        tolerance: The tolerance of adaptive ranks, in `(0, 1)`.
        optimizer: One of `OPTIMIZERS`.
        noise: Share of the training labels that is random.
        dataset_size: Share of the images in use, in `(0, 1]`.
        regularizer: `"none"` or one of `REGULARIZERS`.
        regularizer_amount: Its factor.
        run: Number of the repetition, which is its seed; `None` for all of them.
    """

    dims: tuple[int, int]
    epochs: int
    batch_size: int
    learning_rate: float
    dlrt: bool = False
    ranks: tuple[int, int] | None = None
    tolerance: float | None = None
    optimizer: str = "adam"
    noise: float = 0.0
    dataset_size: float = 1.0
    regularizer: str = "none"
    regularizer_amount: float = 0.0
    run: int | None = None

    @property
    def numbered_by(self) -> str:
        """The number in the names of its workbooks: `"dim"` or `"rank"`."""
        several = self.ranks is not None and self.ranks[1] - self.ranks[0] > 1
        return "rank" if several else "dim"


def compose(name: Name) -> str:
    """The name in the grammar; `parse` is the inverse.

    Raises:
        ValueError: If the grammar has no word for a value.
    """
    words = []
    if name.dlrt:
        words.append("DLRT")
    if name.ranks is not None:
        words.append(f"Rank{_range(name.ranks)}")
    if name.tolerance is not None:
        words.append(f"Tol{_percent(name.tolerance)}")
    words.append(OPTIMIZERS.get(name.optimizer, "?"))
    words.append(f"TestDim{_range(name.dims)}ep{name.epochs}batch{name.batch_size}")
    words.append(f"lr{format_number(Decimal(str(name.learning_rate)))}")
    if name.noise:
        words.append(f"Noise{_percent(name.noise)}")
    if name.dataset_size != 1:
        words.append(f"Dataset{_percent(name.dataset_size)}")
    if name.regularizer != "none":
        word = REGULARIZERS.get(name.regularizer, "?")
        words.append(f"{word}{_percent(name.regularizer_amount)}")
    if name.run is not None:
        words.append(f"Run{name.run}")
    text = "".join(words)
    if not _GRAMMAR.fullmatch(text) or parse(text) != name:
        raise ValueError(
            f"no name of the grammar says all of {name}: {text!r} does not"
        )
    return text


def parse(text: str) -> Name:
    """Parses a name.

    Raises:
        ValueError: If it does not follow the grammar, or has a number that no test can
            have.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ValueError(
            "a test must have a name such as 'DLRTRank5-6TestDim1-301ep250batch256"
            f"lr0-001Noise20Dataset10Run0'. Received: {text!r}"
        )
    return read_words(match.groupdict(), text)


def read_words(words: Mapping[str, Any], text: str) -> Name:
    """Parses the words of a name, by the groups of the grammar.

    Words that it lacks are `None`. The text is named in errors.

    Raises:
        ValueError: If a number is one that no test can have.
    """
    regularizers = {word: name for name, word in REGULARIZERS.items()}
    ranks, size = words["ranks"], _share(words["dataset_size"])
    name = Name(
        dims=_ends(words["dims"], text),
        epochs=int(words["epochs"]),
        batch_size=int(words["batch_size"]),
        learning_rate=_number(words["learning_rate"]),
        dlrt=words["dlrt"] is not None,
        ranks=None if ranks is None else _ends(ranks, text),
        tolerance=_share(words["tolerance"]),
        optimizer="sgd" if words["sgd"] else "adam",
        noise=_share(words["noise"]) or 0.0,
        dataset_size=1.0 if size is None else size,
        regularizer=regularizers.get(words["regularizer"], "none"),
        regularizer_amount=_share(words["amount"]) or 0.0,
        run=None if words["run"] is None else int(words["run"]),
    )
    _check(name, text)
    return name


def parse_stem(stem: str, name: Name) -> tuple[int, int | None]:
    """Width and rank of the network whose workbook has this name, without its ending.

    The rank is `None` where the name of the test gives none.

    Raises:
        ValueError: If the test has no such network.
    """
    match = re.fullmatch(r"(dim|rank)([1-9]\d{0,8})", stem)
    if match is None or match[1] != name.numbered_by:
        raise ValueError(
            f"a cell of this test must be called '{name.numbered_by}<number>.xlsx'. "
            f"Received: {stem}.xlsx"
        )
    number = int(match[2])
    width, rank = number, name.ranks and name.ranks[0]
    if name.numbered_by == "rank" and name.ranks:
        width, rank = name.dims[0], number
        if name.dims[1] - width > 1:
            raise ValueError(
                "a test must have one width or one rank, so that a cell has one "
                f"number. Received: widths {_range(name.dims)}, ranks "
                f"{_range(name.ranks)}"
            )
    for what, value, ends in (("width", width, name.dims), ("rank", rank, name.ranks)):
        if value is not None and ends is not None and value not in range(*ends):
            raise ValueError(
                f"the {what} of a cell must lie in {_range(ends)} (half open), as the "
                f"test's name says. Received: {value}"
            )
    return width, rank


def compose_stem(name: Name, width: int, rank: int | None) -> str:
    """The name of a network's workbook, without its ending; see `parse_stem`."""
    return f"rank{rank}" if name.numbered_by == "rank" else f"dim{width}"


def settings(name: Name, width: int, rank: int | None) -> dict[str, Any]:
    """The settings of a network, as far as the name of its test tells them."""
    found = {key: getattr(name, key) for key in _SETTINGS}
    found |= {"dim_layer": width, "tolerance": name.tolerance}
    if name.regularizer != "none":
        found["regularizer_amount"] = name.regularizer_amount
    if name.run is not None:
        found["seed"] = name.run
    if rank is not None:
        # A layer narrower than the rank of the test is trained at its full rank.
        found["start_rank"] = min(rank, width)
    return found


def _check(name: Name, text: str) -> None:
    bounds = {
        "ep": (name.epochs >= 1, "at least 1"),
        "batch": (name.batch_size >= 1, "at least 1"),
        "lr": (0 < name.learning_rate < math.inf, "above 0"),
        "Tol": (name.tolerance is None or 0 < name.tolerance < 1, "in (0, 100)"),
        "Noise": (0 <= name.noise < 1, "in [0, 100)"),
        "Dataset": (0 < name.dataset_size <= 1, "in (0, 100]"),
        "Reg": (name.regularizer_amount < math.inf, "finite"),
    }
    for word, (valid, allowed) in bounds.items():
        if not valid:
            raise ValueError(
                f"`{word}` of a name must be {allowed}. Received: {text!r}"
            )


def _ends(text: str, name: str) -> tuple[int, int]:
    first, end = map(int, text.split("-"))
    if not 1 <= first < end:
        raise ValueError(
            "a range must begin at 1 or above and end above its beginning. Received: "
            f"{text} in {name!r}"
        )
    return first, end


def _range(ends: tuple[int, int]) -> str:
    return f"{ends[0]}-{ends[1]}"


def format_number(value: Decimal) -> str:
    """A number as names write it."""
    return f"{value.normalize():f}".replace(".", "-")


def _percent(share: float) -> str:
    return format_number(100 * Decimal(str(share)))


def _number(text: str, divisor: int = 1) -> float:
    try:
        return float(Decimal(text if "e" in text else text.replace("-", ".")) / divisor)
    except DecimalException:
        return math.inf


def _share(text: str | None) -> float | None:
    return None if text is None else _number(text, 100)
