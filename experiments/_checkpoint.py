"""A run's models on disk: each file complete, or not there."""

import json
import textwrap
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import keras

import dlrt
from dlrt import accounting
from dlrt.callbacks import _atomic_file

_STATE = "experiment.json"


@dataclass(frozen=True)
class State:
    """Where a run stands, beside its weights.

    Args:
        epoch: Number of finished epochs.
        phase: Index of the phase of training.
        phase_start: Number of epochs that had been finished when it began.
        capacities: Room of every low-rank layer, which bounds its rank until the
            next epoch.
    """

    epoch: int
    phase: int
    phase_start: int
    capacities: dict[str, int]


def capacities(model: keras.Model) -> dict[str, int]:
    """The room of every low-rank layer, by name."""
    named = accounting.named_layers(model)
    return {name: layer.capacity for name, layer in named.items()}


def save(model: keras.Model, path: Path, state: State | None = None) -> None:
    """Writes a model, with its optimizer, in the place of an earlier one."""
    with _atomic_file.replacing(path) as temporary:
        model.save(temporary)
        if state is not None:
            # Within the file, so that weights and state can't be of two epochs.
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_STATE, json.dumps(asdict(state)))


def load(path: Path) -> tuple[keras.Model, State]:
    """Reads a compiled model and the state that was saved with it.

    Raises:
        ValueError: If it is not a checkpoint of a run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            state = State(**json.loads(archive.read(_STATE)))
        model = keras.saving.load_model(path)
    except Exception as error:
        # A damaged file makes zip, HDF5 and JSON raise whatever they like.
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise ValueError(
            "`--resume` needs the run's last checkpoint, which can't be read "
            f"({reason}). Received: {path}"
        ) from error
    dlrt.resize(model, state.capacities)
    return model, state


def copy_state(
    source: keras.optimizers.Optimizer, target: keras.optimizers.Optimizer
) -> None:
    """Gives an optimizer the moments and the step number of another of its kind."""
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(old)


def remove_leftovers(directory: Path, stem: str = "*") -> None:
    """Removes temporary files that a killed run has left behind.

    Args:
        directory: Folder of the checkpoints.
        stem: Name of the checkpoint, without its ending; by default any.
    """
    for leftover in directory.glob(f".{stem}.{'[0-9a-f]' * 16}.tmp.keras"):
        leftover.unlink(missing_ok=True)
