"""What a run prints when it is done."""

from dlrt.callbacks import read_history
from dlrt_names.log_schema import (
    COMPRESSION,
    EPOCH,
    PARAMETERS,
    PHASE,
    TRAINED_PARAMETERS,
)
from experiments.runs import selection
from experiments.runs.folders import Run
from experiments.runs.tasks import IMAGES, Task


def lines(
    run: Run,
    network: str,
    last_phase: str | None,
    first_epoch: int,
    task: Task = IMAGES,
) -> list[str]:
    """The result of a run, one fact a line.

    Args:
        run: The run.
        network: Name of its network.
        last_phase: The phase whose best epoch counts; `None` without training.
        first_epoch: The first epoch that counts.
        task: What it was trained for.
    """
    workbook = run.workbook(network)
    rows, configuration = read_history(workbook)
    train, val, test = (
        configuration[f"{part}_{task.examples}"] for part in ("train", "val", "test")
    )
    facts = {
        "data set": f"{configuration['dataset']} ({train} training, {val} validation, "
        f"{test} test {task.examples})"
    }
    first = rows[0] if rows and rows[0][EPOCH] == 0 else None
    if first is not None:
        facts[first[PHASE]] = task.result(first)
    best = selection.best_row(
        [row for row in rows if row[PHASE] == last_phase and row[EPOCH] >= first_epoch],
        task.score,
    )
    row = best or first
    if best is not None:
        facts["best epoch"] = f"{best[EPOCH]} of {rows[-1][EPOCH]}, by validation"
        facts["at that epoch"] = task.result(best)
    if row is not None:
        ranks = selection.ranks(row)
        if ranks:
            facts["ranks"] = ", ".join(map(str, ranks))
        facts["parameters"] = (
            f"{row[PARAMETERS]:,} for prediction, "
            f"{row[TRAINED_PARAMETERS]:,} for training"
        )
        if ranks or row[COMPRESSION]:
            facts["compression"] = f"{100 * row[COMPRESSION]:.1f} %"
    facts["models"] = str(run.directory)
    facts["log"] = str(workbook)
    width = max(map(len, facts))
    return [f"{name.ljust(width)}  {value}" for name, value in facts.items()]
