"""Scores of translations against human references."""

from collections.abc import Sequence
from typing import NamedTuple


class Scores(NamedTuple):
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015), 0 to 100.

    The signatures, settings and version of the program, make them comparable.
    """

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def score(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """Scores plain text, which may be empty, by sacrebleu (Post 2018,
    arXiv:1804.08771).

    Raises:
        ValueError: If the lists differ in length or are empty.
        ImportError: If sacrebleu is missing.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise ImportError(
            "Scores need the extra `translation`: pip install -e .[translation]"
        ) from error
    if not 0 < len(hypotheses) == len(references):
        raise ValueError(
            "`hypotheses` and `references` must be of one length, at least 1. "
            f"Received: {len(hypotheses)} and {len(references)}"
        )
    # All text is plain to begin with, so the warning on tokenized text is off.
    bleu, chrf = BLEU(tokenize="13a", force=True), CHRF()
    parts = list(hypotheses), [list(references)]
    return Scores(
        bleu.corpus_score(*parts).score,
        chrf.corpus_score(*parts).score,
        str(bleu.get_signature()),
        str(chrf.get_signature()),
    )
