"""Logs that no network was trained for, with numbers that are known beforehand."""

import math

import numpy as np

from dlrt.history.workbook import render
from experiments.runs import names

IMAGES = 4_000


def parameters(width, rank=None):
    inputs = [784, width, width, width]
    if rank is None:
        return sum((n + 1) * width for n in inputs) + 10 * (width + 1)
    return sum(min(rank, width) * (n + width) + width for n in inputs) + 10 * width + 10


def rows_of(width, rank=None, seed=0, epochs=6, peak=20):
    """A history whose final test loss peaks over width at `peak`."""
    height = 1.0 + 2.0 * math.exp(-(math.log(width / peak) ** 2) / 0.3)
    height += 0.8 / width + 0.01 * seed
    accuracy = min(1.0, 0.4 + 0.6 * (width / peak) ** 0.5)
    rows = []
    for epoch in range(1, epochs + 1):
        part = 1 - math.exp(-6 * epoch / epochs)
        row = {
            "epoch": epoch,
            "seconds": 0.5,
            "loss": 2.3 * (1 - part * accuracy) + 1e-3,
            "accuracy": accuracy * (part if epoch < epochs else 1.0),
            "val_loss": 1.02 * height * (0.6 + 0.4 * epoch / epochs),
            "val_accuracy": 0.9 - 0.1 * height * epoch / epochs - 0.01 * seed,
            "test_loss": height * (0.6 + 0.4 * epoch / epochs),
            "test_accuracy": 0.9 - 0.1 * height - 0.01 * seed,
        }
        if rank is not None:
            row |= {f"rank hidden_{n}": min(rank, width) for n in (1, 2, 3, 4)}
        counts = parameters(width, rank)
        row |= {"parameters prediction": counts, "parameters training": counts}
        rows.append(row | {"compression": 0.5, "learning rate": 1e-3})
    return rows


def configuration_of(name, width, rank=None, **changes):
    configuration = {
        "epochs": name.epochs,
        "start_rank": rank,
        "tolerance": name.tolerance,
        "integrator": "parallel_bug" if name.dlrt else None,
        "dim_layer": width,
        "batch_size": name.batch_size,
        "learning_rate": name.learning_rate,
        "optimizer": name.optimizer,
        "schedule": "constant",
        "dataset": "mnist",
        "dataset_size": name.dataset_size,
        "noise": name.noise,
        "regularizer": name.regularizer,
        "regularizer_amount": name.regularizer_amount,
        "seed": name.run,
        "train_images": IMAGES,
        "val_images": 500,
        "test_images": 500,
    }
    return configuration | changes


def write(path, rows, configuration):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render(rows, configuration))
    return path


def write_cell(root, test, width, rank=None, file=None, rows=None, **changes):
    """One workbook of a test; `rank` is that of a low-rank network."""
    name = names.parse(test)
    if rank is None and name.ranks is not None:
        rank = name.ranks[0]
    if rows is None:
        rows = rows_of(width, rank, name.run or 0, name.epochs)
    path = root / test / "historyLogs" / f"{file or f'dim{width}'}.xlsx"
    return write(path, rows, configuration_of(name, width, rank, **changes))


def write_sweep(root, method="", widths=(5, 10, 20, 40, 80), runs=(0, 1, 2), epochs=6):
    """The workbooks of a test over several widths, for several seeds."""
    for run in runs:
        test = f"{method}TestDim{min(widths)}-{max(widths) + 1}ep{epochs}batch256"
        test += f"lr0-001Noise20Dataset10Run{run}"
        for width in widths:
            write_cell(root, test, width)


def adaptive_rows(epochs=8, layers=3, start=10, end=4):
    """A history of falling ranks, with the singular values of every layer."""
    rows = []
    for row in rows_of(30, start, 0, epochs):
        for layer in range(1, layers + 1):
            rank = max(end, start - row["epoch"] + layer)
            row[f"rank hidden_{layer}"] = rank
            values = 3.0 * np.exp(-0.4 * np.arange(rank)) * (1 + 0.1 * row["epoch"])
            row[f"singular values/hidden_{layer}"] = values.tolist()
        row["parameters prediction"] -= 800 * row["epoch"]
        rows.append(row)
    return rows
