"""Tables of the results of networks for images."""

from collections.abc import Iterator

import numpy as np

from evaluation.cells import Table, known, last_epochs, span
from evaluation.collection import Collection
from evaluation.image_runs import (
    COMPRESSED,
    DENSE,
    QUANTITIES,
    Point,
    families,
    names,
    networks,
    points,
    stages,
)
from evaluation.logs import Log
from evaluation.series import Cell
from evaluation.statistics import summarise

_WITH_RANGE = ("test accuracy", "accuracy under attack")
_COLUMNS = {
    name: f"{name} %" if "accuracy" in name else name for name in QUANTITIES
} | {"latency": "latency of a batch, ms"}
_EPOCH = "the epoch with the best validation accuracy at the final sizes"
_OF_LAYER = (
    *("type", "shape", "structure", "groups", "ranks", "error", "bound"),
    *("parameters_before", "parameters", "flops_before", "flops"),
)


def all_of(collection: Collection) -> list[Table]:
    """Means over runs, every run, and the layers of compressed networks."""
    return [means(collection), runs(collection), layers(collection)]


def means(collection: Collection) -> Table:
    """Means and ranges over the runs of each network at each stage."""
    header = ["network", "architecture", "data", "stage", "attack", "runs"]
    header += ["not counted", "epochs"]
    for name, column in _COLUMNS.items():
        header += [column, *_ends(name)]
    found = networks(collection.images, collection.excluded_images)
    rows = []
    for (architecture, data), cells in families(found).items():
        family = points({key: cell for key, cell in cells.items() if cell.logs})
        empty = [key for key, cell in cells.items() if not cell.logs]
        family += [Point(key, "", {}) for key in empty]
        called = names([point.key for point in family])
        for name, point in zip(called, family, strict=True):
            cell = cells.get(point.key, Cell(()))
            excluded, epochs = len(cell.excluded), _epochs(point, cell)
            facts = (name, architecture, data, point.stage or None, point.key.attack)
            count = max((len(values) for values in point.samples.values()), default=0)
            numbers = [n for q in QUANTITIES for n in _numbers(point, q)]
            rows.append((*facts, count, excluded, epochs, *numbers))
    caption = (
        "Networks for images: means, smallest and largest values over runs, of "
        f"{_EPOCH}; accuracy under attack, flops and latency of a batch where they "
        "were measured"
    )
    return Table("images", caption, tuple(header), rows)


def _epochs(point: Point, cell: Cell) -> str | None:
    """How long the network was trained until this stage, as far as it is known."""
    if point.stage == DENSE:
        return span({point.key.setting.epochs} - {0})
    return None if point.stage == COMPRESSED else last_epochs(cell)


def runs(collection: Collection) -> Table:
    """Every run at each stage, also those that are in no mean."""
    header = ("run", "network", "seed", "epochs", "state", "best epoch", "sizes")
    header += ("seconds", "stage", *_COLUMNS.values())
    rows = []
    for name, log in _named_logs(collection):
        best = log.selected()
        sizes = ", ".join(f"{size:g}" for size in log.sizes[best])
        seconds = known(round(float(np.sum(log.column("seconds"))), 1))
        facts = (log.test, name, log.seed, int(log.epochs[-1]), log.state)
        facts += (int(log.epochs[best]), sizes or None, seconds)
        for stage, values in stages(log).items():
            numbers = [_percent(q, values.get(q, np.nan)) for q in QUANTITIES]
            rows.append((*facts, stage, *map(known, numbers)))
    caption = f"Every run of a network for images at each stage, of {_EPOCH}"
    return Table("image-runs", caption, header, rows)


def layers(collection: Collection) -> Table:
    """What became of each layer of every compressed network."""
    header = ("run", "network", "layer", *(n.replace("_", " ") for n in _OF_LAYER))
    rows = [
        (log.test, name, layer["name"], *(layer.get(column) for column in _OF_LAYER))
        for name, log in _named_logs(collection)
        for layer in log.layers
    ]
    caption = "What compressions did to each layer; errors are those of its kernel"
    return Table("image-layers", caption, header, rows)


def _named_logs(collection: Collection) -> Iterator[tuple[str, Log]]:
    found = networks(collection.images, collection.excluded_images)
    for cells in families(found).values():
        for name, cell in zip(names(list(cells)), cells.values(), strict=True):
            yield from ((name, log) for log in _all(cell))


def _all(cell: Cell) -> tuple[Log, ...]:
    return (*cell.logs, *cell.excluded)


def _ends(name: str) -> list[str]:
    """The columns of the smallest and the largest value, where they are shown."""
    return [f"{name} %, min", f"{name} %, max"] if name in _WITH_RANGE else []


def _numbers(point: Point, name: str) -> list[float | None]:
    band = summarise(_percent(name, point.samples.get(name, np.array([]))))
    parts = (band.mean, band.low, band.high)[: 3 if name in _WITH_RANGE else 1]
    return [known(float(number)) for number in parts]


def _percent(name: str, value):
    return 100 * value if "accuracy" in name else value
