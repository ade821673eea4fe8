"""What a run prints when it is done."""

from dlrt.callbacks import read_history
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
    first = rows[0] if rows and rows[0]["epoch"] == 0 else None
    if first is not None:
        facts[first["phase"]] = task.result(first)
    best = selection.best_row(
        [
            row
            for row in rows
            if row["phase"] == last_phase and row["epoch"] >= first_epoch
        ],
        task.score,
    )
    row = best or first
    if best is not None:
        facts["best epoch"] = f"{best['epoch']} of {rows[-1]['epoch']}, by validation"
        facts["at that epoch"] = task.result(best)
    if row is not None:
        ranks = selection.ranks(row)
        if ranks:
            facts["ranks"] = ", ".join(map(str, ranks))
        facts["parameters"] = (
            f"{row['parameters prediction']:,} for prediction, "
            f"{row['parameters training']:,} for training"
        )
        if ranks or row["compression"]:
            facts["compression"] = f"{100 * row['compression']:.1f} %"
    facts["models"] = str(run.directory)
    facts["log"] = str(workbook)
    width = max(map(len, facts))
    return [f"{name.ljust(width)}  {value}" for name, value in facts.items()]
