"""Noun phrases in both languages: agreement, word order and contraction."""

from collections.abc import Sequence
from typing import NamedTuple

from dlrt.phrases import determiners, lexicon
from dlrt.phrases.choices import Choices
from dlrt.phrases.determiners import DEFINITE, NO_DETERMINER, Determiner, contract
from dlrt.phrases.lexicon import FIRST, FIRST_PLURAL, SECOND, THIRD, THIRD_PLURAL, Noun
from dlrt.phrases.number_words import english_ordinal, in_words
from dlrt.phrases.sentence_pair import SentencePair


class NounPhrase(NamedTuple):
    """A noun phrase or pronoun, with what agrees with it."""

    source: str
    target: str
    feminine: bool
    person: int = THIRD

    @property
    def plural(self) -> bool:
        """Whether verbs and adjectives are in the plural."""
        return self.person >= FIRST_PLURAL

    @property
    def words(self) -> SentencePair:
        """The phrase itself."""
        return SentencePair(self.source, self.target)


_OWNERS = (("dele", "his"), ("dela", "her"), ("deles", "their"), ("delas", "their"))
# Without the ending, masculine or feminine.
_ORDINALS = ("primeir", "segund", "terceir", "quart", "quint")

_PRONOUNS = (
    NounPhrase("eu", "I", False, FIRST),
    NounPhrase("eu", "I", True, FIRST),
    NounPhrase("tu", "you", False, SECOND),
    NounPhrase("tu", "you", True, SECOND),
    NounPhrase("ele", "he", False, THIRD),
    NounPhrase("ela", "she", True, THIRD),
    NounPhrase("nós", "we", False, FIRST_PLURAL),
    NounPhrase("nós", "we", True, FIRST_PLURAL),
    NounPhrase("vocês", "you", False, THIRD_PLURAL),
    NounPhrase("vocês", "you", True, THIRD_PLURAL),
    NounPhrase("eles", "they", False, THIRD_PLURAL),
    NounPhrase("elas", "they", True, THIRD_PLURAL),
)


def join(*words: str) -> str:
    """Joins words with spaces, without the empty ones."""
    return " ".join(word for word in words if word)


def with_article(target: str) -> str:
    """Puts the English indefinite article before a phrase."""
    return f"{'an' if target[0] in 'aeiou' else 'a'} {target}"


def build(
    noun: Noun,
    determiner: Determiner = NO_DETERMINER,
    plural: bool = False,
    number: tuple[str, str] = ("", ""),
    adjective: tuple[str, str] = ("", ""),
    owner: tuple[str, str] = ("", ""),
) -> NounPhrase:
    """Builds a noun phrase of its parts, which agree already.

    Number, adjective and owner are in both languages. An owner follows in Portuguese
    ("da Maria"), and takes the place of the determiner in English ("Maria's").
    """
    first = determiners.form_of(determiner.source, noun.feminine, plural)
    source_noun = noun.source_plural if plural else noun.source
    source = join(first, number[0], source_noun, adjective[0], owner[0])
    target_noun = noun.target_plural if plural else noun.target
    target = join(number[1], adjective[1], target_noun)
    if determiner is determiners.INDEFINITE:
        target = with_article(target)
    else:
        first = determiner.target_plural if plural else determiner.target
        target = join(owner[1] or first, target)
    return NounPhrase(source, target, noun.feminine, THIRD_PLURAL if plural else THIRD)


def some(choices: Choices, nouns: Sequence[Noun]) -> NounPhrase:
    """Returns a noun phrase of any kind with one of `nouns`."""
    if choices.once_in(3):
        return known(choices, nouns)
    noun = choices.of(nouns)
    if choices.once_in(4):
        return _counted(choices, noun, NO_DETERMINER, 120)
    return _determined(choices, noun, determiners.ANY)


def known(choices: Choices, nouns: Sequence[Noun]) -> NounPhrase:
    """Returns a noun phrase of what is known: "the", "my", "these three" ..."""
    noun = choices.of(nouns)
    kind = choices.below(8)
    if kind == 0:
        return _counted(choices, noun, choices.of(determiners.WITH_NUMBER), 12)
    if kind == 1:
        return _ranked(choices, noun)
    if kind < 4:
        return _owned(choices, noun)
    return _determined(choices, noun, determiners.KNOWN)


def many(
    number: int,
    noun: Noun,
    determiner: Determiner = NO_DETERMINER,
    adjective: tuple[str, str] = ("", ""),
) -> NounPhrase:
    """Returns so many of a noun."""
    words = in_words(number, noun.feminine)
    return build(noun, determiner, True, number=words, adjective=adjective)


def simple(choices: Choices, nouns: Sequence[Noun]) -> NounPhrase:
    """Returns a noun phrase of two or three words."""
    determiner = choices.of(determiners.OF_OWNERS)
    return build(choices.of(nouns), determiner, choices.once_in(4))


def person_name(choices: Choices) -> NounPhrase:
    """Returns the name of a person."""
    source = choices.of(lexicon.NAMES)
    article, name = source.split()
    return NounPhrase(source, name, feminine=article == "a")


def subject(choices: Choices) -> NounPhrase:
    """Returns who does something: a pronoun, a name, or any person."""
    kind = choices.below(5)
    if kind < 2:
        return choices.of(_PRONOUNS)
    return person_name(choices) if kind == 2 else known(choices, lexicon.PEOPLE)


def simple_subject(choices: Choices) -> NounPhrase:
    """Returns who does something, in at most three words."""
    kind = choices.below(3)
    if kind == 0:
        return choices.of(_PRONOUNS)
    return person_name(choices) if kind == 1 else simple(choices, lexicon.PEOPLE)


def place(choices: Choices, preposition: str, target: str = "") -> SentencePair:
    """Returns a place after a preposition, in English by default "at" or the like."""
    noun = choices.of(lexicon.PLACES)
    phrase = _determined(choices, noun, (DEFINITE, *determiners.ANY))
    target = join(target or noun.preposition, phrase.target)
    return SentencePair(contract(preposition, phrase.source), target)


def adjectives_for(noun: Noun) -> tuple[lexicon.Adjective, ...]:
    """Returns the adjectives that make sense with a noun."""
    if noun in lexicon.PEOPLE:
        return lexicon.OF_PEOPLE + lexicon.MOODS
    return lexicon.OF_THINGS + lexicon.COLOURS


def _some_adjective(choices: Choices, noun: Noun, plural: bool) -> tuple[str, str]:
    """Returns an adjective, perhaps with "very", or none at all."""
    if choices.once_in(2):
        return ("", "")
    adjective = choices.of(adjectives_for(noun))
    return agree(choices, adjective, noun.feminine, plural, very_once_in=4)


def agree(
    choices: Choices,
    adjective: lexicon.Adjective,
    feminine: bool,
    plural: bool,
    very_once_in: int,
) -> SentencePair:
    """Returns an adjective that agrees, sometimes with "very"."""
    source = determiners.form_of(adjective.source, feminine, plural)
    if adjective.comparative and choices.once_in(very_once_in):
        return SentencePair(f"muito {source}", f"very {adjective.target}")
    return SentencePair(source, adjective.target)


def _determined(
    choices: Choices, noun: Noun, options: Sequence[Determiner]
) -> NounPhrase:
    determiner = choices.of(options)
    plural = not determiner.target
    if determiner.target and determiner.target_plural:
        plural = choices.once_in(3)
    adjective = _some_adjective(choices, noun, plural)
    return build(noun, determiner, plural, adjective=adjective)


def _counted(
    choices: Choices, noun: Noun, determiner: Determiner, largest: int
) -> NounPhrase:
    number = choices.between(2, largest)
    return many(number, noun, determiner, _some_adjective(choices, noun, plural=True))


def _ranked(choices: Choices, noun: Noun) -> NounPhrase:
    rank = choices.between(1, len(_ORDINALS))
    source = _ORDINALS[rank - 1] + ("a" if noun.feminine else "o")
    return build(noun, DEFINITE, number=(source, english_ordinal(rank)))


def _owned(choices: Choices, noun: Noun) -> NounPhrase:
    plural = choices.once_in(3)
    if choices.once_in(2):
        owner = choices.of(_OWNERS)
    else:
        named = choices.once_in(2)
        phrase = person_name(choices) if named else simple(choices, lexicon.PEOPLE)
        ending = "'" if phrase.target.endswith("s") else "'s"
        owner = (contract("de", phrase.source), phrase.target + ending)
    adjective = _some_adjective(choices, noun, plural)
    return build(noun, DEFINITE, plural, adjective=adjective, owner=owner)
