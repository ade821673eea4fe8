"""Which figures a collection of logs gives."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from evaluation import (
    adaptive,
    curves,
    distributions,
    image_figures,
    maps,
    published,
    style,
    transformer_figures,
)
from evaluation.choices import KINDS
from evaluation.collection import Collection
from evaluation.drawings import Drawing, Options, slug, split
from evaluation.logs import Log
from evaluation.series import Cell, Key, Series, cells_of, labels, pick, series_over
from evaluation.statistics import peak

# Lines that a reader can tell apart, panels of a map, and figures of the same kind.
_LINES = len(style.COLORS)
_PANELS = 6
_WIDTHS = 4
_NETWORKS = 12


def plan(collection: Collection, options: Options = Options()) -> list[Drawing]:  # noqa: B008
    """The figures that these logs give."""
    makers = {
        "curves": _curves,
        "epochs": _epochs,
        "maps": _maps,
        "clouds": _clouds,
        "ranks": _ranks,
        "published": _published,
        "transformers": transformer_figures.plan,
        "images": image_figures.plan,
    }
    drawings: dict[str, Drawing] = {}
    for kind in KINDS:
        for drawing in (
            makers[kind](collection, options) if kind in options.kinds else ()
        ):
            # Of different data or networks, the names of files may be alike.
            name, number = drawing.name, 1
            while name in drawings:
                number += 1
                name = f"{drawing.name}-{number}"
            drawings[name] = replace(drawing, name=name)
    return list(drawings.values())


def _curves(collection: Collection, options: Options) -> Iterator[Drawing]:
    everything = []
    for axis in ("width", "rank"):
        series = _series(axis, collection, options)
        everything += series
        for suffix, part in _parts(series, _LINES):
            references = _references(part, collection) if axis == "rank" else {}
            part = _labelled(part, [*(item.key for item in series), *references])
            named = zip(
                labels(references, [item.key for item in part]),
                references.values(),
                strict=True,
            )
            yield Drawing(
                f"curves-{axis}{suffix}",
                f"Loss and accuracy at the end of training against {axis}. Vertical "
                "lines mark the interpolation thresholds of each method.",
                partial(
                    curves.against_size, part, options.band, options.at, list(named)
                ),
            )
    everything = _labelled(everything, [item.key for item in everything])
    for suffix, part in _parts(everything, _LINES):
        yield Drawing(
            f"curves-parameters{suffix}",
            "Loss and accuracy at the end of training against the number of "
            "parameters.",
            partial(curves.against_parameters, part, options.band, options.at),
        )


def _epochs(collection: Collection, options: Options) -> Iterator[Drawing]:
    for data, ending, logs in _by_data(collection):
        for width, cells in _chosen(logs, options).items():
            for suffix, part in split(cells, _LINES):
                yield Drawing(
                    f"epochs-width-{width}{ending}{suffix}",
                    f"The course of training at width {width}, {data}.",
                    partial(
                        curves.against_epoch,
                        part,
                        f"Loss and accuracy against epoch, width {width}, {data}",
                        options.band,
                    ),
                )


def _maps(collection: Collection, options: Options) -> Iterator[Drawing]:
    for axis in ("width", "rank"):
        groups: dict[str, list[Series]] = {}
        for series in _series(axis, collection, options):
            groups.setdefault(series.setting.data, []).append(series)
        for data, group in groups.items():
            for column in ("test_loss", "test_accuracy"):
                # What no log has can't be shown.
                known = [series for series in group if _has(series, column)]
                for suffix, part in split(known, _PANELS):
                    name = f"map-{axis}-{column}-{slug(data)}{suffix}"
                    yield Drawing(
                        name.replace("_", "-"),
                        f"{column.replace('_', ' ').capitalize()} at every epoch and "
                        f"{axis}, {data}.",
                        partial(maps.epoch_map, part, column),
                    )


def _clouds(collection: Collection, options: Options) -> Iterator[Drawing]:
    for data, ending, logs in _by_data(collection):
        chosen = _chosen(logs, options)
        if any(len(cell.logs) > 1 for cells in chosen.values() for _, cell in cells):
            yield Drawing(
                f"rain-clouds{ending}",
                f"Distribution of the final results over runs, {data}.",
                partial(
                    distributions.rain_clouds,
                    [(f"width {width}", cells) for width, cells in chosen.items()],
                    f"Final results over runs, {data}",
                    options.at,
                ),
            )


def _ranks(collection: Collection, options: Options) -> Iterator[Drawing]:
    cells = {
        key: cell
        for key, cell in cells_of(collection).items()
        if (key.setting.tolerance and cell.logs) or _spectra(cell)
    }
    widths = pick({key.width for key in cells}, _WIDTHS, options.widths)
    cells = {key: cell for key, cell in cells.items() if key.width in widths}
    names = labels(cells)
    for name, (key, cell) in list(zip(names, cells.items(), strict=True))[:_NETWORKS]:
        title = f"{name}, width {key.width}" if "width" not in name else name
        where = f"{title}, {key.setting.data}"
        if key.setting.tolerance and adaptive.layers(cell.logs[0]):
            yield Drawing(
                f"ranks-{slug(title)}",
                f"Ranks, parameters and accuracy while ranks adapt: {where}.",
                partial(adaptive.rank_evolution, cell, f"Ranks: {where}", options.band),
            )
        for log in _spectra(cell)[:1]:
            yield Drawing(
                f"singular-values-{slug(title)}",
                f"Singular values of the low-rank layers: {where}.",
                partial(adaptive.singular_values, log, f"Singular values: {where}"),
            )


def _published(collection: Collection, options: Options) -> Iterator[Drawing]:
    cells = published.comparable(cells_of(collection))
    if cells:
        yield Drawing(
            "accuracy-parameters-published",
            "Test accuracy against parameters, beside the published results of the "
            "original implementation.",
            partial(published.accuracy_against_parameters, cells),
        )


def _by_data(collection: Collection) -> Iterator[tuple[str, str, Collection]]:
    """The logs of each data set, what it is called, and an ending if there are more."""
    found = sorted({log.setting.data for log in collection.logs})
    for data in found:
        parts = (
            tuple(log for log in logs if log.setting.data == data)
            for logs in (collection.logs, collection.excluded)
        )
        ending = f"-{slug(data)}" if len(found) > 1 else ""
        yield data, ending, Collection(*parts)


def _chosen(
    collection: Collection, options: Options
) -> dict[int, list[tuple[str, Cell]]]:
    """A few networks by width, with labels that say everything else."""
    cells = {key: cell for key, cell in cells_of(collection).items() if cell.logs}
    widths = pick({key.width for key in cells}, _WIDTHS, options.widths)
    if not options.widths:
        peaks = [peak(series) for series in series_over("width", collection)]
        widths = sorted({*widths, *(found.size for found in peaks if found)})
    ranks = {key.rank for key in cells if key.rank is not None}
    if options.ranks or len(ranks) >= _LINES:
        ranks = set(pick(ranks, _LINES - 1, options.ranks))
    keys = [key for key in cells if key.width in widths and key.rank in {None, *ranks}]
    names = labels(key._replace(width=None) for key in keys)
    chosen: dict[int, list[tuple[str, Cell]]] = {width: [] for width in widths}
    for name, key in zip(names, keys, strict=True):
        chosen[key.width].append((name, cells[key]))
    return {width: found for width, found in chosen.items() if found}


def _series(axis: str, collection: Collection, options: Options) -> list[Series]:
    """Curves over an axis; those over rank at a few widths."""
    series = [item for item in series_over(axis, collection) if len(item.sizes) > 1]
    if axis == "rank":
        found = {item.key.width for item in series if item.key.width is not None}
        widths = pick(found, _WIDTHS, options.widths)
        series = [item for item in series if item.key.width in widths]
    return series


def _labelled(series: Sequence[Series], beside: Sequence[Key]) -> list[Series]:
    """Series with labels that tell them from all that is shown beside them."""
    names = labels([item.key for item in series], beside)
    return [replace(item, label=name) for item, name in zip(series, names, strict=True)]


def _references(series: Sequence[Series], collection: Collection) -> dict[Key, Cell]:
    """The dense networks with the widths and the data of low-rank ones."""
    wanted = {(item.key.width, item.setting.data) for item in series}
    return {
        key: cell
        for key, cell in cells_of(collection).items()
        if cell.logs
        and not key.setting.low_rank
        and (key.width, key.setting.data) in wanted
    }


def _parts(series: Sequence[Series], most: int) -> Iterator[tuple[str, list[Series]]]:
    """All series together, or those of the same data where they are too many."""
    if len(series) <= most:
        if series:
            yield "", list(series)
        return
    groups: dict[str, list[Series]] = {}
    for item in series:
        groups.setdefault(item.setting.data, []).append(item)
    for data, group in groups.items():
        for suffix, part in split(group, most):
            yield f"-{slug(data)}{suffix}", part


def _has(series: Series, column: str) -> bool:
    return any(column in log.columns for c in series.cells.values() for log in c.logs)


def _spectra(cell: Cell) -> list[Log]:
    return [log for log in cell.logs if log.spectra]
