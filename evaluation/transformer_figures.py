"""Which figures the logs of transformers give."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from dlrt_names.log_schema import PARAMETERS
from evaluation import rank_maps, transformer_curves
from evaluation.collection import Collection
from evaluation.drawings import Drawing, Options, run_names, slug, split
from evaluation.transformer_curves import Networks
from evaluation.transformer_runs import networks
from evaluation.transformers import projections

# Networks that a reader can tell apart.
_LINES = 7


def plan(collection: Collection, options: Options) -> Iterator[Drawing]:
    """The figures of each corpus, then the map of each run."""
    found = networks(collection.transformers, collection.excluded_transformers)
    found = {key: cell for key, cell in found.items() if cell.logs}
    corpora = sorted({key.setting.data for key in found})
    for data in corpora:
        ending = f"-{slug(data)}" if len(corpora) > 1 else ""
        keys = [key for key in found if key.setting.data == data]
        for suffix, part in split(keys, _LINES):
            cells = {key: found[key] for key in part}
            yield from _of_networks(cells, data, f"{ending}{suffix}", options)
    runs = [log for log in collection.transformers if rank_maps.differ(log.ranks)]
    for name, log in zip(run_names(runs), runs, strict=True):
        yield Drawing(
            f"transformer-ranks-{slug(name)}",
            f"Rank of every projection at every epoch: {name}.",
            partial(rank_maps.rank_map, log, projections(log), f"Ranks: {name}"),
        )


def _of_networks(
    cells: Networks, data: str, ending: str, options: Options
) -> Iterator[Drawing]:
    what = "Loss, accuracy and BLEU"
    yield Drawing(
        f"transformer-epochs{ending}",
        f"{what} of transformers against epoch, {data}.",
        partial(
            transformer_curves.against_epoch,
            cells,
            f"{what} against epoch, {data}",
            options.band,
        ),
    )
    if _any_has(cells, "seconds"):
        yield Drawing(
            f"transformer-time{ending}",
            f"{what} of transformers against the time of training, {data}.",
            partial(
                transformer_curves.against_time,
                cells,
                f"{what} against time, {data}",
                options.band,
            ),
        )
    if _any_has(cells, PARAMETERS):
        yield Drawing(
            f"transformer-parameters{ending}",
            f"Accuracy and BLEU of transformers against the number of parameters, "
            f"{data}.",
            partial(
                transformer_curves.against_parameters,
                cells,
                f"Accuracy and BLEU against parameters, {data}",
                options.at,
            ),
        )


def _any_has(cells: Networks, column: str) -> bool:
    return any(
        not np.isnan(log.column(column)).all()
        for cell in cells.values()
        for log in cell.logs
    )
