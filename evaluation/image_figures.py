"""Which figures the logs of networks for images give."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from dlrt_names.log_schema import RANK
from evaluation import adaptive, curves, image_curves, rank_maps
from evaluation.collection import Collection
from evaluation.drawings import Drawing, Options, run_names, slug, split
from evaluation.image_runs import Networks, families, names, networks
from evaluation.logs import Log
from evaluation.series import Cell
from evaluation.transformers import Projection

# Networks and layers that a reader can tell apart by lines, and figures of a kind.
_LINES = 7
_FIGURES = 12


def plan(collection: Collection, options: Options) -> Iterator[Drawing]:
    """The figures of each architecture and data set."""
    found = networks(collection.images, collection.excluded_images)
    found = {key: cell for key, cell in found.items() if cell.logs}
    for (architecture, data), cells in families(found).items():
        where = f"{architecture}, {data}"
        yield from _of_family(cells, where, options)
        for name, (_, cell) in list(_named(cells))[:_FIGURES]:
            yield from _of_network(cell, f"{name}, {where}", options)
    runs = [log for log in collection.images if _needs_map(log)][:_FIGURES]
    for name, log in zip(run_names(runs), runs, strict=True):
        layers = [column for column in log.columns if column.startswith(RANK)]
        rows = {c: Projection("", c.removeprefix(RANK), ()) for c in layers}
        yield Drawing(
            f"image-ranks-{slug(name)}",
            f"Rank of every layer at every epoch: {name}.",
            partial(rank_maps.rank_map, log, rows, f"Ranks: {name}"),
        )


def _of_family(cells: Networks, where: str, options: Options) -> Iterator[Drawing]:
    named = [(name, cell) for name, (_, cell) in _named(cells)]
    trained = [(name, cell) for name, cell in named if _epochs(cell) > 1]
    for suffix, part in split(trained, _LINES):
        yield Drawing(
            f"image-epochs-{slug(where)}{suffix}",
            f"The course of training: {where}.",
            partial(
                curves.against_epoch,
                part,
                f"Loss and accuracy against epoch: {where}",
                options.band,
            ),
        )
    if image_curves.is_drawn(cells):
        yield Drawing(
            f"image-parameters-{slug(where)}",
            "What networks are worth against the number of parameters, for all "
            f"methods: {where}.",
            partial(
                image_curves.against_parameters,
                cells,
                f"Networks against their parameters: {where}",
            ),
        )


def _of_network(cell: Cell, title: str, options: Options) -> Iterator[Drawing]:
    log = cell.logs[0]
    if _has_sizes(log) and not _needs_map(log):
        yield Drawing(
            f"image-sizes-{slug(title)}",
            f"Ranks or widths, parameters and accuracy over epochs: {title}.",
            partial(adaptive.rank_evolution, cell, title, options.band),
        )
    spectra = [log for log in cell.logs if log.spectra]
    if 0 < len(spectra[:1]) and len(spectra[0].spectra) <= _LINES:
        yield Drawing(
            f"image-singular-values-{slug(title)}",
            f"Singular values of the low-rank layers: {title}.",
            partial(adaptive.singular_values, spectra[0], f"Singular values: {title}"),
        )
    if any(log.layers for log in cell.logs):
        yield Drawing(
            f"image-layers-{slug(title)}",
            f"Parameters and errors of the layers: {title}.",
            partial(image_curves.layer_bars, cell, f"Layers: {title}"),
        )


def _named(cells: Networks):
    return zip(names(list(cells)), cells.items(), strict=True)


def _epochs(cell: Cell) -> int:
    return len(np.unique(np.concatenate([log.epochs for log in cell.logs])))


def _has_sizes(log: Log) -> bool:
    return log.sizes.shape[1] > 0 and rank_maps.differ(log.sizes)


def _needs_map(log: Log) -> bool:
    """Whether there are too many ranks for lines."""
    return _has_sizes(log) and log.ranks.shape[1] > _LINES
