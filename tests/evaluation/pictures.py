"""Logs of networks for images that were never trained, written as runs write them."""

import json

import numpy as np

from dlrt.callbacks import HistoryLog

LAYERS = {"conv_1": 500, "conv_2": 25_000, "dense_1": 400_000, "output": 5_000}
WHOLE = 431_080
SUBCOMMANDS = {
    "dense": "dense-reference",
    "fixed": "fixed-rank",
    "adaptive": "rank-adaptive",
    "decomposed": "svd-training",
    "compressed": "compress",
}


def configuration_of(kind, seed, epochs, **changes):
    if kind == "evolved":
        settings = {"subcommand": "evolve", "max_parameters": 12_500, "stop": 2}
    else:
        name = "compression" if kind == "compressed" else "images"
        settings = {"experiment": name, "subcommand": SUBCOMMANDS[kind]}
        settings |= {"architecture": "lenet5", "optimizer": "adam"}
    shared = {"epochs": epochs, "dataset": "mnist", "seed": seed, "learning_rate": 1e-3}
    return settings | shared | changes


def metrics(quality, epoch, seed):
    learned = quality * (1 - 0.5 ** (epoch + 1)) - 0.01 * seed
    parts = (("", 0.02), ("val_", 0.01), ("test_", 0.0))
    accuracies = {f"{part}accuracy": learned + more for part, more in parts}
    return accuracies | {f"{p}loss": 2.3 * (1 - learned) for p, _ in parts}


def write_log(path, rows, configuration, layers=()):
    """A workbook with rows of `(epoch, logs)`."""
    log = HistoryLog(path, configuration, write_interval=float("inf"))
    if layers:
        log.add_rows("layers", list(layers))
    for epoch, logs in rows:
        log.append(epoch, 2.0, logs)
    log.flush()
    return path


def write_run(
    root,
    kind,
    seed=0,
    epochs=4,
    until=None,
    name=None,
    quality=0.9,
    sizes=None,
    **changes,
):
    """A run that trains; `sizes` has the sizes of layers at each epoch."""
    configuration = configuration_of(kind, seed, epochs, **changes)
    what = "width" if kind == "evolved" else "rank"
    rows = []
    for epoch in range(1, (until or epochs) + 1):
        logs = metrics(quality, epoch, seed)
        found = sizes(epoch) if sizes else {}
        logs |= {f"{what}/{layer}": size for layer, size in found.items()}
        count = WHOLE if not found else 1_000 * sum(found.values())
        rows.append((epoch, logs | {"parameters": count, "parameters training": count}))
    path = root / (name or f"{kind}-seed{seed}") / "historyLogs" / "lenet5-mnist.xlsx"
    return write_log(path, rows, configuration)


def layers_of(ratio, seed=0):
    """The rows of the sheet of layers."""
    return [
        {
            "name": layer,
            "type": "Dense",
            "shape": "5x5",
            "structure": "pointwise",
            "groups": 1,
            "ranks": "3x4",
            "error": 0.1 * number + 0.01 * seed,
            "bound": 0.05 * number,
            "degeneracy": None,
            "parameters_before": size,
            "parameters": size // ratio,
            "flops_before": 2 * size,
            "flops": 2 * size // ratio,
        }
        for number, (layer, size) in enumerate(LAYERS.items(), start=1)
    ]


def measured(ratio, quality, seed=0, train=True):
    """What a run has measured of each network."""
    found = {}
    for stage, share, accuracy in (
        ("dense", 1, 0.95),
        ("compressed", ratio, 0.5 * quality),
        ("fine-tuned", ratio, quality),
    ):
        if stage == "fine-tuned" and not train:
            continue
        found[stage] = {
            "parameters": WHOLE // share,
            "flops": 4_586_000 // share,
            "test_accuracy": accuracy - 0.01 * seed,
            "attack": 0.1,
            "attacked_accuracy": 0.6 * accuracy,
            "latency_ms": 20.0 / share + 5 + seed,
            "latency_batch": 64,
        }
    return found


def write_compression(
    root,
    method="alds",
    ratio=4,
    seed=0,
    epochs=3,
    until=None,
    name=None,
    quality=0.8,
    train=True,
    tests=True,
    layers=True,
    **changes,
):
    """A compression: its row 0, its epochs, its layers and `tests.json`."""
    configuration = configuration_of("compressed", seed, epochs, **changes)
    configuration |= {"method": method, "budget": f"ratio {ratio:.1f}", "attack": 0.1}
    configuration |= {"train": train, "test": tests} | changes
    last = (epochs if until is None else until) if train else 0
    count = {"parameters": WHOLE // ratio, "parameters training": WHOLE // ratio}
    rows = [
        (epoch, metrics(quality * (0.5 + 0.5 * np.sign(epoch)), epoch, seed) | count)
        for epoch in range(last + 1)
    ]
    folder = root / (name or f"low-rank-{method}-{ratio}-seed{seed}")
    path = folder / "historyLogs" / "low-rank-lenet5-mnist.xlsx"
    write_log(path, rows, configuration, layers_of(ratio, seed) if layers else ())
    if tests and last == (epochs if train else 0):
        content = json.dumps(measured(ratio, quality, seed, train))
        (folder / "tests.json").write_text(content)
    return path


def falling(epoch):
    """Ranks of an adaptive run."""
    return {layer: 12 - epoch - n for n, layer in enumerate(LAYERS)}


def write_study(root, seeds=(0, 1)):
    """Every kind of run."""
    for seed in seeds:
        write_run(root, "dense", seed, quality=0.95)
        write_compression(root, "alds", 4, seed)
        write_compression(root, "alds", 8, seed, quality=0.7)
        write_compression(root, "svd", 4, seed, quality=0.75)
    fixed = {"conv_1": 6, "conv_2": 12, "dense_1": 7, "output": 6}
    write_run(root, "fixed", sizes=lambda epoch: fixed, ranks="6,12,7,6")
    write_run(root, "adaptive", sizes=falling, tolerance=0.3, ranks="20")
    write_run(root, "evolved", sizes=lambda epoch: {"conv_1": 20 - epoch, "dense": 9})
