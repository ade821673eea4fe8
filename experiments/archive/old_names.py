"""Names of tests as earlier logs wrote them, in the grammar of today's names.

Words may be in lower case and have `_`, spaces or hyphens between them; numbers may
have a point or an exponent, as in `lr1e-3`, `lr0.001` and `ep250.0`. For noise, data
set and tolerance a number with a point is the share itself, up to 1: `Noise0.2` is
`Noise20`. The amount of a regularizer is in percent however it is written: `Reg0.1` is
`Reg0-1`. A run is also written `_3` at the end.
"""

import re
from decimal import Decimal

from experiments.runs import names
from experiments.runs.names import REGULARIZERS, Name

_GAP = r"[\s_-]*"
_RANGE = r"\d+\s*[-_]\s*\d+"
_NUMBER = r"\d+(?:[.,-]\d+)?(?:e[+-]?\d{1,3})?"
_WORDS = {word.lower(): name for name, word in REGULARIZERS.items()} | {"l2reg": "l2"}


def _word(word: str, group: str, value: str) -> str:
    return rf"{_GAP}{word}{_GAP}(?P<{group}>{value})"


_OLD = re.compile(
    rf"(?P<dlrt>dlrt(?:{_word('rank', 'ranks', _RANGE)}"
    rf"|{_word('tol', 'tolerance', _NUMBER)})?)?"
    rf"{_GAP}(?P<optimizer>sgd|adam)?"
    rf"{_GAP}test{_word('dim', 'dims', _RANGE)}"
    + _word("ep(?:ochs)?", "epochs", _NUMBER)
    + _word("batch", "batch_size", _NUMBER)
    + _word("lr", "learning_rate", _NUMBER)
    + rf"(?:{_word('noise', 'noise', _NUMBER)})?"
    rf"(?:{_word('dataset', 'dataset_size', _NUMBER)})?"
    rf"(?:{_GAP}(?P<regularizer>l1l2reg|l1reg|l2reg|regfull|reg)"
    rf"{_GAP}(?P<amount>{_NUMBER}))?"
    rf"(?:(?:{_GAP}run{_GAP}|[_\s])(?P<run>\d+))?",
    re.IGNORECASE | re.ASCII,
)


def modernize(text: str) -> str:
    """The name in the present grammar.

    Raises:
        ValueError: If it is of no grammar.
    """
    try:
        return names.compose(names.parse(text))
    except ValueError:
        pass
    match = _OLD.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            "a test must have a name such as 'DLRTRank5-6TestDim1-301ep250batch256"
            f"lr0.001Noise0.2Run0'. Received: {text!r}"
        )
    found = match.groupdict()
    dims = _range(found["dims"])
    if dims is None:
        raise AssertionError("the grammar has no name without widths")
    return names.compose(
        Name(
            dims=dims,
            epochs=_whole(found["epochs"]),
            batch_size=_whole(found["batch_size"]),
            learning_rate=float(_decimal(found["learning_rate"])),
            dlrt=found["dlrt"] is not None,
            ranks=_range(found["ranks"]),
            tolerance=_share(found["tolerance"]),
            optimizer=(found["optimizer"] or "adam").lower(),
            noise=_share(found["noise"]) or 0.0,
            dataset_size=1.0
            if (size := _share(found["dataset_size"])) is None
            else size,
            regularizer=_WORDS.get((found["regularizer"] or "").lower(), "none"),
            regularizer_amount=float(_decimal(found["amount"] or "0") / 100),
            run=None if found["run"] is None else int(found["run"]),
        )
    )


def _range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, end = re.findall(r"\d+", text)
    return int(first), int(end)


def _decimal(text: str) -> Decimal:
    mantissa, mark, exponent = text.lower().partition("e")
    return Decimal(re.sub("[,-]", ".", mantissa) + mark + exponent)


def _whole(text: str) -> int:
    value = _decimal(text)
    if value != int(value):
        raise ValueError(f"epochs and batch must be whole numbers. Received: {text}")
    return int(value)


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    value = _decimal(text)
    plain = re.search("[.,e]", text.lower()) is not None and value <= 1
    return float(value if plain else value / 100)
