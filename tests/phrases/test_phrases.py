"""Tests of the generated corpus: its grammar by hand, its sample as a whole."""

import hashlib
import itertools
import re
import unicodedata

import numpy as np
import pytest

from dlrt.datasets import SentencePair, load_corpus
from dlrt.phrases import lexicon
from dlrt.phrases.choices import Choices
from dlrt.phrases.clauses import (
    BE,
    ESTAR,
    NOTHING,
    SER,
    Tense,
    be,
    conjugate,
    question,
    sentence,
    statement,
    with_infinitive,
)
from dlrt.phrases.determiners import (
    DEFINITE,
    INDEFINITE,
    MY,
    OTHER,
    THAT,
    THIS,
    contract,
    form_of,
)
from dlrt.phrases.expressions import clock_time, date, on_weekday, price
from dlrt.phrases.generate import distinct_pairs, random_pairs
from dlrt.phrases.noun_phrases import NounPhrase, build, many, with_article
from dlrt.phrases.number_words import (
    LARGEST,
    english_number,
    english_ordinal,
    english_year,
    portuguese_number,
)

pytestmark = pytest.mark.tensorflow_only

NUMBERS = {
    0: ("zero", "zero"),
    1: ("um", "one"),
    2: ("dois", "two"),
    3: ("três", "three"),
    12: ("doze", "twelve"),
    14: ("catorze", "fourteen"),
    16: ("dezasseis", "sixteen"),
    17: ("dezassete", "seventeen"),
    19: ("dezanove", "nineteen"),
    20: ("vinte", "twenty"),
    21: ("vinte e um", "twenty-one"),
    40: ("quarenta", "forty"),
    88: ("oitenta e oito", "eighty-eight"),
    100: ("cem", "one hundred"),
    101: ("cento e um", "one hundred and one"),
    115: ("cento e quinze", "one hundred and fifteen"),
    199: ("cento e noventa e nove", "one hundred and ninety-nine"),
    500: ("quinhentos", "five hundred"),
    777: ("setecentos e setenta e sete", "seven hundred and seventy-seven"),
    1_000: ("mil", "one thousand"),
    1_001: ("mil e um", "one thousand and one"),
    1_100: ("mil e cem", "one thousand one hundred"),
    1_992: (
        "mil novecentos e noventa e dois",
        "one thousand nine hundred and ninety-two",
    ),
    2_020: ("dois mil e vinte", "two thousand and twenty"),
    2_300: ("dois mil e trezentos", "two thousand three hundred"),
    2_345: (
        "dois mil trezentos e quarenta e cinco",
        "two thousand three hundred and forty-five",
    ),
    10_010: ("dez mil e dez", "ten thousand and ten"),
    21_000: ("vinte e um mil", "twenty-one thousand"),
    100_000: ("cem mil", "one hundred thousand"),
    101_101: (
        "cento e um mil cento e um",
        "one hundred and one thousand one hundred and one",
    ),
    200_400: ("duzentos mil e quatrocentos", "two hundred thousand four hundred"),
    1_000_000: ("um milhão", "one million"),
    1_000_001: ("um milhão e um", "one million and one"),
    1_200_000: ("um milhão e duzentos mil", "one million two hundred thousand"),
    2_000_016: ("dois milhões e dezasseis", "two million and sixteen"),
    3_450_600: (
        "três milhões quatrocentos e cinquenta mil e seiscentos",
        "three million four hundred and fifty thousand six hundred",
    ),
    100_000_000: ("cem milhões", "one hundred million"),
}

FEMININE = {
    1: "uma",
    2: "duas",
    21: "vinte e uma",
    16: "dezasseis",
    100: "cem",
    101: "cento e uma",
    200: "duzentas",
    532: "quinhentas e trinta e duas",
    1_000: "mil",
    2_000: "duas mil",
    21_300: "vinte e uma mil e trezentas",
    300_002: "trezentas mil e duas",
    2_000_002: "dois milhões e duas",
}

NOUNS = {
    noun.source: noun
    for noun in lexicon.PEOPLE + lexicon.ANIMALS + lexicon.THINGS + lexicon.PLACES
}
ADJECTIVES = {
    adjective.source[0]: adjective
    for adjective in (
        lexicon.COLOURS + lexicon.OF_PEOPLE + lexicon.OF_THINGS + lexicon.MOODS
    )
}
VERBS = tuple(lexicon.VERBS.values())

I = NounPhrase("eu", "I", False, lexicon.FIRST)  # noqa: E741
YOU = NounPhrase("tu", "you", True, lexicon.SECOND)
SHE = NounPhrase("ela", "she", True, lexicon.THIRD)
WE = NounPhrase("nós", "we", False, lexicon.FIRST_PLURAL)
THEY = NounPhrase("elas", "they", True, lexicon.THIRD_PLURAL)
BREAD = SentencePair("o bolo", "the cake")


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("phrases")


@pytest.fixture(scope="module")
def drawn():
    """Pairs as they are drawn, with repetitions, of another seed."""
    return list(itertools.islice(random_pairs(seed=1), 250_000))


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers(number):
    assert (portuguese_number(number), english_number(number)) == NUMBERS[number]


@pytest.mark.parametrize("number", FEMININE)
def test_feminine_numbers(number):
    assert portuguese_number(number, feminine=True) == FEMININE[number]


def test_numbers_are_distinct():
    numbers = [*range(20_000), *range(20_000, LARGEST, 49_999)]
    assert len({portuguese_number(number) for number in numbers}) == len(numbers)
    assert len({english_number(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("number", [-1, LARGEST + 1])
def test_numbers_out_of_range(number):
    for words in (portuguese_number, english_number):
        with pytest.raises(ValueError, match=f"Received: number={number}"):
            words(number)


def test_ordinals():
    ordinals = {
        1: "first",
        2: "second",
        3: "third",
        4: "fourth",
        5: "fifth",
        8: "eighth",
        9: "ninth",
        11: "eleventh",
        12: "twelfth",
        13: "thirteenth",
        20: "twentieth",
        21: "twenty-first",
        22: "twenty-second",
        30: "thirtieth",
        31: "thirty-first",
    }
    assert {number: english_ordinal(number) for number in ordinals} == ordinals


def test_years():
    years = {
        1700: "seventeen hundred",
        1805: "eighteen oh five",
        1992: "nineteen ninety-two",
        2000: "two thousand",
        2009: "two thousand and nine",
        2010: "twenty ten",
        2021: "twenty twenty-one",
    }
    assert {year: english_year(year) for year in years} == years


@pytest.mark.parametrize(
    ("euros", "cents", "source", "target"),
    [
        (
            12,
            50,
            "doze euros e cinquenta cêntimos",
            "twelve euros and fifty cents",
        ),
        (1, 0, "um euro", "one euro"),
        (0, 1, "um cêntimo", "one cent"),
        (2000, 2, "dois mil euros e dois cêntimos", "two thousand euros and two cents"),
    ],
)
def test_prices(euros, cents, source, target):
    assert price(euros, cents) == (source, target)


@pytest.mark.parametrize(
    ("hour", "minute", "source", "target"),
    [
        (1, 0, "uma hora", "one o'clock"),
        (2, 0, "duas horas", "two o'clock"),
        (3, 15, "três e um quarto", "a quarter past three"),
        (3, 30, "três e meia", "half past three"),
        (3, -15, "três menos um quarto", "a quarter to three"),
        (11, 20, "onze e vinte", "twenty past eleven"),
        (1, -25, "uma menos vinte e cinco", "twenty-five to one"),
        (2, 21, "duas horas e vinte e um minutos", "twenty-one minutes past two"),
        (1, -1, "uma hora menos um minuto", "one minute to one"),
    ],
)
def test_times(hour, minute, source, target):
    assert clock_time(hour, minute) == (source, target)


def test_dates():
    assert date(3, 3, 1992) == (
        "três de março de mil novecentos e noventa e dois",
        "the third of March, nineteen ninety-two",
    )
    assert date(1, 12) == ("um de dezembro", "the first of December")
    assert on_weekday("segunda-feira") == "na segunda-feira"
    assert on_weekday("sábado") == "no sábado"


@pytest.mark.parametrize(
    ("preposition", "phrase", "contracted"),
    [
        ("em", "o jardim", "no jardim"),
        ("em", "as cidades", "nas cidades"),
        ("em", "uma casa", "numa casa"),
        ("em", "este hotel", "neste hotel"),
        ("em", "outra ilha", "noutra ilha"),
        ("em", "duas casas", "em duas casas"),
        ("em", "todas as casas", "em todas as casas"),
        ("de", "a minha irmã", "da minha irmã"),
        ("de", "os homens", "dos homens"),
        ("de", "aquele rei", "daquele rei"),
        ("de", "um rei", "de um rei"),
        ("a", "o mercado", "ao mercado"),
        ("a", "a Maria", "à Maria"),
        ("a", "as mulheres", "às mulheres"),
        ("a", "aquela ponte", "àquela ponte"),
        ("a", "este hotel", "a este hotel"),
        ("a", "amigos", "a amigos"),
    ],
)
def test_contractions(preposition, phrase, contracted):
    assert contract(preposition, phrase) == contracted


@pytest.mark.parametrize(
    ("noun", "determiner", "plural", "adjective", "source", "target"),
    [
        ("casa", DEFINITE, True, "branco", "as casas brancas", "the white houses"),
        ("livro", INDEFINITE, False, "azul", "um livro azul", "a blue book"),
        ("maçã", INDEFINITE, False, "verde", "uma maçã verde", "a green apple"),
        ("cão", THIS, True, "pequeno", "estes cães pequenos", "these small dogs"),
        (
            "mulher",
            THAT,
            True,
            "feliz",
            "aquelas mulheres felizes",
            "those happy women",
        ),
        ("jornal", MY, True, "velho", "os meus jornais velhos", "my old newspapers"),
        ("igreja", OTHER, False, "velho", "outra igreja velha", "another old church"),
        ("hotel", INDEFINITE, False, "caro", "um hotel caro", "an expensive hotel"),
    ],
)
def test_agreement_in_noun_phrases(noun, determiner, plural, adjective, source, target):
    noun, adjective = NOUNS[noun], ADJECTIVES[adjective]
    words = form_of(adjective.source, noun.feminine, plural), adjective.target
    phrase = build(noun, determiner, plural, adjective=words)
    assert (phrase.source, phrase.target) == (source, target)
    assert phrase.plural == plural


def test_counted_and_owned_nouns():
    houses = many(2, NOUNS["casa"])
    assert (houses.source, houses.target) == ("duas casas", "two houses")
    houses = many(21, NOUNS["casa"])
    assert (houses.source, houses.target) == ("vinte e uma casas", "twenty-one houses")
    owned = build(
        NOUNS["carro"],
        DEFINITE,
        adjective=("vermelho", "red"),
        owner=("da Maria", "Maria's"),
    )
    assert owned.source == "o carro vermelho da Maria"
    assert owned.target == "Maria's red car"


def test_english_article():
    assert with_article("apple") == "an apple"
    assert with_article("house") == "a house"


@pytest.mark.parametrize(
    ("subject", "verb", "tense", "negated", "source", "target"),
    [
        (I, "comer", Tense.PRESENT, False, "Eu como o bolo.", "I eat the cake."),
        (
            SHE,
            "comer",
            Tense.PRESENT,
            True,
            "Ela não come o bolo.",
            "She does not eat the cake.",
        ),
        (
            SHE,
            "lavar",
            Tense.PRESENT,
            False,
            "Ela lava o bolo.",
            "She washes the cake.",
        ),
        (
            WE,
            "comprar",
            Tense.PAST,
            False,
            "Nós comprámos o bolo.",
            "We bought the cake.",
        ),
        (
            YOU,
            "ver",
            Tense.PAST,
            True,
            "Tu não viste o bolo.",
            "You did not see the cake.",
        ),
        (
            I,
            "comer",
            Tense.PROGRESSIVE,
            True,
            "Eu não estou a comer o bolo.",
            "I am not eating the cake.",
        ),
        (
            THEY,
            "vender",
            Tense.FUTURE,
            False,
            "Elas vão vender o bolo.",
            "They will sell the cake.",
        ),
        (
            WE,
            "abrir",
            Tense.ABILITY,
            True,
            "Nós não podemos abrir o bolo.",
            "We cannot open the cake.",
        ),
    ],
)
def test_statements(subject, verb, tense, negated, source, target):
    verb = next(entry for entry in VERBS if entry.infinitive == verb)
    predicate = conjugate(verb, tense, subject.person)
    pair = sentence(statement(subject, predicate, BREAD, negated), ".")
    assert pair == (source, target)


def test_questions():
    def ask(subject, verb, tense, start=NOTHING, rest=BREAD):
        predicate = conjugate(verb, tense, subject.person)
        return tuple(question(subject, predicate, rest, start))

    assert ask(SHE, lexicon.VERBS["ler"], Tense.PRESENT) == (
        "ela lê o bolo",
        "does she read the cake",
    )
    assert ask(THEY, lexicon.VERBS["comer"], Tense.PAST) == (
        "elas comeram o bolo",
        "did they eat the cake",
    )
    assert ask(I, lexicon.VERBS["dar"], Tense.PROGRESSIVE) == (
        "eu estou a dar o bolo",
        "am I giving the cake",
    )
    why = SentencePair("porque é que", "why")
    assert ask(YOU, lexicon.VERBS["vender"], Tense.FUTURE, why) == (
        "porque é que tu vais vender o bolo",
        "why will you sell the cake",
    )


def test_verbs_before_verbs():
    wanting = with_infinitive(lexicon.VERBS["querer"], "", lexicon.VERBS["ler"])
    assert conjugate(wanting, Tense.PRESENT, lexicon.THIRD)[:2] == (
        "quer ler",
        "wants to read",
    )
    needing = with_infinitive(lexicon.VERBS["precisar"], "de", lexicon.VERBS["ir"])
    assert conjugate(needing, Tense.PAST, lexicon.FIRST)[:2] == (
        "precisei de ir",
        "needed to go",
    )
    assert conjugate(needing, Tense.FUTURE, lexicon.THIRD)[:2] == (
        "vai precisar de ir",
        "will need to go",
    )


def test_to_be():
    assert be(SER, BE, lexicon.FIRST)[:2] == ("sou", "am")
    predicate = be(ESTAR, BE, lexicon.THIRD_PLURAL)
    rest = SentencePair("cansadas", "tired")
    assert tuple(statement(THEY, predicate, rest, True)) == (
        "elas não estão cansadas",
        "they are not tired",
    )
    assert question(THEY, predicate, rest).target == "are they tired"


def test_verbs_have_all_forms():
    for verb in VERBS:
        assert len(verb.present) == len(verb.past) == 5, verb
        # Only what a pronoun or adverbial tells apart may coincide.
        same = {(p, q) for p, q in itertools.product(verb.present, verb.past) if p == q}
        assert same <= {(verb.present[3], verb.past[3])}, verb


def test_a_portuguese_word_has_one_translation():
    translations = {}
    for noun in NOUNS.values():
        translations.setdefault(noun.source, set()).add(noun.target)
        translations.setdefault(noun.source_plural, set()).add(noun.target_plural)
    for adjective in ADJECTIVES.values():
        for form in adjective.source:
            translations.setdefault(form, set()).add(adjective.target)
    assert [word for word, words in translations.items() if len(words) > 1] == []


@pytest.mark.slow
def test_a_source_has_one_translation(drawn):
    translations = {}
    for pair in drawn:
        assert translations.setdefault(pair.source, pair.target) == pair.target


@pytest.mark.slow
def test_hundreds_of_thousands_can_be_drawn(drawn):
    assert len(set(drawn)) >= 200_000
    assert len({pair.target for pair in drawn}) >= 200_000


@pytest.mark.slow
def test_sentences_are_well_formed(drawn):
    for pair in drawn:
        for text in pair:
            assert text == unicodedata.normalize("NFC", " ".join(text.split()))
            assert 1 <= len(text.split()) <= 25
        ends = [re.sub(r"[^.?]", "", text) for text in pair]
        assert ends in (["", ""], [".", "."], ["?", "?"]), pair
        if ends[0]:
            assert all(text[0].isupper() and text[-1] == ends[0] for text in pair)


MASCULINE_AND_FEMININE = {
    ("o", "a"),
    ("os", "as"),
    ("um", "uma"),
    ("dois", "duas"),
    ("ao", "à"),
    ("aos", "às"),
    ("do", "da"),
    ("dos", "das"),
    ("no", "na"),
    ("nos", "nas"),
    ("num", "numa"),
    ("este", "esta"),
    ("estes", "estas"),
    ("aquele", "aquela"),
    ("aqueles", "aquelas"),
    ("meu", "minha"),
    ("teus", "tuas"),
    ("nosso", "nossa"),
    ("muitos", "muitas"),
    ("outro", "outra"),
    ("noutros", "noutras"),
    ("primeiro", "primeira"),
    ("terceiro", "terceira"),
    ("duzentos", "duzentas"),
}


@pytest.mark.slow
def test_words_agree_wherever_they_stand(drawn):
    found = set()
    for pair in drawn:
        words = [word.strip(",.?") for word in pair.source.lower().split()]
        found.update(itertools.pairwise(words))
    wrong, right = set(), set()
    for noun in NOUNS.values():
        for word in (noun.source, noun.source_plural):
            for forms in MASCULINE_AND_FEMININE:
                right.add((forms[noun.feminine], word))
                wrong.add((forms[not noun.feminine], word))
        for adjective, plural in itertools.product(ADJECTIVES.values(), (False, True)):
            word = noun.source_plural if plural else noun.source
            agreeing = form_of(adjective.source, noun.feminine, plural)
            right.add((word, agreeing))
            wrong.update((word, form) for form in {*adjective.source} - {agreeing})
    assert found & wrong == set()
    assert len(found & right) > 2000


@pytest.mark.slow
def test_prepositions_are_contracted_everywhere(drawn):
    text = "\n".join(pair.source for pair in drawn)
    articles = "o|a|os|as|este|esta|aquele|aquela|aqueles|aquelas"
    assert not re.search(rf"\b(em|de) ({articles})\b", text)
    assert not re.search(r"\ba (o|a|os|as|aquele|aquela|aqueles|aquelas)\b", text)
    assert not re.search(r"\bem (um|uma)\b", text)


@pytest.mark.slow
def test_english_articles_everywhere(drawn):
    text = "\n".join(pair.target for pair in drawn)
    assert not re.search(r"\b[Aa] [aeiou]", text)
    assert not re.search(r"\b[Aa]n [^aeiou]", text)


def test_sizes_and_origin(corpus):
    assert (corpus.name, corpus.source) == ("phrases", "embedded")
    sizes = [len(part) for part in (corpus.train, corpus.validation, corpus.test)]
    assert sizes == [60_000, 1_000, 1_000]


def test_parts_are_disjoint_by_source_and_by_target(corpus):
    pairs = corpus.train + corpus.validation + corpus.test
    assert len({pair.source for pair in pairs}) == len(pairs)
    assert len({pair.target for pair in pairs}) == len(pairs)


def test_parts_have_the_same_words_and_lengths(corpus):
    def words(part, side):
        return {word for pair in part for word in re.findall(r"[\w'-]+", pair[side])}

    def mean_length(part, side):
        return np.mean([len(pair[side].split()) for pair in part])

    for side in (0, 1):
        for part in (corpus.validation, corpus.test):
            assert words(part, side) <= words(corpus.train, side)
            assert abs(mean_length(part, side) - mean_length(corpus.train, side)) < 0.5


def test_the_corpus_is_the_same_everywhere(corpus):
    pairs = distinct_pairs(1000)
    assert pairs == distinct_pairs(1000, seed=0)
    assert pairs != distinct_pairs(1000, seed=1)
    assert (pairs[0], pairs[1]) == (corpus.validation[0], corpus.test[0])
    text = "\n".join("\t".join(pair) for pair in pairs)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "b35070855f8782a15d61a093eede4a8c3a861be9bfade340df5791af188e7b7e"
    )


def test_choices_cover_all_options():
    choices = Choices(seed=3)
    assert {choices.between(2, 5) for _ in range(200)} == {2, 3, 4, 5}
    assert {choices.of("abc") for _ in range(200)} == set("abc")
    counts = np.bincount([choices.below(6) for _ in range(70_000)])
    assert np.all(np.abs(counts / 70_000 - 1 / 6) < 0.01)
