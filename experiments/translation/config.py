"""The settings of transformer runs: their options, defaults and bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.cli import options
from experiments.cli.checks import (
    MOST,
    POSITIVE,
    SHARE_OR_NONE,
    count,
    few_weights,
    option,
    require,
)
from experiments.cli.command import Parser
from experiments.cli.options import setting
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
_DESCRIPTIONS = {
    "reference": "Trains the dense transformer that the others are compared with.",
    "fixed-rank": "Trains a transformer whose projections have one fixed rank.",
    "rank-adaptive": "Trains a transformer that finds the ranks of its projections.",
}


@dataclass(frozen=True)
class Preset:
    """The option that sets several sizes."""

    preset: str = setting(
        "small",
        "sizes of the network that are not given one by one",
        choices=tuple(PRESETS),
    )


def _size(name: str, help: str, most: int = MOST) -> Any:
    """A size of the network, which a preset may set."""
    small, big = (preset[name] for preset in PRESETS.values())
    shown = str(small) if small == big else f"{small}, big: {big}"
    return setting(small, help, shown=shown, rule=count(most=most))


@dataclass(frozen=True)
class Config(LowRankSettings):
    """The settings of one run; `None` where a subcommand has no such setting."""

    epochs: int = 100
    steps_per_epoch: int | None = setting(
        None,
        "steps in an epoch, which go on where the epoch before ended",
        shown="those of one pass through the sentences",
        rule=count(),
    )
    minutes: float | None = setting(
        None,
        "time of training, validation and scores excluded, after which the run ends "
        "with its epoch; --resume with more goes on",
        shown="no such end",
        rule=POSITIVE,
    )
    rank: int | None = setting(
        None,
        "rank of every projection, at the start if it adapts; by default at most full "
        "rank",
        "-s",
    )
    embedding_rank: int | None = setting(
        None, "rank of the embeddings", shown="dense embeddings", where="rank"
    )
    dim: int = _size("dim", "width of the tokens' vectors")
    layers: int = _size("layers", "encoder layers, and decoder layers", _MOST_LAYERS)
    heads: int = _size("heads", "attention heads")
    feed_forward: int = _size("feed_forward", "hidden width of feed-forward blocks")
    dropout: float = setting(
        0.1, "share of outputs of blocks and of embeddings to drop", rule=SHARE_OR_NONE
    )
    # `None` with `batch_tokens`.
    batch_size: int | None = setting(64, "sentences in a step", rule=count())
    batch_tokens: int | None = setting(
        None,
        "instead: target tokens in a step, with padding, at most",
        shown="--batch-size counts",
        rule=count(),
    )
    warm_up_steps: int | None = setting(
        None,
        "steps that the learning rate rises for, to fall as 1/sqrt(step)",
        shown=f"{WARM_UP_STEPS}, at most half of all steps, so that the rate of a "
        "short run falls too",
        rule=count(),
    )
    learning_rate_factor: float = setting(
        1.0,
        "multiplies the learning rate, whose peak is 1/sqrt(dim * warm-up steps), for "
        f"fewer than {WARM_UP_STEPS} steps that of {WARM_UP_STEPS}",
        rule=POSITIVE,
    )
    # The real name once it is loaded.
    corpus: str = setting(
        "auto",
        "pt_en, ted, phrases, or a folder with train.pt, train.en, validation.pt, "
        "validation.en, test.pt and test.en",
        shown="auto, which is pt_en where DLRT_DATA_DIR has it, else phrases",
        metavar="NAME|DIR",
    )
    vocab_size: int | None = setting(
        None,
        "subwords of each language, at most",
        shown=f"{VOCAB_SIZE}, phrases: {PHRASES_VOCAB_SIZE}",
        rule=count(),
    )
    max_length: int = setting(
        64,
        "subwords of a sentence with its end, at most: longer pairs are not trained "
        "on, and longer test sentences are cut",
        rule=count(2, MOST_TOKENS),
    )
    score_interval: int = setting(
        5,
        "epochs from one translation of the test set, for BLEU and chrF, to the next; "
        "0: after the last epoch only",
        rule=count(0),
    )
    beams: int = setting(
        1,
        "beams of the search that the best model is scored with at the end",
        rule=count(most=MOST_BEAMS),
    )

    @property
    def network(self) -> str:
        return f"{self.form}-transformer-{self.layers}x{self.dim}-{word(self.corpus)}"

    @property
    def base_name(self) -> str:
        words = "transformer", self.subcommand, word(self.corpus), f"d{self.dim}"
        return self.name_run(*words, rank=self.rank)

    def record(self) -> dict[str, Any]:
        return {"experiment": "transformer"} | super().record()

    def check(self) -> None:
        super().check()
        dim = self.dim
        require(dim % 2 == 0, self, "dim", "be even, for sines and cosines")
        fits = dim % self.heads == 0
        require(fits, self, "heads", f"divide the width, `--dim {dim}`")


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


def parse(arguments: Sequence[str]) -> Config:
    """Parses the command line into settings."""
    parser = Parser(
        prog="python -m experiments.transformer",
        description="Trains transformers that translate.",
    )
    return options.parse_subcommand(
        arguments, parser, _DESCRIPTIONS, resolve, DEFAULTS, Preset()
    )


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
    for name in ("rank", "embedding_rank"):
        rank = getattr(config, name)
        if rank is not None and rank > config.max_rank:
            raise ValueError(
                f"`--max-rank` must be at least `{option(name)}`. Received: "
                f"--max-rank {config.max_rank}, {option(name)} {rank}"
            )
