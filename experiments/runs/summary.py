"""What a run prints when it is done."""

from collections.abc import Mapping

from dlrt.callbacks import read_history
from dlrt_names import log_schema
from dlrt_names.log_schema import EPOCH, PHASE
from experiments.runs import results
from experiments.runs.results import Results, Row
from experiments.runs.run import Run


def lines(run: Run, kind: Results) -> list[str]:
    """The result of a run of a network that classifies, one fact a line."""
    rows, configuration = read_history(run.log.path)
    train, val, test = (
        configuration[f"{part}_{kind.examples}"] for part in ("train", "val", "test")
    )
    facts = {
        "data set": f"{configuration['dataset']} ({train} training, {val} validation, "
        f"{test} test {kind.examples})"
    }
    first = rows[0] if rows and rows[0][EPOCH] == 0 else None
    if first is not None:
        facts[first[PHASE]] = kind.tell(first)
    last_phase = [
        row
        for row in rows
        if row[PHASE] == run.task.phases[-1].name
        and row[EPOCH] >= run.first_selected_epoch
    ]
    best = results.best_row(last_phase, kind.score) if run.task.trains else None
    if best is not None:
        facts["best epoch"] = f"{best[EPOCH]} of {rows[-1][EPOCH]}, by validation"
        facts["at that epoch"] = kind.tell(best)
    row = best or first
    if row is not None:
        ranks = results.ranks(row)
        facts |= {"ranks": ", ".join(map(str, ranks))} if ranks else {}
        facts |= sizes(row, bool(ranks or row[log_schema.COMPRESSION]))
    return table(facts | places(run))


def sizes(row: Row, compressed: bool = True) -> dict[str, str]:
    """The parameters in a row, and how many of the dense network's are saved."""
    facts = {
        "parameters": f"{row[log_schema.PARAMETERS]:,} for prediction, "
        f"{row[log_schema.TRAINED_PARAMETERS]:,} for training"
    }
    if compressed:
        facts["compression"] = f"{100 * row[log_schema.COMPRESSION]:.1f} %"
    return facts


def places(run: Run) -> dict[str, str]:
    """Where a run has left its models and its log."""
    return {"models": str(run.folder.directory), "log": str(run.log.path)}


def table(facts: Mapping[str, str]) -> list[str]:
    """Facts as lines, with their values one below the other."""
    width = max(map(len, facts))
    return [f"{name.ljust(width)}  {value}" for name, value in facts.items()]
