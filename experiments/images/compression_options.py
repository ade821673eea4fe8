"""The command line of compressions."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import run_options
from experiments.cli.command import Parser
from experiments.images.compression_config import (
    ALLOCATIONS,
    DEFAULTS,
    METHODS,
    PRESETS,
    SCHEMES,
    CompressionConfig,
    resolve,
)
from experiments.images.config import NETWORKS
from experiments.images.options import ImageOptions


def parse(arguments: Sequence[str], prog: str) -> CompressionConfig:
    """Parses the command line into settings.

    Args:
        arguments: The arguments.
        prog: The name of the program.
    """
    parser = Parser(
        prog=prog,
        description="Makes a trained network smaller by a low-rank method.",
        argument_default=argparse.SUPPRESS,
    )
    return run_options.parse(arguments, parser, _Options, DEFAULTS, resolve)


class _Options(ImageOptions):
    defaults: CompressionConfig
    datasets = (
        f"{ImageOptions.datasets}; of lstm, a text: pt_en, ted, phrases, a file, or a "
        "folder with train.txt, validation.txt and test.txt; auto is pt_en where it "
        "can be had, else phrases"
    )
    batch_size = f"{DEFAULTS.batch_size}, of lstm {NETWORKS['lstm']['batch_size']}"

    def add_all(self) -> None:
        self._add_compression()
        self._add_budget()
        self._add_after()
        self.add_training()
        self.add_data()
        self.add_count(
            "--vocabulary",
            default=str(NETWORKS["lstm"]["vocabulary"]),
            help="of lstm: words to know, the most frequent ones of the text",
        )
        self.add_run("weights, split and order of the images")

    def _add_compression(self) -> None:
        self.add("-n", "--architecture", choices=list(NETWORKS), help="the network")
        self.add("--method", choices=METHODS, help="how it is made smaller")
        for flag, choices, text in (
            ("--scheme", SCHEMES, "what kernels are decomposed into"),
            ("--allocation", ALLOCATIONS, "which layer gets which rank"),
        ):
            self.add(flag, choices=choices, default="that of the method", help=text)
        self.add(
            "--layers",
            metavar="PATTERN",
            default="all that can be",
            help="regular expression for the names of the layers that may be made "
            "smaller, matched in full, as 'conv.*'",
        )
        self.add(
            *("-l", "--load-model"),
            type=Path,
            metavar="PATH",
            default="the newest finished run of the network, trained if there is none",
            help="the trained dense network, a .keras file",
        )
        self.add_count(
            "--dense-epochs",
            metavar="EPOCHS",
            default="those of the network",
            help="epochs of the dense network, if it is trained",
        )

    def _add_budget(self) -> None:
        default = "--preset medium, of lstm --ratio 1.5"
        presets = ", ".join(f"{name}: {ratio:g}" for name, ratio in PRESETS.items())
        self.add(
            "--preset",
            choices=list(PRESETS),
            default=default,
            help=f"budget, as --ratio: {presets}",
        )
        self.add_number(
            "--ratio", default=default, help="budget: X times fewer parameters"
        )
        self.add_count("--parameters", default=default, help="budget: N parameters")
        self.add_count("--flops", default=default, help="budget: N flops an image")
        self.add_number(
            "--error", default=default, help="budget: relative error of every kernel"
        )
        self.add(
            "--ranks",
            type=_ranks,
            metavar="LAYER=R[,...]",
            default=default,
            help="budget: the rank of each layer, as conv_1=8, or conv_1=8x4 of a "
            "Tucker decomposition",
        )

    def _add_after(self) -> None:
        for flag, text in (
            ("--train", "train the smaller network on, for --epochs"),
            ("--test", "measure speed, and accuracy under attack or perplexity"),
        ):
            self.add(flag, action="store_true", default="no", help=text)
        self.add(
            "--transfer",
            metavar="NAME|DIR",
            default="--dataset",
            help="data set to train the smaller network on, with a new last layer",
        )
        self.add(
            *("-t", "--tolerance"),
            type=float,
            default="the ranks of the budget stay",
            help="of --method dlrt: truncation tolerance, from which ranks follow "
            "within the budget",
        )
        self.add_count(
            "--svd-epochs",
            metavar="EPOCHS",
            help="of --method hoyer: epochs of training singular vectors and values",
        )
        self.add_number(
            "--sparsity",
            help="of --method hoyer: factor of the regularizer of singular values",
        )
        self.add_number(
            "--orthogonality",
            help="of --method hoyer: factor of that of singular vectors",
        )
        self.add_number(
            "--attack",
            help="largest change of a pixel, in (0, 1], in the attack of --test",
        )


def _ranks(text: str) -> dict[str, Any]:
    found = {}
    for part in text.split(","):
        match = re.fullmatch(r"(.+)=([1-9]\d*)(?:x([1-9]\d*))?", part)
        if match is None:
            raise argparse.ArgumentTypeError(
                "must be layers with their ranks, as conv_1=8,conv_2=16x20. "
                f"Received: {text}"
            )
        name, first, second = match.groups()
        found[name] = int(first) if second is None else (int(first), int(second))
    return found
