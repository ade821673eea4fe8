"""Logs of transformers that were never trained, written as a run writes them."""

import numpy as np

from dlrt.callbacks import HistoryLog

SUBCOMMANDS = {"dense": "reference", "fixed": "fixed-rank", "adaptive": "rank-adaptive"}
VOCABULARY = 8_000


def projections(layers):
    """Names of the low-rank layers, in the order in which a model has them."""
    attention = ("query", "key", "value", "output")
    names = []
    for side, parts in (
        ("encoder", ("self_attention",)),
        ("decoder", ("self_attention", "cross_attention")),
    ):
        for layer in range(1, layers + 1):
            for part in parts:
                names += [f"{side}_{layer}_{part}/{end}" for end in attention]
            names += [f"{side}_{layer}_feed_forward_{n}" for n in (1, 2)]
    return [*names, "output"]


def ranks(names, method, rank, epoch, seed):
    """Ranks after an epoch: fixed, or falling from `rank` to one of each layer."""
    if method == "dense":
        return {}
    random = np.random.default_rng(seed)
    final = np.clip(rank * random.uniform(0.05, 0.7, len(names)), 3, rank)
    if method == "fixed":
        return dict.fromkeys(names, rank)
    shares = np.exp(-epoch / random.uniform(1.5, 6.0, len(names)))
    values = final + (rank - final) * shares
    return {
        name: round(float(value)) for name, value in zip(names, values, strict=True)
    }


def epochs_of(method, rank, seed, epochs, layers=4, dim=128):
    """What a run logs in each epoch: `(seconds, logs)`."""
    names = projections(layers)
    random = np.random.default_rng(1_000 * seed + (rank or 0))
    quality = {"dense": 1.0, "fixed": 0.75 + 0.2 * min(rank or 0, 90) / 90}.get(
        method, 0.95
    )
    found = []
    for epoch in range(1, epochs + 1):
        learned = quality * (1 - np.exp(-epoch / 6)) + 0.004 * random.standard_normal()
        found_ranks = ranks(names, method, rank, epoch, seed)
        dense = 2 * VOCABULARY * dim + len(names) * dim * 3 * dim
        kernels = sum(r * 5 * dim for r in found_ranks.values())
        count = dense if method == "dense" else 2 * VOCABULARY * dim + kernels
        overfitting = 0.01 * max(0, epoch - 14)
        logs = {
            "loss": 8.0 - 6.4 * learned - overfitting,
            "accuracy": 0.72 * learned,
            "val_loss": 8.0 - 6.0 * learned + overfitting,
            "val_accuracy": 0.66 * learned,
            "test_bleu": max(0.0, 38 * learned - 6),
            "test_chrf": max(0.0, 60 * learned - 4),
            "training seconds": 20.0,
            "tokens/second": 9_000.0 + 50 * random.standard_normal(),
            "parameters": count,
            "parameters training": count + sum(r**2 for r in found_ranks.values()),
            "compression": 1 - count / dense,
            "learning_rate": 1e-3 * min(epoch / 4, (4 / epoch) ** 0.5),
        }
        logs |= {f"rank/{name}": rank for name, rank in found_ranks.items()}
        seconds = {"dense": 22.8, "fixed": 20.0}.get(method, 26.0) + 12 * (epoch == 1)
        found.append((seconds + 0.3 * random.standard_normal(), logs))
    return found


def configuration_of(method, rank, seed, epochs, layers=4, dim=128, **changes):
    configuration = {
        "experiment": "transformer",
        "subcommand": SUBCOMMANDS[method],
        "dim": dim,
        "layers": layers,
        "heads": 8,
        "feed_forward": 4 * dim,
        "rank": rank,
        "tolerance": 0.1 if method == "adaptive" else None,
        "corpus": "ted-pt-en",
        "seed": seed,
        "epochs": epochs,
        "batch_size": 64,
    }
    return configuration | changes


def write_run(
    root,
    method,
    rank=None,
    seed=0,
    epochs=20,
    name=None,
    left_out=(),
    until=None,
    diverges_at=None,
    layers=4,
    changes=None,
    **settings,
):
    """One run; `left_out` are columns that it lacks, `until` is its last epoch."""
    name = name or f"transformer-{method}{rank or ''}-seed{seed}"
    path = root / name / "historyLogs" / "transformer.xlsx"
    configuration = configuration_of(method, rank, seed, epochs, layers, **settings)
    configuration |= changes or {}
    log = HistoryLog(path, configuration, write_interval=float("inf"))
    course = epochs_of(method, rank, seed, epochs, layers)
    for epoch, (seconds, logs) in enumerate(course[:until], start=1):
        translation = {"source": "um", "reference": "a", "translation": "a" * epoch}
        log.add_rows("translations", [translation] * 2)
        kept = {key: value for key, value in logs.items() if key not in left_out}
        if epoch == diverges_at:
            kept["loss"] = float("nan")
        log.append(epoch, seconds, kept)
    log.flush()
    return path


def write_study(root, seeds=(0, 1, 2), epochs=20, layers=4):
    """Dense, three fixed ranks and an adaptive network, each with some seeds."""
    for seed in seeds:
        write_run(root, "dense", None, seed, epochs, layers=layers)
        for rank in (30, 60, 90):
            write_run(root, "fixed", rank, seed, epochs, layers=layers)
        write_run(root, "adaptive", 90, seed, epochs, layers=layers)
        tight = {"tolerance": 0.2, "name": f"transformer-adaptive-0.2-seed{seed}"}
        write_run(root, "adaptive", 80, seed, epochs, layers=layers, **tight)
