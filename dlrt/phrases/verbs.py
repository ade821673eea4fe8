"""The verbs of the generated corpus in both languages."""

import re
from typing import NamedTuple

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


def _read(line: str) -> Verb:
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
VERBS = {verb.infinitive: verb for verb in map(_read, _TABLE.strip().split("\n"))}
