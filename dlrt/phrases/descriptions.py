"""Sentences in both languages on what something is like, costs, and where it is."""

from dlrt.phrases import clauses, lexicon
from dlrt.phrases.choices import Choices
from dlrt.phrases.clauses import Predicate, be_like, question, sentence, statement
from dlrt.phrases.determiners import INDEFINITE, form_of
from dlrt.phrases.expressions import count, some_price
from dlrt.phrases.lexicon import ANIMALS, PEOPLE, PLACES, THINGS, VERBS, Noun
from dlrt.phrases.noun_phrases import (
    NounPhrase,
    adjectives_for,
    agree,
    build,
    join,
    known,
    many,
    person_name,
    place,
    some,
    subject,
)
from dlrt.phrases.sentence_pair import SentencePair


def noun_phrase(choices: Choices) -> SentencePair:
    """Returns a noun phrase alone, often with a number."""
    nouns = choices.of((PEOPLE, ANIMALS, THINGS, PLACES))
    if choices.once_in(4):
        # Up to hundreds of thousands, each length as often.
        number = choices.between(2, 10 ** choices.between(1, 6) - 1)
        return many(number, choices.of(nouns)).words
    return some(choices, nouns).words


def price(choices: Choices) -> SentencePair:
    """Returns a price, or says or asks what something costs."""
    if choices.once_in(3):
        return some_price(choices)
    thing = known(choices, THINGS)
    verb = clauses.conjugate(VERBS["custar"], clauses.Tense.PRESENT, thing.person)
    if choices.once_in(4):
        return _asked_of(thing, verb, SentencePair("quanto", "how much"))
    negated = choices.once_in(6)
    return sentence(statement(thing, verb, some_price(choices), negated), ".")


def age(choices: Choices) -> SentencePair:
    """Says or asks how old somebody is."""
    who = subject(choices)
    verb = clauses.be(VERBS["ter"].present, clauses.BE, who.person)
    if choices.once_in(4):
        return _asked_of(who, verb, SentencePair("quantos anos", "how old"))
    years = choices.between(2, 100)
    source, target = count(years, "ano", "year")
    rest = SentencePair(source, f"{target} old")
    return sentence(statement(who, verb, rest, negated=choices.once_in(6)), ".")


def quality(choices: Choices) -> SentencePair:
    """Says or asks what somebody or something is like."""
    nouns = choices.of((PEOPLE, PEOPLE, PEOPLE, ANIMALS, THINGS, PLACES))
    what = _known(choices, nouns)
    adjective = choices.of(adjectives_for(nouns[0]))
    rest = agree(choices, adjective, what.feminine, what.plural, very_once_in=3)
    verb = be_like(adjective.temporary, choices.once_in(3), what.person)
    return _told_or_asked(choices, what, verb, rest)


def comparison(choices: Choices) -> SentencePair:
    """Compares two of a kind."""
    nouns = choices.of((PEOPLE, PEOPLE, ANIMALS, THINGS, PLACES))
    what = _known(choices, nouns)
    if nouns is PEOPLE and choices.once_in(2):
        other = person_name(choices)
    else:
        other = known(choices, nouns)
    adjective = choices.of(
        [adjective for adjective in adjectives_for(nouns[0]) if adjective.comparative]
    )
    if adjective.source[0] in lexicon.COMPARATIVES:
        compared = lexicon.COMPARATIVES[adjective.source[0]][what.plural]
    else:
        compared = f"mais {form_of(adjective.source, what.feminine, what.plural)}"
    rest = SentencePair(
        f"{compared} do que {other.source}",
        f"{adjective.comparative} than {other.target}",
    )
    verb = be_like(adjective.temporary, choices.once_in(3), what.person)
    return _told_or_asked(choices, what, verb, rest)


def location(choices: Choices) -> SentencePair:
    """Says where something is, or asks where or whether."""
    what = _known(choices, choices.of((PEOPLE, ANIMALS, THINGS)))
    verb = be_like(True, choices.once_in(3), what.person)
    if choices.once_in(6):
        return _asked_of(what, verb, SentencePair("onde", "where"))
    return _told_or_asked(choices, what, verb, place(choices, "em"))


def existence(choices: Choices) -> SentencePair:
    """Says or asks whether there is something somewhere."""
    noun = choices.of(choices.of((PEOPLE, ANIMALS, THINGS)))
    where = place(choices, "em")
    source, target, end = choices.of(
        (
            (f"há {noun.source_plural}", f"are there {noun.target_plural}", "?"),
            (f"não há {noun.source_plural}", f"there are no {noun.target_plural}", "."),
            _there_is(build(noun, INDEFINITE)),
            _there_is(many(choices.between(2, 10 ** choices.between(1, 3) - 1), noun)),
        )
    )
    pair = SentencePair(f"{source} {where.source}", f"{target} {where.target}")
    return sentence(pair, end)


def _there_is(phrase: NounPhrase) -> tuple[str, str, str]:
    there_is = "there are" if phrase.plural else "there is"
    return f"há {phrase.source}", f"{there_is} {phrase.target}", "."


def _known(choices: Choices, nouns: tuple[Noun, ...]) -> NounPhrase:
    return subject(choices) if nouns is PEOPLE else known(choices, nouns)


def _told_or_asked(
    choices: Choices, what: NounPhrase, verb: Predicate, rest: SentencePair
) -> SentencePair:
    if choices.once_in(5):
        return sentence(question(what, verb, rest), "?")
    return sentence(statement(what, verb, rest, negated=choices.once_in(5)), ".")


def _asked_of(what: NounPhrase, verb: Predicate, start: SentencePair) -> SentencePair:
    """Returns a question that has its subject last in Portuguese."""
    source = join(start.source, verb.source, what.source)
    target = join(start.target, verb.auxiliary, what.target, verb.main)
    return sentence(SentencePair(source, target), "?")
