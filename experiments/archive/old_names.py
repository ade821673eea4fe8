"""Names of tests as earlier logs wrote them, in the grammar of today's names.

Words may be in lower case and have `_`, spaces or hyphens between them; numbers may
have a point or an exponent, as in `lr1e-3`, `lr0.001` and `ep250.0`. For noise, data
set and tolerance a number with a point is the share itself, up to 1: `Noise0.2` is
`Noise20`. The amount of a regularizer is in percent however it is written: `Reg0.1` is
`Reg0-1`. A run is also written `_3` at the end.
"""

import re
from decimal import Decimal
from typing import Any

from experiments.runs import names
from experiments.runs.names import REGULARIZERS, format_number

_GAP = r"[\s_-]*"
_RANGE = r"\d+\s*[-_]\s*\d+"
_NUMBER = r"\d+(?:[.,-]\d+)?(?:e[+-]?\d{1,3})?"
_WORDS = {word.lower(): word for word in REGULARIZERS.values()}
_WORDS["l2reg"] = REGULARIZERS["l2"]


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
    words: dict[str, Any] = match.groupdict()
    optimizer, regularizer = words["optimizer"], words["regularizer"]
    words["sgd"] = (optimizer or "").lower() == "sgd"
    words["regularizer"] = regularizer and _WORDS[regularizer.lower()]
    for keys, read in (
        (("dims", "ranks"), lambda ends: "-".join(re.findall(r"\d+", ends))),
        (("epochs", "batch_size"), _whole),
        (("learning_rate", "amount"), lambda number: format_number(_decimal(number))),
        (("tolerance", "noise", "dataset_size"), _percent),
    ):
        for key in keys:
            if words[key] is not None:
                words[key] = read(words[key])
    return names.compose(names.read_words(words, text))


def _decimal(text: str) -> Decimal:
    mantissa, mark, exponent = text.lower().partition("e")
    return Decimal(re.sub("[,-]", ".", mantissa) + mark + exponent)


def _whole(text: str) -> int:
    value = _decimal(text)
    if value != int(value):
        raise ValueError(f"epochs and batch must be whole numbers. Received: {text}")
    return int(value)


def _percent(text: str) -> str:
    value = _decimal(text)
    share = re.search("[.,e]", text.lower()) is not None and value <= 1
    return format_number(100 * value if share else value)
