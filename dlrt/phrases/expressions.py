"""Numbers, sums, prices, times and dates in both languages, as they go with a tense."""

from dlrt.phrases.choices import Choices
from dlrt.phrases.clauses import NOTHING, Tense
from dlrt.phrases.lexicon import DAYS_OF_MONTH, MONTHS, WEEKDAYS
from dlrt.phrases.number_words import english_ordinal, english_year, in_words
from dlrt.phrases.sentence_pair import SentencePair

# With the first and the last hour that is told so.
_PARTS_OF_DAY = (
    ("da manhã", "in the morning", 1, 11),
    ("da tarde", "in the afternoon", 1, 7),
    ("da noite", "in the evening", 8, 11),
)
_QUARTER, _HALF = 15, 30


def number(choices: Choices) -> SentencePair:
    """Returns a number below 10 million, as often short as long."""
    return in_words(choices.below(10 ** choices.between(1, 7)))


def calculation(choices: Choices) -> SentencePair:
    """Returns a sum, a difference or a product with its result."""
    left, right = choices.between(2, 100), choices.between(2, 100)
    source, target, result = choices.of(
        (
            ("mais", "plus", left + right),
            ("menos", "minus", left - right),
            ("vezes", "times", left * right),
        )
    )
    if result < 0:
        left, right, result = right, left, -result
    # "vezes" is a feminine noun, which the number before it counts.
    first = in_words(left, feminine=source == "vezes")
    second, third = in_words(right), in_words(result)
    return SentencePair(
        f"{first.source} {source} {second.source} é igual a {third.source}",
        f"{first.target} {target} {second.target} equals {third.target}",
    )


def price(euros: int, cents: int) -> SentencePair:
    """Returns a price below a million euros, above zero.

    Example:
    >>> price(12, 50).source
    'doze euros e cinquenta cêntimos'
    """
    parts = [count(euros, "euro", "euro")] if euros else []
    parts += [count(cents, "cêntimo", "cent")] if cents else []
    sources, targets = zip(*parts, strict=True)
    return SentencePair(" e ".join(sources), " and ".join(targets))


def count(value: int, source: str, target: str) -> SentencePair:
    """Returns so many of a masculine noun with plurals in "-s", from its singulars."""
    ending = "" if value == 1 else "s"
    number = in_words(value)
    source, target = source + ending, target + ending
    return SentencePair(f"{number.source} {source}", f"{number.target} {target}")


def some_price(choices: Choices) -> SentencePair:
    """Returns a price below 10,000 euros."""
    euros = choices.below(10 ** choices.between(1, 4))
    cents = choices.between(1, 99) if not euros or choices.once_in(2) else 0
    return price(euros, cents)


def clock_time(hour: int, minute: int) -> SentencePair:
    """Returns the time at minutes from -29 to 30 past an hour from 1 to 12.

    Example:
    >>> clock_time(3, 15)
    SentencePair(source='três e um quarto', target='a quarter past three')
    """
    source_hour, target_hour = in_words(hour, feminine=True)
    unit = "hora" if hour == 1 else "horas"
    if minute == 0:
        return SentencePair(f"{source_hour} {unit}", f"{target_hour} o'clock")
    link, relation = ("e", "past") if minute > 0 else ("menos", "to")
    size = abs(minute)
    if size == _QUARTER:
        source, target = "um quarto", "a quarter"
    elif size == _HALF:
        source, target = "meia", "half"
    elif size % 5 == 0:
        source, target = in_words(size)
    else:
        source_hour += f" {unit}"
        source, target = count(size, "minuto", "minute")
    return SentencePair(
        f"{source_hour} {link} {source}", f"{target} {relation} {target_hour}"
    )


def some_time(choices: Choices) -> tuple[SentencePair, bool]:
    """Returns a time of day, and whether its hour is a plural in Portuguese."""
    source, target, first, last = choices.of(_PARTS_OF_DAY)
    hour = choices.between(first, last)
    minute = 5 * choices.between(-5, 6)
    if choices.once_in(4):
        minute = choices.between(-29, 30)
    time = clock_time(hour, minute)
    return SentencePair(f"{time.source} {source}", f"{time.target} {target}"), hour != 1


def at_time(choices: Choices) -> SentencePair:
    """Returns when something happens on a day."""
    time, plural = some_time(choices)
    return SentencePair(f"{'às' if plural else 'à'} {time.source}", f"at {time.target}")


def telling_time(choices: Choices) -> SentencePair:
    """Tells the time, or when something happens."""
    if choices.once_in(3):
        return at_time(choices)
    if choices.once_in(40):
        noon = SentencePair("É meio-dia.", "It is noon.")
        return choices.of((noon, SentencePair("É meia-noite.", "It is midnight.")))
    time, plural = some_time(choices)
    verb = "São" if plural else "É"
    return SentencePair(f"{verb} {time.source}.", f"It is {time.target}.")


def date(day: int, month: int, year: int | None = None) -> SentencePair:
    """Returns a date without preposition; a year is from 1100 to 2099.

    Example:
    >>> date(3, 3, 1992).source
    'três de março de mil novecentos e noventa e dois'
    """
    source_month, target_month = MONTHS[month - 1]
    source = f"{in_words(day).source} de {source_month}"
    target = f"the {english_ordinal(day)} of {target_month}"
    if year is not None:
        source += f" de {in_words(year).source}"
        target += f", {english_year(year)}"
    return SentencePair(source, target)


def some_date(choices: Choices) -> SentencePair:
    """Returns a date from 1700 to 2025, or one without year."""
    month = choices.between(1, 12)
    day = choices.between(1, DAYS_OF_MONTH[month - 1])
    year = None if choices.once_in(4) else choices.between(1700, 2025)
    return date(day, month, year)


def on_date(choices: Choices) -> SentencePair:
    """Returns when something happens: a date, perhaps with its weekday."""
    day = some_date(choices)
    if choices.once_in(2):
        return SentencePair(f"no dia {day.source}", f"on {day.target}")
    source, target = choices.of(WEEKDAYS)
    source = on_weekday(source)
    return SentencePair(f"{source}, {day.source}", f"on {target}, {day.target}")


def on_weekday(weekday: str) -> str:
    """Returns "no" or "na" with a Portuguese weekday."""
    return f"{'na' if _is_feminine(weekday) else 'no'} {weekday}"


def _is_feminine(weekday: str) -> bool:
    return weekday.endswith("feira")


def telling_date(choices: Choices) -> SentencePair:
    """Tells today's date, or when something happens."""
    if choices.once_in(3):
        return on_date(choices)
    day = some_date(choices)
    source, target = choices.of(WEEKDAYS)
    return SentencePair(
        f"Hoje é {source}, {day.source}.", f"Today is {target}, {day.target}."
    )


def when(choices: Choices, tense: Tense) -> SentencePair:
    """Returns when something happens; never nothing for the past.

    "Comemos" is both "we eat" and "we ate": what is past is always said to be.
    """
    if tense is Tense.PAST:
        return _some_day(choices, past=True)
    if choices.once_in(2):
        return NOTHING
    if tense is Tense.PROGRESSIVE:
        return SentencePair("agora", "now")
    if tense is Tense.PRESENT:
        return _regularly(choices)
    return _some_day(choices, past=False)


def _some_day(choices: Choices, past: bool) -> SentencePair:
    kind = choices.below(5)
    if kind == 4:
        return on_date(choices) if past else at_time(choices)
    if kind == 3:
        number = choices.between(2, 30)
        source, target = count(number, *choices.of((("dia", "day"), ("ano", "year"))))
        before = f"há {source}", f"{target} ago"
        after = f"daqui a {source}", f"in {target}"
    elif kind == 2:
        source, target = choices.of(WEEKDAYS)
        ending = "a" if _is_feminine(source) else "o"
        before = f"n{ending} {source} passad{ending}", f"last {target}"
        after = f"n{ending} próxim{ending} {source}", f"next {target}"
    elif kind == 1:
        before = "na semana passada", "last week"
        after = "na próxima semana", "next week"
    else:
        before, after = ("ontem", "yesterday"), ("amanhã", "tomorrow")
    return SentencePair(*(before if past else after))


def _regularly(choices: Choices) -> SentencePair:
    kind = choices.below(3)
    if kind == 0:
        return SentencePair("todos os dias", "every day")
    if kind == 1:
        source, target = choices.of(WEEKDAYS)
        plural = "-".join(f"{part}s" for part in source.split("-"))
        every = "todas as" if _is_feminine(source) else "todos os"
        return SentencePair(f"{every} {plural}", f"every {target}")
    return at_time(choices)
