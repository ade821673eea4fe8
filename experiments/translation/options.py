"""The command line of the transformer runs."""

from collections.abc import Sequence

from experiments.cli import run_options
from experiments.cli.command import Parser
from experiments.cli.run_options import RunOptions
from experiments.translation.config import (
    DEFAULTS,
    PHRASES_VOCAB_SIZE,
    PRESETS,
    VOCAB_SIZE,
    WARM_UP_STEPS,
    Config,
    resolve,
)

_DESCRIPTIONS = {
    "reference": "Trains the dense transformer that the others are compared with.",
    "fixed-rank": "Trains a transformer whose projections have one fixed rank.",
    "rank-adaptive": "Trains a transformer that finds the ranks of its projections.",
}


def parse(arguments: Sequence[str]) -> Config:
    """Parses the command line into settings."""
    parser = Parser(
        prog="python -m experiments.transformer",
        description="Trains transformers that translate.",
    )
    return run_options.parse_subcommand(
        arguments, parser, _DESCRIPTIONS, _Options, DEFAULTS, resolve
    )


class _Options(RunOptions):
    defaults: Config

    def add_all(self) -> None:
        self._add_text()
        self._add_network()
        if not self.defaults.dense:
            self._add_low_rank()
        self._add_training()
        self._add_scores()
        self.add_run("weights, dropout and order of the sentences")

    def _add_text(self) -> None:
        self.add(
            "--corpus",
            metavar="NAME|DIR",
            default="auto, which is pt_en where DLRT_DATA_DIR has it, else phrases",
            help="pt_en, ted, phrases, or a folder with train.pt, train.en, "
            "validation.pt, validation.en, test.pt and test.en",
        )
        self.add_count(
            "--vocab-size",
            default=f"{VOCAB_SIZE}, phrases: {PHRASES_VOCAB_SIZE}",
            help="subwords of each language, at most",
        )
        self.add_count(
            "--max-length",
            help="subwords of a sentence with its end, at most: longer pairs are not "
            "trained on, and longer test sentences are cut",
        )

    def _add_network(self) -> None:
        self.add(
            "--preset",
            choices=list(PRESETS),
            default="small",
            help="sizes of the network that are not given one by one",
        )
        self._add_size("--dim", "width of the tokens' vectors")
        self._add_size("--layers", "encoder layers, and decoder layers")
        self._add_size("--heads", "attention heads")
        self._add_size("--feed-forward", "hidden width of feed-forward blocks")
        self.add_number(
            "--dropout",
            metavar="SHARE",
            help="share of outputs of blocks and of embeddings to drop",
        )

    def _add_size(self, flag: str, help: str) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        small, big = (PRESETS[preset][name] for preset in ("small", "big"))
        default = str(small) if small == big else f"{small}, big: {big}"
        self.add_count(flag, default=default, help=help)

    def _add_low_rank(self) -> None:
        adaptive = self.defaults.adaptive
        self.add(
            *("-s", "--rank"),
            type=int,
            default=f"{self.defaults.rank}, at most full rank",
            help="rank of every projection" + (" at the start" if adaptive else ""),
        )
        self.add_count(
            "--embedding-rank",
            metavar="RANK",
            default="dense embeddings",
            help="rank of the embeddings",
        )
        self.add_ranks(adaptive)

    def _add_training(self) -> None:
        self.add("-e", "--epochs", type=int, help="epochs, at most")
        self.add_count(
            "--steps-per-epoch",
            default="those of one pass through the sentences",
            help="steps in an epoch, which go on where the epoch before ended",
        )
        self.add(
            "--minutes",
            type=float,
            default="no such end",
            help="time of training, validation and scores excluded, after which the "
            "run ends with its epoch; --resume with more goes on",
        )
        self.add_count("--batch-size", help="sentences in a step")
        self.add_count(
            "--batch-tokens",
            default="--batch-size counts",
            help="instead: target tokens in a step, with padding, at most",
        )
        self.add_count(
            "--warm-up-steps",
            default=f"{WARM_UP_STEPS}, at most half of all steps, so that the rate of "
            "a short run falls too",
            help="steps that the learning rate rises for, to fall as 1/sqrt(step)",
        )
        self.add_number(
            "--learning-rate-factor",
            help="multiplies the learning rate, whose peak is "
            f"1/sqrt(dim * warm-up steps), for fewer than {WARM_UP_STEPS} steps that "
            f"of {WARM_UP_STEPS}",
        )

    def _add_scores(self) -> None:
        self.add_count(
            "--score-interval",
            metavar="EPOCHS",
            help="epochs from one translation of the test set, for BLEU and chrF, to "
            "the next; 0: after the last epoch only",
        )
        self.add_count(
            "--beams",
            help="beams of the search that the best model is scored with at the end",
        )
