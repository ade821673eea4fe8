"""The words of the generated corpus: Portuguese with their English translations.

Each Portuguese word has one translation here, whatever stands around it. Where a
language would leave a choice, the lexicon makes it: "filhos" are sons.
"""

import re
from typing import NamedTuple


class Noun(NamedTuple):
    """A noun in both languages; `preposition` says in English where a place is."""

    source: str
    source_plural: str
    feminine: bool
    target: str
    target_plural: str
    preposition: str = ""


class Adjective(NamedTuple):
    """An adjective, with its Portuguese forms in the order of a determiner's.

    Colours have no English comparative. "Estar" links a temporary one to a subject,
    "ser" others.
    """

    source: tuple[str, str, str, str]
    target: str
    comparative: str
    temporary: bool = False


def _nouns(table: str) -> tuple[Noun, ...]:
    """Reads lines of article, singular, plural, and the English of both."""
    nouns = []
    for line in table.strip().split("\n"):
        article, source, source_plural, *target = line.split()
        nouns.append(Noun(source, source_plural, article == "a", *target))
    return tuple(nouns)


PEOPLE = _nouns("""
    o professor professores teacher teachers
    a professora professoras teacher teachers
    o médico médicos doctor doctors
    a médica médicas doctor doctors
    o amigo amigos friend friends
    a amiga amigas friend friends
    o vizinho vizinhos neighbour neighbours
    a vizinha vizinhas neighbour neighbours
    o irmão irmãos brother brothers
    a irmã irmãs sister sisters
    o filho filhos son sons
    a filha filhas daughter daughters
    o homem homens man men
    a mulher mulheres woman women
    a criança crianças child children
    o rei reis king kings
""")

ANIMALS = _nouns("""
    o gato gatos cat cats
    o cão cães dog dogs
    o cavalo cavalos horse horses
    o pássaro pássaros bird birds
    a vaca vacas cow cows
    o rato ratos mouse mice
""")

READABLE = _nouns("""
    o livro livros book books
    a carta cartas letter letters
    o jornal jornais newspaper newspapers
""")

CONTAINERS = _nouns("""
    a caixa caixas box boxes
    a mala malas suitcase suitcases
    a garrafa garrafas bottle bottles
""")

FOOD = _nouns("""
    a maçã maçãs apple apples
    a laranja laranjas orange oranges
    o ovo ovos egg eggs
    o bolo bolos cake cakes
    o queijo queijos cheese cheeses
    a batata batatas potato potatoes
""")

OTHER_THINGS = _nouns("""
    o carro carros car cars
    a mesa mesas table tables
    a cadeira cadeiras chair chairs
    a chave chaves key keys
    a camisa camisas shirt shirts
    o chapéu chapéus hat hats
    o relógio relógios clock clocks
    a faca facas knife knives
    a flor flores flower flowers
""")

PLACES = _nouns("""
    a casa casas house houses in
    a escola escolas school schools at
    o jardim jardins garden gardens in
    a cidade cidades city cities in
    a praia praias beach beaches on
    o mercado mercados market markets at
    a igreja igrejas church churches in
    a estação estações station stations at
    o hotel hotéis hotel hotels at
    a ponte pontes bridge bridges on
    a ilha ilhas island islands on
""")

THINGS = READABLE + CONTAINERS + FOOD + OTHER_THINGS

NAMES = ("a Ana", "o João", "a Maria", "o Miguel", "o Pedro", "a Rita")


def _adjectives(table: str, temporary: bool = False) -> tuple[Adjective, ...]:
    """Reads lines of the masculine, its plural if not in "-os", and English.

    Where there is a comparative in English, it follows a comma.
    """
    adjectives = []
    for line in table.strip().split("\n"):
        words, _, comparative = line.partition(", ")
        *source, target = words.split()
        if len(source) == 1:
            stem = source[0].removesuffix("o")
            forms = (stem + "o", stem + "a", stem + "os", stem + "as")
        else:
            singular, plural = source
            forms = (singular, singular, plural, plural)
        adjectives.append(Adjective(forms, target, comparative, temporary))
    return tuple(adjectives)


COLOURS = _adjectives("""
    vermelho red
    amarelo yellow
    branco white
    preto black
    verde verdes green
    azul azuis blue
""")

_SHARED = _adjectives("""
    velho old, older
    bonito beautiful, more beautiful
    pequeno small, smaller
""")

OF_PEOPLE = _adjectives("""
    alto tall, taller
    jovem jovens young, younger
    forte fortes strong, stronger
    rico rich, richer
    pobre pobres poor, poorer
    simpático friendly, friendlier
    inteligente inteligentes intelligent, more intelligent
""")
OF_PEOPLE += _SHARED

MOODS = _adjectives(
    """
    feliz felizes happy, happier
    triste tristes sad, sadder
    cansado tired, more tired
    doente doentes sick, sicker
""",
    temporary=True,
)

OF_THINGS = _adjectives("""
    novo new, newer
    caro expensive, more expensive
    barato cheap, cheaper
    grande grandes big, bigger
""")
OF_THINGS += _SHARED

# The comparative that is not formed with "mais", by its masculine adjective.
COMPARATIVES = {"grande": ("maior", "maiores")}

WEEKDAYS = (
    ("segunda-feira", "Monday"),
    ("terça-feira", "Tuesday"),
    ("quarta-feira", "Wednesday"),
    ("quinta-feira", "Thursday"),
    ("sexta-feira", "Friday"),
    ("sábado", "Saturday"),
    ("domingo", "Sunday"),
)

_PT_MONTHS = """
    janeiro fevereiro março abril maio junho
    julho agosto setembro outubro novembro dezembro
"""
_EN_MONTHS = """
    January February March April May June
    July August September October November December
"""
MONTHS = tuple(zip(_PT_MONTHS.split(), _EN_MONTHS.split(), strict=True))

# 29 February is left out, as most years do not have it.
DAYS_OF_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# Persons of a verb, as indices of its forms: I, you (singular), he or she, we, and
# they. "vocês", the plural of you, takes the forms of they.
FIRST, SECOND, THIRD, FIRST_PLURAL, THIRD_PLURAL = range(5)


class Verb(NamedTuple):
    """A verb: its Portuguese infinitive and forms by person, then its English forms.

    The past is the preterite. A stative verb has no progressive form.
    """

    infinitive: str
    present: tuple[str, ...]
    past: tuple[str, ...]
    base: str
    third: str
    target_past: str
    progressive: str
    stative: bool = False


_ENDINGS = {
    "ar": ("o as a amos am", "ei aste ou ámos aram"),
    "er": ("o es e emos em", "i este eu emos eram"),
    "ir": ("o es e imos em", "i iste iu imos iram"),
}


def _verb(line: str) -> Verb:
    """Reads infinitive, present and past unless they are regular, and English forms."""
    infinitive, *forms, english = (part.strip() for part in line.split("|"))
    stem, kind = infinitive[:-2], infinitive[-2:]
    if not forms:
        forms = [re.sub(r"(\w+)", rf"{stem}\1", endings) for endings in _ENDINGS[kind]]
    present, past = (tuple(form.split()) for form in forms)
    base, third, target_past, progressive = english.split()
    stative = infinitive in _STATIVE
    return Verb(
        infinitive, present, past, base, third, target_past, progressive, stative
    )


_STATIVE = ("custar", "precisar", "querer", "ter", "ver")
_TABLE = """
comprar | buy buys bought buying
vender | sell sells sold selling
encontrar | find finds found finding
lavar | wash washes washed washing
desenhar | draw draws drew drawing
comer | eat eats ate eating
abrir | open opens opened opening
ajudar | help helps helped helping
visitar | visit visits visited visiting
mostrar | show shows showed showing
voltar | return returns returned returning
precisar | need needs needed needing
custar | cost costs cost costing
ver | vejo vês vê vemos veem | vi viste viu vimos viram | see sees saw seeing
ler | leio lês lê lemos leem | li leste leu lemos leram | read reads read reading
dar | dou dás dá damos dão | dei deste deu demos deram | give gives gave giving
ir | vou vais vai vamos vão | fui foste foi fomos foram | go goes went going
querer | quero queres quer queremos querem | quis quiseste quis quisemos quiseram \
    | want wants wanted wanting
ter | tenho tens tem temos têm | tive tiveste teve tivemos tiveram | have has had having
"""
# By their Portuguese infinitives.
VERBS = {verb.infinitive: verb for verb in map(_verb, _TABLE.strip().split("\n"))}
