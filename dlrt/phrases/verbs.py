"""The verbs of the generated corpus in both languages."""

from typing import NamedTuple

# Persons of a verb, as indices of its forms: I, you (singular), he or she, we, and
# they. "vocês", the plural of you, takes the forms of they.
FIRST, SECOND, THIRD, FIRST_PLURAL, THIRD_PLURAL = range(5)


class Verb(NamedTuple):
    """A verb in both languages.

    Args:
        infinitive: The Portuguese infinitive.
        present: Its forms by person.
        past: Its forms of the preterite by person.
        base: The English base form.
        third: The English form of the third person singular.
        target_past: The English past.
        progressive: The English form in "-ing".
        stative: Whether the verb has no progressive form.
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


def _irregular(
    infinitive: str, present: str, past: str, english: str, stative: bool = False
) -> Verb:
    base, third, target_past, progressive = english.split()
    return Verb(
        infinitive,
        tuple(present.split()),
        tuple(past.split()),
        base,
        third,
        target_past,
        progressive,
        stative,
    )


def _regular(infinitive: str, english: str, stative: bool = False) -> Verb:
    stem = infinitive[:-2]
    present, past = (
        " ".join(stem + ending for ending in endings.split())
        for endings in _ENDINGS[infinitive[-2:]]
    )
    return _irregular(infinitive, present, past, english, stative)


COMPRAR = _regular("comprar", "buy buys bought buying")
VENDER = _regular("vender", "sell sells sold selling")
ENCONTRAR = _regular("encontrar", "find finds found finding")
LAVAR = _regular("lavar", "wash washes washed washing")
DESENHAR = _regular("desenhar", "draw draws drew drawing")
COMER = _regular("comer", "eat eats ate eating")
ABRIR = _regular("abrir", "open opens opened opening")
AJUDAR = _regular("ajudar", "help helps helped helping")
VISITAR = _regular("visitar", "visit visits visited visiting")
MOSTRAR = _regular("mostrar", "show shows showed showing")
VOLTAR = _regular("voltar", "return returns returned returning")
PRECISAR = _regular("precisar", "need needs needed needing", stative=True)
CUSTAR = _regular("custar", "cost costs cost costing", stative=True)
VER = _irregular(
    "ver",
    "vejo vês vê vemos veem",
    "vi viste viu vimos viram",
    "see sees saw seeing",
    stative=True,
)
LER = _irregular(
    "ler",
    "leio lês lê lemos leem",
    "li leste leu lemos leram",
    "read reads read reading",
)
DAR = _irregular(
    "dar",
    "dou dás dá damos dão",
    "dei deste deu demos deram",
    "give gives gave giving",
)
IR = _irregular(
    "ir",
    "vou vais vai vamos vão",
    "fui foste foi fomos foram",
    "go goes went going",
)
QUERER = _irregular(
    "querer",
    "quero queres quer queremos querem",
    "quis quiseste quis quisemos quiseram",
    "want wants wanted wanting",
    stative=True,
)
TER = _irregular(
    "ter",
    "tenho tens tem temos têm",
    "tive tiveste teve tivemos tiveram",
    "have has had having",
    stative=True,
)
