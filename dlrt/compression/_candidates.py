"""The layers that may be compressed."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from dlrt import accounting
from dlrt.compression._allocation import Table, find_undominated
from dlrt.compression._report import LayerReport
from dlrt.compression.structures import Choice, make_structure

Layer: TypeAlias = keras.layers.Layer


class Candidate:
    """A layer that may be compressed, with all ways to do so.

    Args:
        layer: The layer.
        structure: What its kernel is decomposed into, if it has that form.
        shapes: Shapes of its inputs, one for each time it is applied.
        type_name: What reports call its type; defaults to that.
    """

    def __init__(
        self,
        layer: Layer,
        structure: str,
        shapes: Sequence[tuple],
        type_name: str | None = None,
    ) -> None:
        self.layer = layer
        self.shapes = shapes
        self.structure = make_structure(structure, layer, shapes)
        self.type_name = type_name or type(layer).__name__
        self.parameters = math.prod(layer.weights[0].shape)
        self.flops = sum(accounting.layer_flops(layer, shape) for shape in shapes)

    def tabulate(self, kind: str) -> Table:
        """The available choices, with their parameters or flops as costs."""
        whole = getattr(self, kind)
        choices = [*self.structure.list_choices(), None]
        costs = np.array([whole if c is None else getattr(c, kind) for c in choices])
        errors = np.array([0.0 if c is None else c.error for c in choices])
        kept = find_undominated(costs, errors)
        rows = [choices[i] for i in kept]
        return Table(costs[kept], errors[kept], whole, rows, self.structure)

    def settle(
        self, table: Table, index: int, bound: float = math.inf
    ) -> Choice | None:
        """A choice of the table with its exact error; a later one to keep a bound."""
        last, step = len(table.choices) - 1, 1
        while (choice := table.choices[index]) is not None:
            choice = self.structure.measure(choice)
            if choice.error <= bound or index == last:
                return choice
            index = min(index + step, last)
            step *= 2
        return None

    def find_ranks(self, ranks: Any, groups: int = 1) -> Choice:
        """The choice of these ranks."""
        wanted = tuple(ranks) if isinstance(ranks, (tuple, list)) else (int(ranks),)
        found = self.structure.find_choice(wanted, groups)
        if found is None:
            raise ValueError(
                f"`budget['ranks']` must be ranks that the layer {self.layer.name!r}, "
                f"with a kernel of shape {tuple(self.layer.weights[0].shape)}, can "
                f"have. Received: {ranks}"
            )
        return found

    def report(self, choice: Choice | None) -> LayerReport:
        """The report on the layer."""
        made = choice or Choice((), self.parameters, self.flops, 0.0, 0.0)
        return LayerReport(
            name=self.layer.name,
            type=self.type_name,
            shape=tuple(self.layer.weights[0].shape),
            structure="dense" if choice is None else self.structure.name,
            parameters_before=self.parameters,
            flops_before=self.flops,
            **made._asdict(),
        )


# The layers that may be replaced, each with its choice; `None` if it stays.
Plan = list[tuple[Candidate, Choice | None]]
