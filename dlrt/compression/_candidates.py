"""The layers that may be compressed."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from dlrt import accounting
from dlrt.compression._allocation import Table, undominated
from dlrt.compression._report import LayerReport
from dlrt.compression._structures import Choice, Structure
from dlrt.surgery.replacements import Replacement

Layer: TypeAlias = keras.layers.Layer


class Candidate:
    """A layer that may be compressed, with all ways to do so.

    Args:
        layer: The layer.
        structure: What its kernel is decomposed into, if it has that form.
        shapes: Shapes of its inputs, one for each time that it is applied.
        type_name: What reports call its type; defaults to that.
    """

    def __init__(
        self,
        layer: Layer,
        structure: Structure,
        shapes: Sequence[tuple],
        type_name: str | None = None,
    ) -> None:
        self.layer = layer
        self.structure = structure.for_layer(layer)
        self.shapes = shapes
        self.type_name = type_name or type(layer).__name__
        self.parameters = math.prod(layer.weights[0].shape)
        self.flops = sum(accounting.layer_flops(layer, shape) for shape in shapes)

    def table(self, kind: str) -> tuple[Table, list[Choice | None]]:
        """What there is to choose from, by cost; `None` for the layer as it is."""
        whole = self.flops if kind == "flops" else self.parameters
        choices: list[Choice | None] = [
            *self.structure.choices(self.layer, self.shapes),
            None,
        ]
        costs = np.array([whole if c is None else getattr(c, kind) for c in choices])
        errors = np.array([0.0 if c is None else c.error for c in choices])
        kept = undominated(costs, errors)
        return Table(costs[kept], errors[kept], whole), [choices[i] for i in kept]

    def settled(
        self, choices: Sequence[Choice | None], index: int, bound: float = math.inf
    ) -> Choice | None:
        """A choice of the table with its exact error; a later one to keep a bound."""
        step = 1
        while True:
            choice = choices[index]
            if choice is None:
                return None
            exact = self.structure.exact(self.layer, self.shapes, choice)
            if exact.error <= bound or index + 1 == len(choices):
                return exact
            index = min(index + step, len(choices) - 1)
            step *= 2

    def of_ranks(self, ranks: Any, groups: int = 1) -> Choice:
        """The choice of these ranks."""
        wanted = tuple(ranks) if isinstance(ranks, (tuple, list)) else (int(ranks),)
        found = self.structure.of_ranks(self.layer, self.shapes, wanted, groups)
        if found is None:
            raise ValueError(
                f"`budget['ranks']` must be ranks that the layer {self.layer.name!r}, "
                f"with a kernel of shape {tuple(self.layer.weights[0].shape)}, can "
                f"have. Received: {ranks}"
            )
        return found

    def replacement(self, choice: Choice) -> Replacement:
        """The layers that take this one's place."""
        return self.structure.replacement(self.layer, choice)

    def report(self, choice: Choice | None) -> LayerReport:
        """What has become of the layer."""
        made = choice or Choice(1, (), self.parameters, self.flops, 0.0, 0.0)
        return LayerReport(
            name=self.layer.name,
            type=self.type_name,
            shape=tuple(self.layer.weights[0].shape),
            structure="dense" if choice is None else self.structure.name,
            groups=made.groups,
            ranks=made.ranks,
            error=made.error,
            bound=made.bound,
            degeneracy=made.degeneracy,
            parameters_before=self.parameters,
            parameters=made.parameters,
            flops_before=self.flops,
            flops=made.flops,
        )
