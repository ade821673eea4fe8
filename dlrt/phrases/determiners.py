"""Determiners in both languages, their agreement and contraction."""

from collections.abc import Sequence
from typing import NamedTuple


class Determiner(NamedTuple):
    """The forms of a determiner; a number it does not have is empty.

    The Portuguese ones are masculine, feminine, then their plurals.
    """

    source: tuple[str, ...]
    target: str = ""
    target_plural: str = ""


DEFINITE = Determiner(("o", "a", "os", "as"), "the", "the")
INDEFINITE = Determiner(("um", "uma", "", ""), "a", "")
THIS = Determiner(("este", "esta", "estes", "estas"), "this", "these")
THAT = Determiner(("aquele", "aquela", "aqueles", "aquelas"), "that", "those")
MY = Determiner(("o meu", "a minha", "os meus", "as minhas"), "my", "my")
YOUR = Determiner(("o teu", "a tua", "os teus", "as tuas"), "your", "your")
OUR = Determiner(("o nosso", "a nossa", "os nossos", "as nossas"), "our", "our")
OTHER = Determiner(("outro", "outra", "outros", "outras"), "another", "other")
MANY = Determiner(("", "", "muitos", "muitas"), "", "many")
ALL = Determiner(("", "", "todos os", "todas as"), "", "all the")
NO_DETERMINER = Determiner(("", "", "", ""))

# Of what is known, and of anything; the common ones more often.
KNOWN = (DEFINITE, DEFINITE, DEFINITE, THIS, THAT, MY, YOUR, OUR)
ANY = (*KNOWN, INDEFINITE, INDEFINITE, INDEFINITE, OTHER, MANY, ALL)
WITH_NUMBER = (DEFINITE, THIS, THAT, MY, YOUR, OUR)
OF_OWNERS = (DEFINITE, MY, YOUR, OUR)

_CONTRACTIONS = {
    ("a", "o"): "ao",
    ("a", "a"): "à",
    ("a", "os"): "aos",
    ("a", "as"): "às",
    **{("a", form): "à" + form.removeprefix("a") for form in THAT.source},
    **{
        (preposition, form): letter + form
        for preposition, letter, determiners in (
            ("de", "d", (DEFINITE, THIS, THAT)),
            ("em", "n", (DEFINITE, INDEFINITE, THIS, THAT, OTHER)),
        )
        for determiner in determiners
        for form in determiner.source
        if form
    },
}


def contract(preposition: str, source: str) -> str:
    """Puts a Portuguese preposition before a noun phrase.

    Example:
    >>> contract("em", "a casa"), contract("a", "outra casa")
    ('na casa', 'a outra casa')
    """
    first, space, rest = source.partition(" ")
    if (preposition, first) in _CONTRACTIONS:
        return _CONTRACTIONS[preposition, first] + space + rest
    return f"{preposition} {source}"


def form_of(forms: Sequence[str], feminine: bool, plural: bool) -> str:
    """Returns the one of four forms that agrees."""
    return forms[feminine + 2 * plural]
