"""Clauses in both languages: conjugation, negation and questions."""

from enum import Enum
from typing import NamedTuple

from dlrt.phrases.lexicon import THIRD, VERBS, Verb
from dlrt.phrases.noun_phrases import NounPhrase, join
from dlrt.phrases.sentence_pair import SentencePair

SER = ("sou", "és", "é", "somos", "são")
SER_PAST = ("era", "eras", "era", "éramos", "eram")
ESTAR = ("estou", "estás", "está", "estamos", "estão")
ESTAR_PAST = ("estava", "estavas", "estava", "estávamos", "estavam")
_PODER = ("posso", "podes", "pode", "podemos", "podem")

NOTHING = SentencePair("", "")

BE = ("am", "are", "is", "are", "are")
BE_PAST = ("was", "were", "was", "were", "were")


class Tense(Enum):
    """What the form of a verb says of when, or whether, something happens."""

    PRESENT = "present"
    PROGRESSIVE = "progressive"
    PAST = "past"
    FUTURE = "future"
    ABILITY = "ability"


class Predicate(NamedTuple):
    """The verb of a clause, conjugated in both languages.

    English has a positive form, and an auxiliary with what follows: "not" comes after
    the auxiliary, and the subject of a question does.
    """

    source: str
    positive: str
    auxiliary: str
    main: str


def conjugate(verb: Verb, tense: Tense, person: int) -> Predicate:
    """Returns a verb in a tense and person."""
    if tense is Tense.PRESENT:
        third = person == THIRD
        positive = verb.third if third else verb.base
        auxiliary = "does" if third else "do"
        return Predicate(verb.present[person], positive, auxiliary, verb.base)
    if tense is Tense.PAST:
        return Predicate(verb.past[person], verb.target_past, "did", verb.base)
    if tense is Tense.PROGRESSIVE:
        source, auxiliary, main = f"{ESTAR[person]} a", BE[person], verb.progressive
    elif tense is Tense.FUTURE:
        source, auxiliary, main = VERBS["ir"].present[person], "will", verb.base
    else:
        source, auxiliary, main = _PODER[person], "can", verb.base
    return Predicate(
        f"{source} {verb.infinitive}", f"{auxiliary} {main}", auxiliary, main
    )


def be(source: tuple[str, ...], target: tuple[str, ...], person: int) -> Predicate:
    """Returns "to be" in a person, given its forms in both languages."""
    return Predicate(source[person], target[person], target[person], "")


def be_like(temporary: bool, past: bool, person: int) -> Predicate:
    """Returns "to be" before an adjective or a place, "estar" for what is temporary."""
    if temporary:
        source = ESTAR_PAST if past else ESTAR
    else:
        source = SER_PAST if past else SER
    return be(source, BE_PAST if past else BE, person)


def with_infinitive(modal: Verb, preposition: str, verb: Verb) -> Verb:
    """Returns "to want to eat" of "to want" and "to eat".

    The preposition, if any, comes before the infinitive in Portuguese.
    """

    def extend(form: str) -> str:
        return join(form, preposition, verb.infinitive)

    return modal._replace(
        infinitive=extend(modal.infinitive),
        present=tuple(map(extend, modal.present)),
        past=tuple(map(extend, modal.past)),
        base=f"{modal.base} to {verb.base}",
        third=f"{modal.third} to {verb.base}",
        target_past=f"{modal.target_past} to {verb.base}",
        progressive=f"{modal.progressive} to {verb.base}",
    )


def statement(
    subject: NounPhrase, predicate: Predicate, rest: SentencePair, negated: bool
) -> SentencePair:
    """Returns a statement without capital and full stop."""
    verb = SentencePair(predicate.source, predicate.positive)
    if negated:
        auxiliary = predicate.auxiliary
        negation = "cannot" if auxiliary == "can" else f"{auxiliary} not"
        verb = SentencePair(f"não {verb.source}", join(negation, predicate.main))
    return join_pairs(subject, verb, rest)


def question(
    subject: NounPhrase,
    predicate: Predicate,
    rest: SentencePair,
    start: SentencePair = NOTHING,
) -> SentencePair:
    """Returns a question without capital and question mark.

    It starts with what it asks for ("porque é que", "why"); with nothing it asks for
    yes or no.
    """
    auxiliary = SentencePair("", predicate.auxiliary)
    verb = SentencePair(predicate.source, predicate.main)
    return join_pairs(start, auxiliary, subject, verb, rest)


def join_pairs(*pairs: SentencePair | NounPhrase) -> SentencePair:
    """Joins the parts of a clause with spaces, without the empty ones."""
    return SentencePair(
        join(*(pair.source for pair in pairs)), join(*(pair.target for pair in pairs))
    )


def sentence(pair: SentencePair, end: str) -> SentencePair:
    """Returns a clause with capital letters and the mark that ends it."""
    return SentencePair(*(clause[0].upper() + clause[1:] + end for clause in pair))
