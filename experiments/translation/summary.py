"""What a run of a transformer prints when it is done."""

import statistics
from typing import Any

from dlrt_names.log_schema import COMPRESSION, PARAMETERS, TRAINED_PARAMETERS
from experiments.runs import selection
from experiments.translation import callbacks
from experiments.translation.training import Training


def lines(training: Training) -> list[str]:
    """The result of a run, one fact a line."""
    facts = {"corpus": _corpus(training), **_results(training)}
    facts["models"] = str(training.run.directory)
    facts["log"] = str(training.log.path)
    width = max(map(len, facts))
    return [f"{name.ljust(width)}  {value}" for name, value in facts.items()]


def _corpus(training: Training) -> str:
    text = training.text
    left_out = text.train.left_out + text.validation.left_out
    return (
        f"{text.corpus.name} ({len(text.train)} training, {len(text.validation)} "
        f"validation, {len(text.corpus.test)} test pairs; {left_out} left out as too "
        "long)"
    )


def _results(training: Training) -> dict[str, str]:
    row, scores = training.best, training.scores
    facts: dict[str, Any] = {
        "best epoch": f"{row['epoch']} of {training.log.rows[-1]['epoch']}, "
        "by validation loss",
        "at that epoch": f"validation loss {row['val_loss']:.4f}, "
        f"validation accuracy {100 * row['val_accuracy']:.2f} %",
        "test": f"BLEU {scores[callbacks.BLEU]:.2f}, "
        f"chrF {scores[callbacks.CHRF]:.2f}, {_search(scores['beams'])}",
    }
    ranks = selection.ranks(row)
    if ranks:
        facts["ranks"] = f"{min(ranks)} to {max(ranks)}"
    facts["parameters"] = (
        f"{row[PARAMETERS]:,} for prediction, {row[TRAINED_PARAMETERS]:,} for training"
    )
    facts["compression"] = f"{100 * row[COMPRESSION]:.1f} %"
    # The first epoch compiles.
    speed = statistics.median_high(row[callbacks.SPEED] for row in training.log.rows)
    facts["speed"] = f"{speed:,.0f} target tokens a second"
    return facts


def _search(beams: int) -> str:
    return "greedily" if beams == 1 else f"with {beams} beams"
