"""Sentence pairs with exact translations, drawn from the grammar."""

from collections.abc import Iterator

from dlrt.phrases import actions, descriptions, expressions
from dlrt.phrases.choices import Choices
from dlrt.phrases.sentence_pair import SentencePair

# Each with its share of the pairs that are drawn, in parts of a hundred.
_TEMPLATES = (
    (7, expressions.number),
    (4, expressions.calculation),
    (6, expressions.telling_date),
    (6, expressions.telling_time),
    (7, descriptions.price),
    (4, descriptions.age),
    (9, descriptions.noun_phrase),
    (6, descriptions.quality),
    (5, descriptions.comparison),
    (4, descriptions.location),
    (2, descriptions.existence),
    (15, actions.transitive),
    (6, actions.ditransitive),
    (5, actions.motion),
    (9, actions.question_word),
    (5, actions.compound),
)

_MAX_WORDS = 25
_NUM_TRAIN = 60_000
# Of both the validation and the test part.
_NUM_HELD_OUT = 1_000


def generate_parts() -> tuple[list[SentencePair], ...]:
    """Generates pairs for training, validation and test, the same at every call.

    No source and no target is in two pairs, so none is in two parts. Pairs
    for validation and test are taken at equal distances, as sentences of the
    rarer kinds get fewer while they are used up.
    """
    pairs = distinct_pairs(_NUM_TRAIN + 2 * _NUM_HELD_OUT)
    distance = len(pairs) // _NUM_HELD_OUT
    train = [pair for index, pair in enumerate(pairs) if index % distance > 1]
    return train, pairs[0::distance], pairs[1::distance]


def distinct_pairs(num_pairs: int, seed: int = 0) -> list[SentencePair]:
    """Returns so many pairs, all sources and all targets of which differ.

    Where two sentences have the same translation ("o médico", "a médica":
    "the doctor"), only the one that is drawn first is kept. There are millions.
    """
    pairs: list[SentencePair] = []
    sources: set[str] = set()
    targets: set[str] = set()
    stream = random_pairs(seed)
    while len(pairs) < num_pairs:
        pair = next(stream)
        if pair.source not in sources and pair.target not in targets:
            pairs.append(pair)
            sources.add(pair.source)
            targets.add(pair.target)
    return pairs


def random_pairs(seed: int) -> Iterator[SentencePair]:
    """Yields pairs of at most 25 words a side, with repetitions, without end."""
    choices = Choices(seed)
    templates = [template for share, template in _TEMPLATES for _ in range(share)]
    while True:
        pair = choices.of(templates)(choices)
        if max(sentence.count(" ") for sentence in pair) < _MAX_WORDS:
            yield pair
