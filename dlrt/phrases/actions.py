"""Sentences in both languages on what somebody does."""

from dlrt.phrases import clauses, lexicon
from dlrt.phrases.choices import Choices
from dlrt.phrases.clauses import NOTHING, Tense, conjugate, join_pairs, sentence
from dlrt.phrases.determiners import DEFINITE, contract
from dlrt.phrases.expressions import when
from dlrt.phrases.lexicon import THIRD, VERBS, Noun, Verb
from dlrt.phrases.noun_phrases import (
    NounPhrase,
    build,
    known,
    person_name,
    place,
    simple_subject,
    some,
    subject,
)
from dlrt.phrases.sentence_pair import SentencePair

# Verbs with what they are said of.
_ON_THINGS: tuple[tuple[str, tuple[Noun, ...]], ...] = (
    ("comprar", lexicon.THINGS),
    ("vender", lexicon.THINGS),
    ("encontrar", lexicon.THINGS + lexicon.ANIMALS),
    ("ver", lexicon.THINGS + lexicon.ANIMALS + lexicon.PLACES),
    ("lavar", lexicon.THINGS),
    ("desenhar", lexicon.THINGS + lexicon.ANIMALS + lexicon.PLACES),
    ("comer", lexicon.FOOD),
    ("abrir", lexicon.CONTAINERS),
    ("ler", lexicon.READABLE),
    ("ter", lexicon.THINGS + lexicon.ANIMALS),
    ("querer", lexicon.THINGS),
)
_TRANSITIVE = (
    *_ON_THINGS,
    ("ajudar", lexicon.PEOPLE),
    ("ver", lexicon.PEOPLE),
    ("visitar", lexicon.PLACES + lexicon.PEOPLE),
)
# Verbs that come before others, with the Portuguese preposition between.
_MODALS = (("querer", ""), ("precisar", "de"))

_LINKS = (
    SentencePair(" e ", " and "),
    SentencePair(", mas ", ", but "),
    SentencePair(" porque ", " because "),
)


def transitive(choices: Choices) -> SentencePair:
    """Says who does what, perhaps where and when, or asks whether."""
    infinitive, nouns = choices.of(_TRANSITIVE)
    verb, tense = _with_tense(choices, infinitive)
    who = subject(choices)
    what = some(choices, nouns).words
    if choices.once_in(6):
        link = SentencePair("e", "and")
        what = join_pairs(what, link, some(choices, nouns))
    where = place(choices, "em") if choices.once_in(5) else NOTHING
    return _told_or_asked(choices, who, verb, tense, join_pairs(what, where))


def ditransitive(choices: Choices) -> SentencePair:
    """Says or asks who gives what to whom."""
    verb, tense = _with_tense(choices, choices.of(("dar", "mostrar", "vender")))
    what = some(choices, lexicon.THINGS)
    named = choices.once_in(3)
    whom = person_name(choices) if named else known(choices, lexicon.PEOPLE)
    to_whom = SentencePair(contract("a", whom.source), f"to {whom.target}")
    rest = join_pairs(what, to_whom)
    return _told_or_asked(choices, simple_subject(choices), verb, tense, rest)


def motion(choices: Choices) -> SentencePair:
    """Says or asks who goes where."""
    verb, tense = _with_tense(choices, choices.of(("ir", "voltar")))
    # Nobody says "vai ir": the present serves for the future.
    if verb is VERBS["ir"] and tense in (Tense.FUTURE, Tense.PROGRESSIVE):
        tense = Tense.PRESENT
    where = place(choices, "a", "to")
    return _told_or_asked(choices, subject(choices), verb, tense, where)


def question_word(choices: Choices) -> SentencePair:
    """Asks who, what, which, how many, where, when or why."""
    infinitive, nouns = choices.of(_ON_THINGS)
    verb, tense = _with_tense(choices, infinitive)
    noun = choices.of(nouns)
    quantos = "quantas" if noun.feminine else "quantos"
    how_many = f"how many {noun.target_plural}"
    asked, target, has_object = choices.of(
        (
            ("quem", "who", True),
            ("o que", "what", False),
            (f"que {noun.source}", f"which {noun.target}", False),
            (f"{quantos} {noun.source_plural}", how_many, False),
            ("onde", "where", True),
            ("porque", "why", True),
            ("quando", "when", True),
        )
    )
    # Without an adverbial, the form of the verb must say when.
    if asked == "quando":
        tense = Tense.FUTURE
    time = NOTHING if asked == "quando" else when(choices, tense)
    rest = join_pairs(some(choices, nouns) if has_object else NOTHING, time)
    if asked == "quem":
        predicate = conjugate(verb, tense, THIRD)
        who_does = f"{asked} {predicate.source}", f"{target} {predicate.positive}"
        return sentence(join_pairs(SentencePair(*who_does), rest), "?")
    who = subject(choices)
    predicate = conjugate(verb, tense, who.person)
    start = SentencePair(f"{asked} é que", target)
    return sentence(clauses.question(who, predicate, rest, start), "?")


def compound(choices: Choices) -> SentencePair:
    """Joins two short statements."""
    link = choices.of(_LINKS)
    first, second = _short_statement(choices), _short_statement(choices)
    parts = zip(first, link, second, strict=True)
    return sentence(SentencePair(*map("".join, parts)), ".")


def _short_statement(choices: Choices) -> SentencePair:
    infinitive, nouns = choices.of(_TRANSITIVE)
    verb, tense = _with_tense(choices, infinitive)
    who = simple_subject(choices)
    what = build(choices.of(nouns), DEFINITE, choices.once_in(3))
    time = SentencePair("ontem", "yesterday") if tense is Tense.PAST else NOTHING
    predicate = conjugate(verb, tense, who.person)
    rest = join_pairs(what, time)
    return clauses.statement(who, predicate, rest, negated=choices.once_in(3))


def _told_or_asked(
    choices: Choices, who: NounPhrase, verb: Verb, tense: Tense, rest: SentencePair
) -> SentencePair:
    predicate = conjugate(verb, tense, who.person)
    time = when(choices, tense)
    if choices.once_in(4):
        return sentence(clauses.question(who, predicate, join_pairs(rest, time)), "?")
    negated = choices.once_in(4)
    if time.source and choices.once_in(4):
        source, target = clauses.statement(who, predicate, rest, negated)
        pair = SentencePair(f"{time.source}, {source}", f"{time.target}, {target}")
    else:
        pair = clauses.statement(who, predicate, join_pairs(rest, time), negated)
    return sentence(pair, ".")


def _with_tense(choices: Choices, infinitive: str) -> tuple[Verb, Tense]:
    """Returns the verb, or what wants or needs it, and a tense it can have."""
    verb = VERBS[infinitive]
    if infinitive not in ("ter", "querer") and choices.once_in(6):
        modal, preposition = choices.of(_MODALS)
        verb = clauses.with_infinitive(VERBS[modal], preposition, verb)
    tense = choices.of(tuple(Tense))
    if verb.stative and tense in (Tense.PROGRESSIVE, Tense.ABILITY):
        tense = Tense.PRESENT
    return verb, tense
