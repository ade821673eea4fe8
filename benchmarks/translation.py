"""Trains dense, fixed-rank and rank-adaptive transformers for a comparison.

    python -m benchmarks.translation phrases          equal epochs, three seeds
    python -m benchmarks.translation pt_en            the big network, equal time

Runs `experiments.transformer` for every network and seed of a study, several at a time
with one thread each, and has `evaluation` draw curves and write tables of their logs
into `results/translation-<study>/`. Interrupt it at any time; the same command goes on,
and more `--minutes` continue what is finished.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.common_options import (
    MOST_SECONDS,
    above,
    add_log_dir,
    add_seeds,
    make_parser,
    whole,
)
from benchmarks.places import RESULTS, ROOT
from benchmarks.studies import train


@dataclass(frozen=True)
class Study:
    """Networks that are trained alike.

    Args:
        shared: Words of the command line of `experiments.transformer` for all of them.
        networks: Subcommand and further words of each, by its name.
        seeds: Number of seeds, counted from 0.
        minutes: Time of training, in place of a number of epochs.
    """

    shared: tuple[str, ...]
    networks: dict[str, tuple[str, ...]]
    seeds: int = 3
    minutes: float | None = None


STUDIES = {
    # Short epochs, for curves of more than a few points.
    "phrases": Study(
        (
            *("--corpus", "phrases", "--epochs", "16", "--steps-per-epoch", "300"),
            *("--score-interval", "1"),
        ),
        {
            "dense": ("reference",),
            "fixed": ("fixed-rank", "--rank", "30"),
            "adaptive": ("rank-adaptive", "--rank", "50", "--tolerance", "0.2"),
        },
    ),
    # The number of epochs is one that no run gets to. The usual peak of the learning
    # rate is for a warm-up ten times as long, so a third of it is tried too, for the
    # dense network with both, that it is not held back.
    "pt_en": Study(
        (
            *("--corpus", "pt_en", "--preset", "big", "--epochs", "10000"),
            *("--steps-per-epoch", "50", "--warm-up-steps", "400"),
            *("--score-interval", "0"),
        ),
        {
            "dense": ("reference", "--learning-rate-factor", "0.3"),
            "dense-1": ("reference", "--learning-rate-factor", "1"),
            "fixed": (
                *("fixed-rank", "--rank", "50"),
                *("--learning-rate-factor", "0.3"),
            ),
        },
        seeds=1,
        minutes=60,
    ),
}


def main() -> None:
    parser = make_parser("benchmarks.translation", __doc__)
    parser.add_argument("study", choices=STUDIES)
    add_seeds(parser, None)
    parser.add_argument(
        "--minutes",
        type=above(0, MOST_SECONDS),
        help="time of training of each run, without validation",
    )
    parser.add_argument(
        "--jobs",
        type=whole(1, 1024),
        help="runs at a time (default: 2; of equal time all networks, so that none has "
        "the machine to itself)",
    )
    parser.add_argument(
        "--threads", type=whole(1, 1024), default=1, help="threads of each run"
    )
    add_log_dir(parser, "translation")
    given = parser.parse_args()
    study = STUDIES[given.study]
    minutes = study.minutes if given.minutes is None else given.minutes
    jobs = given.jobs or (2 if minutes is None else len(study.networks))
    log_dir = given.log_dir.absolute() / given.study

    def run(network: str, seed: int) -> None:
        options = [*study.networks[network], *study.shared, "--seed", str(seed)]
        if minutes is not None:
            options += ["--minutes", f"{minutes:g}"]
        name = f"{network}-seed{seed}"
        train("experiments.transformer", options, name, log_dir, given.threads)
        print(f"{given.study}: {name} is finished", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(run, network, seed)
            for seed in given.seeds or range(study.seeds)
            for network in study.networks
        ]
        for future in futures:
            future.result()
    output = RESULTS / f"translation-{given.study}"
    for words in (["figures", "--formats", "png", "--at", "best"], ["tables"]):
        command = [sys.executable, "-m", "evaluation", *words]
        command += [str(log_dir), "--output", str(output)]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
