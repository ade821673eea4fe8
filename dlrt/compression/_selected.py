"""Which layers of a model are compressed, and why the others are not."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from dlrt.backend.structure import is_container
from dlrt.layers.projected_rnn import RECURRENT
from dlrt.layers.projected_rnn import obstacle as recurrent_obstacle
from dlrt.surgery.families.base import OneKernel, explain_override, family_of
from dlrt.surgery.replacements import Layer
from dlrt.surgery.selection import LayerFilter, layers_in, out_of_reach, select


def select_layers(model: keras.Model, layers: LayerFilter) -> list[Layer]:
    """The layers that may be compressed, in order, at least one; else a ValueError."""
    if layers is None:
        found = {id(layer): layer for layer in layers_in(model)}.values()
        far = out_of_reach(model)
        chosen = [layer for layer in found if _obstacle(layer, far) is None]
    else:
        chosen = [layer for layer, _ in select(model, layers)]
        for layer in chosen:
            if not isinstance(family_of(layer), OneKernel):
                raise ValueError(
                    f"Layer {layer.name!r} has several kernels and can't be "
                    "compressed. Leave it out with `layers`."
                )
    if not chosen:
        raise ValueError(
            "`layers` must select layers that can be compressed. Received: "
            f"layers={layers!r}, which selects none of the model {model.name!r}: "
            f"{explain_left_alone(model, ())}"
        )
    return chosen


def explain_left_alone(model: keras.Model, names: Sequence[str]) -> dict[str, str]:
    """The other layers with weights, by name, and why they are unchanged."""
    others = [x for x in layers_in(model) if x.weights and x.name not in names]
    far = out_of_reach(model)
    return {x.name: _obstacle(x, far) or "it was not selected" for x in others}


def check_finite(weights: Iterable[Any], where: str = "`model` has") -> None:
    """Raises a ValueError that begins with `where` if a weight has no decomposition."""
    for weight in weights:
        if not np.all(np.isfinite(np.asarray(weight, "float64"))):
            raise ValueError(
                f"{where} weights that contain NaN or infinity: {weight.path}"
            )


def _obstacle(layer: Layer, far: Mapping[int, str]) -> str | None:
    """Why a layer is not compressed by default, with the result of `out_of_reach`."""
    if id(layer) in far:
        return f"it {far[id(layer)]}"
    if is_container(layer):
        return "its own weights are not compressed"
    if type(layer) in RECURRENT:
        why_not = recurrent_obstacle(layer)
        return None if why_not is None else f"it {why_not}"
    family, strange = family_of(layer), explain_override(layer)
    if strange is not None:
        return f"it {strange}"
    if not isinstance(family, OneKernel):
        return f"{type(layer).__name__} layers are not compressed"
    obstacle = family.obstacle(layer)
    if obstacle is not None:
        return f"it {obstacle}"
    return None if family.by_default(layer) else "it was not named"
