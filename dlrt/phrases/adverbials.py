"""Adverbials of time in both languages, as they go with a tense."""

from dlrt.phrases.choices import Choices
from dlrt.phrases.clauses import NOTHING, Tense
from dlrt.phrases.expressions import at_time, count, is_feminine, on_date, on_weekday
from dlrt.phrases.lexicon import WEEKDAYS
from dlrt.phrases.sentence_pair import SentencePair


def when(choices: Choices, tense: Tense) -> SentencePair:
    """Returns when something happens; never nothing for the past.

    "Comemos" is both "we eat" and "we ate": what is past is always said to be.
    """
    if tense is Tense.PAST:
        return _in_the_past(choices)
    if choices.once_in(2):
        return NOTHING
    if tense is Tense.PROGRESSIVE:
        return SentencePair("agora", "now")
    if tense is Tense.PRESENT:
        return _regularly(choices)
    return _in_the_future(choices)


def _in_the_past(choices: Choices) -> SentencePair:
    kind = choices.below(5)
    if kind == 0:
        return SentencePair("ontem", "yesterday")
    if kind == 1:
        return SentencePair("na semana passada", "last week")
    if kind == 2:
        source, target = choices.of(WEEKDAYS)
        past = "passada" if is_feminine(source) else "passado"
        return SentencePair(f"{on_weekday(source)} {past}", f"last {target}")
    if kind == 3:
        source, target = _duration(choices)
        return SentencePair(f"há {source}", f"{target} ago")
    return on_date(choices)


def _regularly(choices: Choices) -> SentencePair:
    kind = choices.below(3)
    if kind == 0:
        return SentencePair("todos os dias", "every day")
    if kind == 1:
        source, target = choices.of(WEEKDAYS)
        plural = "-".join(f"{part}s" for part in source.split("-"))
        every = "todas as" if is_feminine(source) else "todos os"
        return SentencePair(f"{every} {plural}", f"every {target}")
    return at_time(choices)


def _in_the_future(choices: Choices) -> SentencePair:
    kind = choices.below(5)
    if kind == 0:
        return SentencePair("amanhã", "tomorrow")
    if kind == 1:
        return SentencePair("na próxima semana", "next week")
    if kind == 2:
        source, target = choices.of(WEEKDAYS)
        following = "na próxima" if is_feminine(source) else "no próximo"
        return SentencePair(f"{following} {source}", f"next {target}")
    if kind == 3:
        source, target = _duration(choices)
        return SentencePair(f"daqui a {source}", f"in {target}")
    return at_time(choices)


def _duration(choices: Choices) -> SentencePair:
    number = choices.between(2, 30)
    return count(number, *choices.of((("dia", "day"), ("ano", "year"))))
