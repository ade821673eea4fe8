"""A run's models on disk: each file is complete or absent."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

import dlrt
from dlrt import accounting
from dlrt.history import atomic_file
from dlrt_names.log_schema import RANK, TRAINED_PARAMETERS
from experiments.runs import saved_files
from experiments.runs.log_format import equal

_STATE = "experiment.json"


@dataclass(frozen=True)
class State:
    """The state of a run besides its weights.

    Args:
        epoch: Number of finished epochs.
        phase: Index of the phase of training.
        phase_start: Number of epochs that had been finished when it began.
        capacities: Capacity of every low-rank layer, which bounds its rank until the
            next epoch.
        loss: The loss of the last finished epoch in the log, if any. It tells this run
            from others at the same epoch.
    """

    epoch: int
    phase: int
    phase_start: int
    capacities: dict[str, int]
    loss: float | None = None


def capacities(model: keras.Model) -> dict[str, int]:
    """The capacity of every low-rank layer, by name."""
    named = accounting.named_layers(model)
    return {name: layer.capacity for name, layer in named.items()}


def save(model: keras.Model, path: Path, state: State | None = None) -> None:
    """Writes a model, with its optimizer, in the place of an earlier one."""
    with atomic_file.replacing(path) as temporary:
        model.save(temporary)
        if state is not None:
            # In the same file, so that weights and state belong to one epoch.
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_STATE, json.dumps(asdict(state)))


def load(path: Path) -> tuple[keras.Model, State]:
    """Reads a compiled model and the state that was saved with it.

    Raises:
        ValueError: If it is not a checkpoint of a run.
    """
    what = "`--resume` needs the run's last checkpoint, which"
    with saved_files.reading(path, what):
        with zipfile.ZipFile(path) as archive:
            if _STATE not in archive.namelist():
                raise saved_files.Unusable(
                    "it does not say at which epoch it was saved"
                )
            state = State(**json.loads(archive.read(_STATE)))
        model = keras.saving.load_model(path)
        dlrt.resize(model, state.capacities)
    return model, state


def load_to_continue(
    path: Path, rows: Sequence[Mapping[str, Any]], most_behind: float = 1
) -> tuple[keras.Model, State] | None:
    """Loads the checkpoint of a run to continue; `None` if it must start.

    Continuing from anything else would overwrite the log with other rows.

    Args:
        path: The last checkpoint.
        rows: The rows of the log.
        most_behind: How many epochs of the log may be without a checkpoint: a run that
            is killed has logged one more than it has saved.

    Raises:
        ValueError: If the checkpoint is gone, can't be read or is not that of the log.
    """

    def refusal(what: str) -> ValueError:
        return ValueError(
            f"`--resume` needs the {what}. No log is overwritten: put the checkpoint "
            "back, or start another run without `--resume`, under another "
            f"`--run-name`. Received: {path}"
        )

    end = rows[-1]["epoch"] if rows else 0
    if not path.exists():
        if not rows:
            return None
        what = f"run's last checkpoint, which is gone; the log goes to epoch {end}"
        raise refusal(what)
    model, state = load(path)
    if not state.epoch <= end <= state.epoch + most_behind:
        found = f"finds that of epoch {state.epoch}"
        raise refusal(f"checkpoint of the last epoch in the log, {end}, but {found}")
    for row in rows:
        if row["epoch"] == state.epoch and not _is_of(model, state, row):
            what = "checkpoint of the run in the log, but finds that of another one"
            raise refusal(what)
    return model, state


def _is_of(model: keras.Model, state: State, row: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has the ranks, parameters and loss of a row of a log."""
    ranks = accounting.ranks(model)
    found: dict[str, Any] = {f"{RANK}{key}": rank for key, rank in ranks.items()}
    found[TRAINED_PARAMETERS] = accounting.parameter_count(model, True)
    if state.loss is not None:
        found["loss"] = state.loss
    return all(
        equal(found.get(key), value)
        for key, value in row.items()
        if value is not None and (key in found or key.startswith(RANK))
    )


def copy_state(
    source: keras.optimizers.Optimizer, target: keras.optimizers.Optimizer
) -> None:
    """Gives an optimizer the moments and the step number of another of its kind."""
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(old)


def remove_leftovers(directory: Path, stem: str = "*") -> None:
    """Removes temporary files of one checkpoint, or of all, after a run was killed."""
    for leftover in directory.glob(f".{stem}.{'[0-9a-f]' * 16}.tmp.keras"):
        leftover.unlink(missing_ok=True)
