"""The files beside a network that it needs to translate text."""

import json
from pathlib import Path

import keras

from experiments.runs import saved_files
from experiments.translation.tokenizers import Vocabularies, load_vocabularies

_NAME = "translation.json"


def save_translation(
    directory: Path, vocabularies: Vocabularies, max_length: int
) -> None:
    """Writes `source.spm`, `target.spm` and `translation.json` into a folder."""
    vocabularies.save(directory)
    content = {"max_length": max_length, "fingerprints": vocabularies.fingerprints}
    saved_files.write_json(Path(directory) / _NAME, content)


def load_translation(directory: Path) -> tuple[Vocabularies, int]:
    """Reads the tokenizers and `max_length` that `save_translation` has written.

    A ValueError names files that have the wrong content, or are not those of the
    training.
    """
    path = Path(directory) / _NAME
    try:
        content = json.loads(path.read_bytes())
        max_length, fingerprints = content["max_length"], content["fingerprints"]
        valid = isinstance(max_length, int) and isinstance(fingerprints, dict)
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid or max_length < 2:
        raise ValueError(
            f"{path}: must hold `max_length`, at least 2, and `fingerprints`"
        )
    vocabularies = load_vocabularies(directory)
    try:
        vocabularies.check(fingerprints)
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from error
    return vocabularies, max_length


def check_sizes(model: keras.Model, vocabularies: Vocabularies) -> None:
    """Raises a ValueError unless a network has embeddings and scores for all ids."""
    sizes = {
        "source": ("source_embedding", "input_dim", vocabularies.source.size),
        "target": ("target_embedding", "input_dim", vocabularies.target.size),
        "output": ("output", "units", vocabularies.target.size),
    }
    layers = {layer.name: layer for layer in model.layers}
    for side, (name, attribute, size) in sizes.items():
        known = getattr(layers.get(name), attribute, None)
        if known is None:
            raise ValueError(
                f"The network must be one that translates, with a layer {name!r}. "
                f"Received: {model.name}"
            )
        if known != size:
            raise ValueError(
                f"The tokenizers don't belong to the network: its {side} must have "
                f"{size} ids. Received: {known}"
            )
