"""Numerals in words, in European Portuguese and British English."""

from dlrt.phrases.sentence_pair import SentencePair

_PT_TENS = "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa".split()
_PT_BELOW_20 = (
    "zero um dois três quatro cinco seis sete oito nove dez onze doze treze catorze "
    "quinze dezasseis dezassete dezoito dezanove"
).split()
_PT_HUNDREDS = (
    "cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos "
    "oitocentos novecentos"
).split()
_PT_FEMININE = {"um": "uma", "dois": "duas"}

_EN_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_EN_BELOW_20 = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
# Those that do not just end in "th".
_EN_ORDINALS = {
    **{"one": "first", "two": "second", "three": "third", "five": "fifth"},
    **{"eight": "eighth", "nine": "ninth", "twelve": "twelfth"},
}

LARGEST = 10**9 - 1


def in_words(number: int, feminine: bool = False) -> SentencePair:
    """Returns a cardinal number in both languages, see `portuguese_number`."""
    return SentencePair(portuguese_number(number, feminine), english_number(number))


def portuguese_number(number: int, feminine: bool = False) -> str:
    """Returns a cardinal number, from 0 to `LARGEST`, in Portuguese words.

    It may count a feminine noun. Millions stay masculine, as they count "milhão".

    Example:
    >>> portuguese_number(2_345)
    'dois mil trezentos e quarenta e cinco'
    >>> portuguese_number(2_300, feminine=True)
    'duas mil e trezentas'
    """
    millions, thousands, units = _groups(number)
    if number == 0:
        return _PT_BELOW_20[0]
    groups = []
    if millions:
        name = "milhão" if millions == 1 else "milhões"
        groups.append((millions, f"{_pt_below_1000(millions, False)} {name}"))
    if thousands == 1:
        groups.append((thousands, "mil"))
    elif thousands:
        groups.append((thousands, f"{_pt_below_1000(thousands, feminine)} mil"))
    if units:
        groups.append((units, _pt_below_1000(units, feminine)))
    # "e" precedes the last group only where that has none of its own after
    # hundreds: "mil e duzentos", "mil e vinte", but "mil duzentos e vinte".
    last, words = groups.pop()
    if not groups:
        return words
    link = " e " if last < 100 or last % 100 == 0 else " "
    return " ".join(words for _, words in groups) + link + words


def english_number(number: int) -> str:
    """Returns a cardinal number, from 0 to `LARGEST`, in English words.

    Example:
    >>> english_number(2_345)
    'two thousand three hundred and forty-five'
    """
    millions, thousands, units = _groups(number)
    if number == 0:
        return _EN_BELOW_20[0]
    words = []
    if millions:
        words.append(f"{_en_below_1000(millions)} million")
    if thousands:
        words.append(f"{_en_below_1000(thousands)} thousand")
    if units:
        link = "and " if words and units < 100 else ""
        words.append(link + _en_below_1000(units))
    return " ".join(words)


def english_ordinal(number: int) -> str:
    """Returns an ordinal number, from 1 to 99, in English words.

    Example:
    >>> english_ordinal(22)
    'twenty-second'
    """
    head, hyphen, last = _en_below_1000(number).rpartition("-")
    if last.endswith("y"):
        return f"{head}{hyphen}{last[:-1]}ieth"
    return head + hyphen + _EN_ORDINALS.get(last, f"{last}th")


def english_year(year: int) -> str:
    """Returns a year, from 1100 to 2099, in English words.

    Example:
    >>> english_year(1905)
    'nineteen oh five'
    """
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return english_number(year)
    if rest == 0:
        return f"{english_number(century)} hundred"
    link = " oh " if rest < 10 else " "
    return english_number(century) + link + english_number(rest)


def _groups(number: int) -> tuple[int, int, int]:
    """Returns millions, thousands and units, each below 1,000."""
    if not 0 <= number <= LARGEST:
        raise ValueError(
            f"`number` must be from 0 to {LARGEST}. Received: number={number!r}"
        )
    return number // 10**6, number // 1000 % 1000, number % 1000


def _pt_below_1000(number: int, feminine: bool) -> str:
    if number == 100:
        return "cem"
    hundreds, rest = divmod(number, 100)
    words = []
    if hundreds:
        word = _PT_HUNDREDS[hundreds - 1]
        # "cento" is the one hundred that does not agree.
        words.append(word.replace("os", "as") if feminine else word)
    if rest >= 20:
        words.append(_PT_TENS[rest // 10 - 2])
        rest %= 10
    if rest:
        word = _PT_BELOW_20[rest]
        words.append(_PT_FEMININE.get(word, word) if feminine else word)
    return " e ".join(words)


def _en_below_1000(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_EN_BELOW_20[hundreds]} hundred"] if hundreds else []
    if rest:
        tens, units = divmod(rest, 10)
        if rest < 20:
            words.append(_EN_BELOW_20[rest])
        else:
            end = f"-{_EN_BELOW_20[units]}" if units else ""
            words.append(_EN_TENS[tens - 2] + end)
    return " and ".join(words)
