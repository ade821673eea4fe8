"""The settings of transformer runs, their defaults and their bounds."""

from dataclasses import dataclass
from typing import Any

from experiments.cli.checks import (
    MOST,
    at_least_one,
    few_weights,
    option,
    positive,
    require,
)
from experiments.cli.settings import word
from experiments.runs.network_settings import (
    LowRankSettings,
    check_ranks,
    weights,
    weights_at_once,
)

# Vaswani et al., 2017, arXiv:1706.03762, whose base model is the big one here.
PRESETS = {
    "small": {"dim": 128, "layers": 4, "heads": 8, "feed_forward": 512},
    "big": {"dim": 512, "layers": 6, "heads": 8, "feed_forward": 2048},
}
WARM_UP_STEPS = 4000
# Every sentence of a text is kept in a row as long as that.
MOST_TOKENS = 4096
# Their hypotheses are kept for every sentence of a batch.
MOST_BEAMS = 1000
_MOST_LAYERS = 1000
VOCAB_SIZE = 8000
# The generated phrases have few words.
PHRASES_VOCAB_SIZE = 1000


@dataclass(frozen=True)
class Config(LowRankSettings):
    """The settings of one run; `None` where a subcommand has no such setting.

    Beside those of `LowRankSettings`:

    Args:
        steps_per_epoch: Steps in an epoch. Defaults to one pass through the sentences.
        minutes: Minutes of training, scores and validation excluded, after which a run
            ends with its epoch. Defaults to no limit.
        rank: Rank of every projection, at the start if it adapts.
        embedding_rank: Rank of the embeddings; `None` for dense ones.
        dim: Width of the tokens' vectors.
        layers: Number of encoder layers, and of decoder layers.
        heads: Number of attention heads.
        feed_forward: Width of the hidden layer of feed-forward blocks.
        dropout: Share of the outputs of blocks and of embeddings to drop.
        batch_size: Sentences in a step; `None` with `batch_tokens`.
        batch_tokens: Instead: target tokens in a step, with padding, at most.
        warm_up_steps: Steps that the learning rate rises for. `None`: see
            `default_warm_up_steps`.
        learning_rate_factor: Multiplies the learning rate.
        corpus: A corpus's name or folder; the real name once it is loaded.
        vocab_size: Size of each vocabulary, at most. `None`: depends on the corpus.
        max_length: Tokens of a sentence with its end, at most.
        score_interval: Epochs from one scoring of the test set to the next; 0 for one
            after the last epoch only.
        beams: Beams of the search that the best model is scored with.
    """

    epochs: int = 100
    steps_per_epoch: int | None = None
    minutes: float | None = None
    rank: int | None = None
    embedding_rank: int | None = None
    dim: int = 128
    layers: int = 4
    heads: int = 8
    feed_forward: int = 512
    dropout: float = 0.1
    batch_size: int | None = 64
    batch_tokens: int | None = None
    warm_up_steps: int | None = None
    learning_rate_factor: float = 1.0
    corpus: str = "auto"
    vocab_size: int | None = None
    max_length: int = 64
    score_interval: int = 5
    beams: int = 1

    @property
    def network(self) -> str:
        """What is trained on which data; the workbook has this name."""
        return f"{self.form}-transformer-{self.layers}x{self.dim}-{word(self.corpus)}"

    @property
    def base_name(self) -> str:
        """The run's name, if it gets no other and is the first of its kind."""
        words = "transformer", self.subcommand, word(self.corpus), f"d{self.dim}"
        return self.name_run(*words, rank=self.rank)

    def record(self) -> dict[str, Any]:
        """The settings that the log keeps."""
        return {"experiment": "transformer"} | super().record()

    def check(self) -> None:
        super().check()
        at_least_one(
            self,
            *("steps_per_epoch", "dim", "layers", "heads", "feed_forward", "beams"),
            *("batch_size", "batch_tokens", "warm_up_steps", "vocab_size", "max_rank"),
        )
        for name, most in (
            ("layers", _MOST_LAYERS),
            ("beams", MOST_BEAMS),
            ("max_length", MOST_TOKENS),
            ("score_interval", MOST),
        ):
            require(getattr(self, name) <= most, self, name, f"be at most {most}")
        dim = self.dim
        require(dim % 2 == 0, self, "dim", "be even, for sines and cosines")
        fits = dim % self.heads == 0
        require(fits, self, "heads", f"divide the width, `--dim {dim}`")
        require(0 <= self.dropout < 1, self, "dropout", "lie in [0, 1)")
        require(self.max_length >= 2, self, "max_length", "be at least 2")
        require(self.score_interval >= 0, self, "score_interval", "be at least 0")
        positive(self, "learning_rate_factor")
        if self.minutes is not None:
            positive(self, "minutes")


DEFAULTS = {
    config.subcommand: config
    for config in (
        Config("reference", integrator=None),
        Config("fixed-rank", rank=50),
        Config("rank-adaptive", rank=50, tolerance=0.01),
    )
}


def default_vocab_size(corpus: str) -> int:
    """The size of the vocabularies for a corpus, by its name."""
    return PHRASES_VOCAB_SIZE if corpus == "phrases" else VOCAB_SIZE


def default_warm_up_steps(steps: int) -> int:
    """The default number of steps for which the learning rate rises.

    The usual 4,000, or half of the steps if these are fewer than 8,000: otherwise the
    rate of a short run would only rise.
    """
    return min(WARM_UP_STEPS, max(1, steps // 2))


def resolve(subcommand: str, given: dict[str, Any]) -> Config:
    """Fills the given settings up with the defaults of a subcommand.

    Args:
        subcommand: A key of `DEFAULTS`.
        given: The settings that are not left to the defaults, by name; `"preset"` is
            a key of `PRESETS`.

    Raises:
        ValueError: If a setting is out of bounds.
    """
    if given.get("batch_size") is not None and given.get("batch_tokens") is not None:
        raise ValueError(
            "`--batch-size` and `--batch-tokens` exclude each other. Received: "
            f"--batch-size {given['batch_size']} --batch-tokens {given['batch_tokens']}"
        )
    given = dict(given)
    values = vars(DEFAULTS[subcommand]) | PRESETS[given.pop("preset", "small")] | given
    if given.get("batch_tokens") is not None:
        values["batch_size"] = None
    config = Config(**values)
    config.check()
    if "rank" not in given and config.rank is not None:
        # The default suits the default width; a narrow network can't have this rank.
        values["rank"] = min(config.rank, config.dim, config.max_rank or config.dim)
    config = Config(**values)
    _check_ranks(config)
    sizes = "dim", "layers", "feed_forward", "vocab_size"
    given_sizes = [name for name in sizes if getattr(config, name) is not None]
    few_weights(config, _weights(config), *given_sizes)
    return config


def _weights(config: Config) -> int:
    """About how many weights a network has, once its ranks have grown."""
    dim, hidden = config.dim, config.feed_forward
    # Four projections of attention in each encoder layer, eight in each decoder layer.
    block = [(dim, dim)] * 12 + [(dim, hidden), (hidden, dim)] * 2
    words = (config.vocab_size or VOCAB_SIZE, dim)
    grown = config.max_rank or dim
    rank, embedding_rank = (
        given and (grown if config.adaptive else given)
        for given in (config.rank, config.embedding_rank)
    )
    return (
        (config.layers - 1) * weights(block, rank)
        + weights_at_once([*block, words], rank)
        + weights([words] * 2, embedding_rank)
    )


def _check_ranks(config: Config) -> None:
    names = "rank", "max_rank", "embedding_rank"
    check_ranks(config, config.dim, f"with `--dim {config.dim}`", *names)
    if config.max_rank is None:
        return
    require(config.max_rank >= 2, config, "max_rank", "be at least 2")
    for name in ("rank", "embedding_rank"):
        rank = getattr(config, name)
        if rank is not None and rank > config.max_rank:
            raise ValueError(
                f"`--max-rank` must be at least `{option(name)}`. Received: "
                f"--max-rank {config.max_rank}, {option(name)} {rank}"
            )
