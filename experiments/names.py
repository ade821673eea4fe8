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

import re
from dataclasses import dataclass
from decimal import Decimal

# The regularizers of a run and their words, longest first.
REGULARIZERS = {"l1l2": "L1L2Reg", "l1": "L1Reg", "full": "RegFull", "l2": "Reg"}
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
    r"(?:Run(?P<run>\d+))?"
)


@dataclass(frozen=True)
class Name:
    """What the name of a test says.

    Args:
        dims: Widths of the hidden layers, `(first, last + 1)`.
        epochs: Number of epochs.
        batch_size: Images in a step.
        learning_rate: The learning rate.
        dlrt: Whether the network is a low-rank one.
        ranks: Its fixed ranks, `(first, last + 1)`.
        tolerance: The tolerance of adaptive ranks, in `(0, 1)`.
        optimizer: `"adam"` or `"sgd"`.
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
    if name.optimizer != "adam":
        words.append(name.optimizer.upper())
    words.append(f"TestDim{_range(name.dims)}ep{name.epochs}batch{name.batch_size}")
    words.append(f"lr{_decimal(Decimal(str(name.learning_rate)))}")
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
    """What a name says.

    Raises:
        ValueError: If it is not of the grammar.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ValueError(
            "a test must have a name such as 'DLRTRank5-6TestDim1-301ep250batch256"
            f"lr0-001Noise20Dataset10Run0'. Received: {text!r}"
        )
    found = match.groupdict()
    words = {word: name for name, word in REGULARIZERS.items()}
    dims, ranks = found["dims"], found["ranks"]
    return Name(
        dims=_ends(dims, text),
        epochs=int(found["epochs"]),
        batch_size=int(found["batch_size"]),
        learning_rate=float(_number(found["learning_rate"])),
        dlrt=found["dlrt"] is not None,
        ranks=None if ranks is None else _ends(ranks, text),
        tolerance=_share(found["tolerance"]),
        optimizer="sgd" if found["sgd"] else "adam",
        noise=_share(found["noise"]) or 0.0,
        dataset_size=_share(found["dataset_size"]) or 1.0,
        regularizer=words.get(found["regularizer"], "none"),
        regularizer_amount=_share(found["amount"]) or 0.0,
        run=None if found["run"] is None else int(found["run"]),
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


def _decimal(value: Decimal) -> str:
    return f"{value.normalize():f}".replace(".", "-")


def _percent(share: float) -> str:
    return _decimal(100 * Decimal(str(share)))


def _number(text: str) -> Decimal:
    return Decimal(text if "e" in text else text.replace("-", "."))


def _share(text: str | None) -> float | None:
    return None if text is None else float(_number(text) / 100)
