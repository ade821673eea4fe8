"""Measures how much faster translation is with cached keys and values.

    python -m benchmarks.decoding                     about half an hour
    python -m benchmarks.decoding --sentences 128 --kinds small

Sentences of a corpus are translated by greedy search, batch by batch, with the cache
and without it in turns, so that a noisy machine hits both alike. The networks have
random weights and can't end a sentence: each translation gets as many tokens as the one
in the corpus has. Both ways must write the same tokens; where they don't, because two
scores are nearly alike, this is told. The time of compilation is not counted.

Without the cache, a step computes with the tokens so far on TensorFlow, and on JAX,
where shapes are fixed, with as many as there will be.
"""

import time
from dataclasses import dataclass

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import reports  # noqa: E402
from benchmarks.common_options import make_parser, whole  # noqa: E402
from dlrt.datasets import load_corpus  # noqa: E402
from experiments.cli.command import input_errors  # noqa: E402
from experiments.translation import decoding, network  # noqa: E402
from experiments.translation.batches import source_batches  # noqa: E402
from experiments.translation.search import GreedySearch  # noqa: E402
from experiments.translation.text import encode_pairs, lengths  # noqa: E402
from experiments.translation.tokenizers import END, train_vocabularies  # noqa: E402

MAX_LENGTH = 64

SIZES = {
    "small": {"dim": 128, "layers": 4, "heads": 8, "feed_forward": 512},
    "big": {"dim": 512, "layers": 6, "heads": 8, "feed_forward": 2048},
}
KINDS = {
    "small": ("small", None),
    "small, rank 30": ("small", 30),
    "big": ("big", None),
    "big, rank 50": ("big", 50),
}


@dataclass(frozen=True)
class Text:
    """What is to be translated.

    Args:
        batches: Sources `(sentences, width)` and the number of tokens to write for each
            of them, `(sentences,)`.
        sizes: Of the vocabularies.
        name: Of the corpus.
    """

    batches: list[tuple[np.ndarray, np.ndarray]]
    sizes: dict[str, int]
    name: str

    @property
    def tokens(self) -> int:
        return sum(int(limits.sum()) for _, limits in self.batches)


def load_text(corpus: str, sentences: int, batch_size: int, vocab_size: int) -> Text:
    """Sentences that `encode_pairs` keeps, as many as are asked for."""
    loaded = load_corpus(corpus)
    vocabularies = train_vocabularies(loaded.train, vocab_size)
    pairs = encode_pairs(loaded.test, vocabularies, MAX_LENGTH)
    limits = lengths(pairs.target).astype(np.int32)
    return Text(
        [
            (ids, limits[chosen])
            for chosen, ids in source_batches(pairs.source[:sentences], batch_size)
        ],
        {
            "source_size": vocabularies.source.size,
            "target_size": vocabularies.target.size,
        },
        loaded.name,
    )


def make_network(size: str, rank: int | None, sizes: dict[str, int]) -> keras.Model:
    """A network that never ends a sentence."""
    keras.utils.set_random_seed(0)
    model = network.build(
        network.Architecture(**SIZES[size], **sizes, dropout=0.1, rank=rank)
    )
    for side in (network.SOURCE, network.TARGET):
        table = model.get_layer(f"{side}_embedding").embeddings
        table.assign(keras.random.normal(table.shape, stddev=table.shape[1] ** -0.5))
    bias = model.get_layer("output").bias
    bias.assign(np.where(np.arange(bias.shape[0]) == END, -1e9, 0.0))
    return model


@dataclass
class Turns:
    """Seconds with and without the cache for every batch, and what was written."""

    cached: list[float]
    uncached: list[float]
    written: int = 0
    differing: int = 0
    distinct: int = 0


def measure(model: keras.Model, text: Text) -> Turns:
    """Translates every batch both ways."""
    decoders = [
        decoding.compile_search(GreedySearch(model, MAX_LENGTH, cached))
        for cached in (True, False)
    ]
    warm_up = text.batches[0]
    for decoder in decoders:
        decoder(*warm_up)
    turns = Turns([], [])
    seen: set[int] = set()
    for source, limits in text.batches:
        if keras.backend.backend() == "jax":
            for decoder in decoders:
                decoder(source, np.minimum(limits, 1))
        (first, cached), (second, uncached) = (
            _timed(decoder, source, limits) for decoder in decoders
        )
        turns.cached.append(cached)
        turns.uncached.append(uncached)
        written = np.count_nonzero(first)
        if not written == np.count_nonzero(second) == limits.sum():
            raise RuntimeError(f"{written} tokens were written, not {limits.sum()}")
        turns.written += written
        turns.differing += int(np.any(first != second, axis=1).sum())
        seen.update(np.unique(first).tolist())
    turns.distinct = len(seen)
    return turns


def _timed(
    decoder: decoding.Decoder, source: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    result = decoder(source, limits)
    return result, time.perf_counter() - start


def main() -> None:
    parser = make_parser("benchmarks.decoding", __doc__)
    parser.add_argument("--corpus", default="auto", help="see `dlrt.datasets`")
    count = whole(1, 10**6)
    parser.add_argument("--sentences", type=count, default=1000)
    parser.add_argument("--batch-size", type=count, default=64)
    parser.add_argument("--vocab-size", type=count, default=8000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments = parser.parse_args()
    with input_errors():
        text = load_text(
            arguments.corpus,
            arguments.sentences,
            arguments.batch_size,
            arguments.vocab_size,
        )
    number = sum(len(limits) for _, limits in text.batches)
    backend = keras.backend.backend()
    print(f"{number} sentences of {text.name}, {text.tokens} tokens, {backend}")
    columns = (
        "network",
        "cached, s",
        "without, s",
        "times faster",
        "in batches",
        "sentences that differ",
        "distinct tokens",
    )
    print(f"\n{reports.format_head(columns)}", flush=True)
    for kind in arguments.kinds:
        size, rank = KINDS[kind]
        turns = measure(make_network(size, rank, text.sizes), text)
        ratios = np.array(turns.uncached) / np.array(turns.cached)
        values = (
            kind,
            f"{sum(turns.cached):.1f}",
            f"{sum(turns.uncached):.1f}",
            f"{sum(turns.uncached) / sum(turns.cached):.1f}",
            f"{ratios.min():.1f} to {ratios.max():.1f}",
            str(turns.differing),
            str(turns.distinct),
        )
        print(reports.format_line(values), flush=True)


if __name__ == "__main__":
    main()
