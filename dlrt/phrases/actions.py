"""Sentences in both languages on what somebody does."""

from dlrt.phrases.adverbials import when
from dlrt.phrases.choices import Choices
from dlrt.phrases.clauses import (
    NOTHING,
    Tense,
    conjugate,
    join_pairs,
    question,
    sentence,
    statement,
    with_infinitive,
)
from dlrt.phrases.determiners import DEFINITE, contract
from dlrt.phrases.lexicon import (
    ANIMALS,
    CONTAINERS,
    FOOD,
    PEOPLE,
    PLACES,
    READABLE,
    THINGS,
    Noun,
)
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
from dlrt.phrases.verbs import THIRD, VERBS, Verb

# Verbs with what they are said of.
_ON_THINGS: tuple[tuple[str, tuple[Noun, ...]], ...] = (
    ("comprar", THINGS),
    ("vender", THINGS),
    ("encontrar", THINGS + ANIMALS),
    ("ver", THINGS + ANIMALS + PLACES),
    ("lavar", THINGS),
    ("desenhar", THINGS + ANIMALS + PLACES),
    ("comer", FOOD),
    ("abrir", CONTAINERS),
    ("ler", READABLE),
    ("ter", THINGS + ANIMALS),
    ("querer", THINGS),
)
_TRANSITIVE = (
    *_ON_THINGS,
    ("ajudar", PEOPLE),
    ("ver", PEOPLE),
    ("visitar", PLACES + PEOPLE),
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
    what = some(choices, THINGS)
    whom = person_name(choices) if choices.once_in(3) else known(choices, PEOPLE)
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
    how_many = "quantas" if noun.feminine else "quantos"
    asked, has_object = choices.of(
        (
            (SentencePair("quem", "who"), True),
            (SentencePair("o que", "what"), False),
            (SentencePair(f"que {noun.source}", f"which {noun.target}"), False),
            (
                SentencePair(
                    f"{how_many} {noun.source_plural}", f"how many {noun.target_plural}"
                ),
                False,
            ),
            (SentencePair("onde", "where"), True),
            (SentencePair("porque", "why"), True),
            (SentencePair("quando", "when"), True),
        )
    )
    # Without an adverbial, the form of the verb must say when.
    if asked.source == "quando":
        tense = Tense.FUTURE
    time = NOTHING if asked.source == "quando" else when(choices, tense)
    rest = join_pairs(some(choices, nouns) if has_object else NOTHING, time)
    if asked.source == "quem":
        predicate = conjugate(verb, tense, THIRD)
        positive = SentencePair(predicate.source, predicate.positive)
        return sentence(join_pairs(asked, positive, rest), "?")
    who = subject(choices)
    start = SentencePair(f"{asked.source} é que", asked.target)
    predicate = conjugate(verb, tense, who.person)
    return sentence(question(who, predicate, rest, start), "?")


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
    return statement(who, predicate, rest, negated=choices.once_in(3))


def _told_or_asked(
    choices: Choices, who: NounPhrase, verb: Verb, tense: Tense, rest: SentencePair
) -> SentencePair:
    predicate = conjugate(verb, tense, who.person)
    time = when(choices, tense)
    if choices.once_in(4):
        return sentence(question(who, predicate, join_pairs(rest, time)), "?")
    negated = choices.once_in(4)
    if time.source and choices.once_in(4):
        source, target = statement(who, predicate, rest, negated)
        pair = SentencePair(f"{time.source}, {source}", f"{time.target}, {target}")
    else:
        pair = statement(who, predicate, join_pairs(rest, time), negated)
    return sentence(pair, ".")


def _with_tense(choices: Choices, infinitive: str) -> tuple[Verb, Tense]:
    """Returns the verb, or what wants or needs it, and a tense it can have."""
    verb = VERBS[infinitive]
    if infinitive not in ("ter", "querer") and choices.once_in(6):
        modal, preposition = choices.of(_MODALS)
        verb = with_infinitive(VERBS[modal], preposition, verb)
    tense = choices.of(tuple(Tense))
    if verb.stative and tense in (Tense.PROGRESSIVE, Tense.ABILITY):
        tense = Tense.PRESENT
    return verb, tense
