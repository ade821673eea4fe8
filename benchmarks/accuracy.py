"""Measures accuracy on MNIST against the number of parameters.

    python -m benchmarks.accuracy fixed adaptive-500

Runs `experiments.mnist_dense`, or `experiments.lenet5` in the studies of that name, for
every setting and seed of the named studies, two at a time with one thread each, skips
what is finished, and writes a table and, for studies of a curve, a figure. Interrupt it
at any time; the same command goes on.
"""

import csv
import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.cli import quiet

quiet.import_keras(devices=False)

from benchmarks import reports  # noqa: E402
from benchmarks.common_options import add_log_dir, add_seeds, make_parser, whole  # noqa: E402
from benchmarks.places import RESULTS  # noqa: E402
from benchmarks.studies import train  # noqa: E402
from dlrt.callbacks import read_history  # noqa: E402
from dlrt_names.log_schema import PARAMETERS, RANK  # noqa: E402
from experiments.mnist import published_results  # noqa: E402


@dataclass(frozen=True)
class Setting:
    """One network to train, with several seeds.

    Args:
        label: What it is called in the table.
        options: Words of the command line of the experiment.
        seeds: Number of seeds, counted from 0.
        module: The experiment.
    """

    label: str
    options: tuple[str, ...]
    seeds: int = 3
    module: str = "experiments.mnist_dense"


def _adaptive(width: int, tolerances: tuple[float, ...]) -> list[Setting]:
    return [
        Setting(
            f"adaptive, tolerance {tolerance}",
            ("rank-adaptive", "-d", str(width), "-t", str(tolerance)),
        )
        for tolerance in tolerances
    ]


def _transfer(width: int, optimizer: str, rate: str) -> list[Setting]:
    shared = ("-d", str(width), "--optimizer", optimizer, "--learning-rate", rate)
    label = f"width {width}, {optimizer} {rate}"
    epochs = ("--epochs", "3")
    return [
        Setting(f"dense, {label}", ("dense-reference", *shared, *epochs), seeds=1),
        Setting(f"rank 30, {label}", ("fixed-rank", "-s", "30", *shared, *epochs), 1),
    ]


def _lenet5(label: str, *options: str) -> Setting:
    # The published ones took 120 epochs.
    options = (*options, "--epochs", "8")
    return Setting(label, options, module="experiments.lenet5")


STUDIES = {
    "fixed": [
        Setting("dense", ("dense-reference",)),
        *(
            Setting(f"rank {rank}", ("fixed-rank", "-s", str(rank)))
            for rank in (30, 20, 10)
        ),
    ],
    "vanilla": [
        Setting(
            f"two factors without geometry, rank {rank}",
            ("fixed-rank", "-s", str(rank), "--integrator", "factorized"),
        )
        for rank in (30, 20, 10)
    ],
    "rank-10": [
        Setting("rank 10, 60 epochs", ("fixed-rank", "-s", "10", "--epochs", "60")),
        Setting("rank 10, kls", ("fixed-rank", "-s", "10", "--integrator", "kls")),
        Setting("dense, then rank 10", ("train-from-prune", "-s", "10")),
        Setting("rank 12", ("fixed-rank", "-s", "12")),
        Setting("rank 14", ("fixed-rank", "-s", "14")),
    ],
    "adaptive-500": _adaptive(500, (0.15, 0.2, 0.21, 0.225, 0.23)),
    "growth": [
        Setting(
            f"tolerance 0.1, from rank {start}",
            ("rank-adaptive", "-s", str(start), "-t", "0.1", "--candidates", "2"),
        )
        for start in (5, 20, 100)
    ],
    "adaptive-784": _adaptive(784, (0.15, 0.18, 0.2, 0.21, 0.225)),
    # Ranks of at most as many parameters as the published networks, in truth. The small
    # ones have a last layer of low rank.
    "lenet5-fixed": [
        _lenet5("dense", "dense-reference"),
        *(
            _lenet5(f"ranks {ranks}", "fixed-rank", "--ranks", ranks)
            for ranks in (
                *("6,12,10,7", "6,12,7,6", "5,8,4,5", "3,5,3,3", "3,4,2,3"),
                "2,3,2,3",
            )
        ),
    ],
    "lenet5-adaptive": [
        _lenet5(f"adaptive, tolerance {tolerance}", "rank-adaptive", "-t", tolerance)
        for tolerance in ("0.3", "0.4", "0.5", "0.6")
    ],
    "prune": [
        Setting("dense, then rank 20", ("train-from-prune", "-d", "784", "-s", "20"), 1)
    ],
    "learning-rate": [
        setting
        for width in (200, 784, 2000)
        for optimizer, rates in (
            ("adam", ("0.0003", "0.001", "0.003")),
            ("sgd", ("0.03", "0.1", "0.3")),
        )
        for rate in rates
        for setting in _transfer(width, optimizer, rate)
    ],
}


def run(study: str, setting: Setting, seed: int, log_dir: Path) -> dict[str, Any]:
    """Trains one network, unless it has been, and returns what its log says."""
    words = [word.lstrip("-").replace(",", "-") for word in setting.options]
    name = "-".join([study, *words, f"seed{seed}"])
    options = [*setting.options, "--seed", str(seed), "--dataset", "mnist"]
    workbook = train(setting.module, options, name, log_dir)
    rows, configuration = read_history(workbook)
    ranks = [[v for k, v in row.items() if k.startswith(RANK)] for row in rows]
    # Of an adaptive run, the epochs with its final ranks.
    final = [
        row
        for row, its in zip(rows, ranks, strict=True)
        if its == ranks[-1] and row["epoch"] > 0
    ]
    result = {
        "study": study,
        "setting": setting.label,
        "seed": seed,
        "ranks": ",".join(map(str, ranks[-1])) if ranks else "",
        "parameters": rows[-1][PARAMETERS] if rows else 0,
        "best epoch": 0,
        "validation accuracy": math.nan,
        "test accuracy": math.nan,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
    if rows and rows[-1]["epoch"] == configuration["epochs"]:
        best = max(final, key=lambda row: row["val_accuracy"])
        result["best epoch"] = best["epoch"]
        result["validation accuracy"] = best["val_accuracy"]
        result["test accuracy"] = best["test_accuracy"]
    print(f"{name}: {result['test accuracy']:.2%}", flush=True)
    return result


def by_setting(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Results by the label of their setting, in order."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        grouped.setdefault(result["setting"], []).append(result)
    return grouped


def tabulate(results: list[dict[str, Any]]) -> str:
    """A Markdown table of means over seeds."""
    lines = []
    for label, rows in by_setting(results).items():
        accuracies = [100 * row["test accuracy"] for row in rows]
        if any(map(math.isnan, accuracies)):
            lines.append((label, str(len(rows)), "–", "–", "diverged", "–"))
            continue
        parameters = statistics.mean(row["parameters"] for row in rows)
        lines.append(
            (
                label,
                str(len(rows)),
                rows[0]["ranks"] or "–",
                f"{parameters:,.0f}",
                f"{statistics.mean(accuracies):.2f}",
                f"{min(accuracies):.2f}–{max(accuracies):.2f}",
            )
        )
    columns = (
        "setting",
        "seeds",
        "ranks (first seed)",
        "parameters",
        "test %",
        "min–max",
    )
    return reports.format_table(columns, lines)


class Point(NamedTuple):
    """A published network.

    Attributes:
        ranks: Ranks of its low-rank layers.
        parameters: Its number of parameters.
        accuracy: The percentage of test images that it gets right.
    """

    ranks: tuple[int, ...]
    parameters: int
    accuracy: float


def compare(points: list[Point], results: list[dict[str, Any]]) -> str:
    """A Markdown table of the published points beside our best at most as large."""
    lines, means = [], []
    for label, rows in by_setting(results).items():
        parameters = statistics.mean(row["parameters"] for row in rows)
        accuracy = statistics.mean(100 * row["test accuracy"] for row in rows)
        means.append((accuracy, parameters, label))
    for ranks, size, published in points:
        smaller = [mean for mean in means if mean[1] <= size]
        ours = ("–", "–")
        if smaller:
            accuracy, parameters, label = max(smaller)
            ours = (f"{accuracy:.2f}", f"{label} ({parameters:,.0f})")
        shown = ", ".join(map(str, ranks))
        lines.append((shown, f"{size:,}", f"{published:.2f}", *ours))
    columns = (
        "original: ranks",
        "parameters",
        "test %",
        "dlrt, not larger: test %",
        "by",
    )
    return reports.format_table(columns, lines)


class Curve(NamedTuple):
    """What a study's figure shows beside its results.

    Attributes:
        label: What the curve of the study is called.
        network: What its networks are.
        points: Published networks like them.
        epochs: For how many epochs these were trained.
        dense: The published percentage of the dense network.
        dense_epochs: For how many epochs that was trained.
    """

    label: str
    network: str
    points: list[Point]
    epochs: str
    dense: float
    dense_epochs: int


def _of_width(width: int, label: str) -> Curve:
    points = [
        Point(ranks, published_results.low_rank_parameters(width, ranks), accuracy)
        for ranks, accuracy in published_results.LOW_RANK[width]
    ]
    network = f"four hidden layers of width {width}"
    return Curve(
        label, network, points, "up to 350", published_results.DENSE[width], 250
    )


def _of_lenet5(label: str) -> Curve:
    points = [Point(*point) for point in published_results.LENET5]
    return Curve(label, "LeNet-5", points, "120", published_results.LENET5_DENSE, 120)


# Studies with a figure.
CURVES = {
    "fixed": _of_width(500, "dlrt, fixed rank, 20 epochs"),
    "adaptive-500": _of_width(500, "dlrt, rank-adaptive, 25 epochs"),
    "adaptive-784": _of_width(784, "dlrt, rank-adaptive, 25 epochs"),
    "lenet5-fixed": _of_lenet5("dlrt, fixed ranks, 8 epochs"),
    "lenet5-adaptive": _of_lenet5("dlrt, rank-adaptive, 8 epochs"),
}


def draw(study: str, results: list[dict[str, Any]]) -> None:
    """Draws accuracy against parameters beside the published points."""
    curve = CURVES[study]
    figure, axes = reports.load_pyplot().subplots(
        figsize=(6.4, 4.2), layout="constrained"
    )
    axes.plot(
        [point.parameters for point in curve.points],
        [point.accuracy for point in curve.points],
        "s--",
        color="0.45",
        label=f"original, {curve.epochs} epochs",
    )
    axes.axhline(
        curve.dense,
        color="0.45",
        ls=":",
        label=f"original dense, {curve.dense_epochs} epochs",
    )
    means = []
    dense = [result for result in results if result["setting"] == "dense"]
    if dense:
        axes.axhline(
            statistics.mean(100 * row["test accuracy"] for row in dense),
            color="#D55E00",
            ls="-.",
            label="dense, trained the same way",
        )
    low_rank = [result for result in results if result not in dense]
    for rows in by_setting(low_rank).values():
        x = statistics.mean(row["parameters"] for row in rows)
        accuracies = [100 * row["test accuracy"] for row in rows]
        means.append((x, statistics.mean(accuracies)))
        axes.plot(
            [row["parameters"] for row in rows],
            accuracies,
            ".",
            color="#0072B2",
            alpha=0.5,
        )
    means.sort()
    axes.plot(*zip(*means, strict=True), "o-", color="#0072B2", label=curve.label)
    axes.set_xscale("log")
    axes.set_xlabel("parameters for prediction")
    axes.set_ylabel("test accuracy of the best-validation epoch (%)")
    axes.set_title(f"MNIST, {curve.network}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    reports.save_figure(figure, RESULTS / f"{study}.png", dpi=160)


def read_results(study: str) -> list[dict[str, Any]]:
    """The results that earlier calls have written."""
    if not (RESULTS / f"{study}.csv").exists():
        return []
    with open(RESULTS / f"{study}.csv", newline="") as file:
        return [
            {
                **row,
                "seed": int(row["seed"]),
                "parameters": int(row["parameters"]),
                "test accuracy": float(row["test accuracy"]),
            }
            for row in csv.DictReader(file)
        ]


def write_results(study: str, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Writes results in the place of earlier ones of the same setting and seed.

    Returns:
        All results of the study as it is defined now.
    """
    rows = {(row["setting"], row["seed"]): row for row in read_results(study)}
    rows |= {(row["setting"], row["seed"]): row for row in results}
    wanted = [(s.label, seed) for s in STUDIES[study] for seed in range(s.seeds)]
    kept = [rows[key] for key in wanted if key in rows]
    reports.write_csv(RESULTS / f"{study}.csv", kept)
    return kept


def report(study: str, results: list[dict[str, Any]]) -> None:
    """Prints the tables of a study and draws its figure."""
    print(f"\n{study}\n\n{tabulate(results)}\n", flush=True)
    if study in CURVES:
        print(f"{compare(CURVES[study].points, results)}\n", flush=True)
        draw(study, results)


def main() -> None:
    parser = make_parser("benchmarks.accuracy", __doc__)
    parser.add_argument("studies", nargs="+", choices=STUDIES)
    add_seeds(parser, [0, 1, 2])
    parser.add_argument("--only", help="only settings whose label contains this")
    parser.add_argument(
        "--report-only", action="store_true", help="report results that are there"
    )
    parser.add_argument("--jobs", type=whole(1, 1024), default=2, help="runs at a time")
    add_log_dir(parser, "accuracy")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if arguments.report_only:
        for study in arguments.studies:
            found = read_results(study)
            if not found:
                parser.error(f"there are no results of {study} yet")
            report(study, found)
        return
    for study in arguments.studies:
        jobs = [
            (setting, seed)
            for seed in arguments.seeds
            for setting in STUDIES[study]
            if seed < setting.seeds and (arguments.only or "") in setting.label
        ]
        if not jobs:
            parser.error(
                f"{study} has no setting with --only {arguments.only!r} and "
                f"--seeds {arguments.seeds}"
            )
        with ThreadPoolExecutor(arguments.jobs) as pool:
            futures = [
                pool.submit(run, study, setting, seed, arguments.log_dir.absolute())
                for setting, seed in jobs
            ]
            results = [future.result() for future in futures]
        report(study, write_results(study, results))


if __name__ == "__main__":
    main()
