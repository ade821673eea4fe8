"""What each layer of a model becomes, within a budget."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from dlrt import accounting
from dlrt.accounting.flops import count_flops
from dlrt.compression._allocation import (
    Context,
    OutOfBudget,
    Table,
    choose_within,
    find_allocation,
    find_undominated,
)
from dlrt.compression._budget import Budget
from dlrt.compression._report import LayerReport
from dlrt.compression._selected import check_finite, select_layers
from dlrt.compression.structures import Choice, make_structure
from dlrt.layers import ProjectedRNN
from dlrt.surgery.recurrent import project_recurrent, types_of_products
from dlrt.surgery.selection import LayerFilter, names_of_owners
from dlrt_names.compression import Method


class Candidate:
    """A layer that may be compressed, with all ways to do so.

    If its kernel has no form in the structure, it gets another, see `make_structure`.
    Reports call its type `type_name`, by default what it is.
    """

    def __init__(
        self,
        layer: Any,
        structure: str,
        calls: Sequence[accounting.Call],
        type_name: str | None = None,
    ) -> None:
        shapes = [call.shape for call in calls]
        self.layer = layer
        self.calls = calls
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


class Planner(NamedTuple):
    """Plans a compression; allocations may use the data and the loss of `compiled`."""

    method: Method
    budget: Budget
    data: Any
    compiled: keras.Model

    def plan(self, model: keras.Model, layers: LayerFilter) -> tuple[keras.Model, Plan]:
        """The plan for the layers of a model that may be compressed.

        It is for a copy of the model with layers in place of the kernels of recurrent
        ones, or for the model itself if it has none, which is returned too.
        """
        model, layers = project_recurrent(model, layers)
        calls: dict[int, list[accounting.Call]] = {}
        for call in accounting.find_calls(model):
            calls.setdefault(id(call.layer), []).append(call)
        types = types_of_products(model)
        candidates = [
            Candidate(
                layer, self.method.structure, calls[id(layer)], types.get(id(layer))
            )
            for layer in select_layers(model, layers)
        ]
        _check_sizes(model, candidates)
        choices = self._choose(model, candidates)
        return model, list(zip(candidates, choices, strict=True))

    def plan_again(
        self, layer: Any, before: Candidate, choice: Choice
    ) -> tuple[Candidate, Choice | None]:
        """The replacement of a layer after training, from the one planned before."""
        check_finite(layer.weights[:1], "`fine_tune` has left")
        candidate = Candidate(layer, self.method.structure, before.calls)
        if self.budget.kind != "error":
            return candidate, candidate.find_ranks(choice.ranks, choice.groups)
        table, bound = candidate.tabulate("parameters"), self.budget.amount
        (index,) = choose_within([table], bound)
        return candidate, candidate.settle(table, index, bound)

    def _choose(
        self, model: keras.Model, candidates: Sequence[Candidate]
    ) -> list[Choice | None]:
        kind, amount = self.budget
        if kind == "ranks":
            return _find_ranks(candidates, amount)
        cost = "flops" if kind == "flops" else "parameters"
        tables = [candidate.tabulate(cost) for candidate in candidates]
        if kind == "error":
            indices, bound = choose_within(tables, amount), amount
        else:
            indices, bound = self._allocate(model, tables), math.inf
        return [
            candidate.settle(table, index, bound)
            for candidate, table, index in zip(candidates, tables, indices, strict=True)
        ]

    def _allocate(self, model: keras.Model, tables: Sequence[Table]) -> list[int]:
        kind, amount = self.budget
        if kind == "flops":
            total = count_flops(model).total
        else:
            total = accounting.parameter_count(model)
        others = total - sum(table.whole for table in tables)
        context = Context(model, self.data, self.compiled)
        allocate = find_allocation(self.method.allocation)
        try:
            return allocate(tables, amount - others, context)
        except OutOfBudget as error:
            raise ValueError(
                f"`budget` is too small: with these layers and this structure, a model "
                f"has at least {others + error.smallest} {kind}. Received: "
                f"{amount} {kind}"
            ) from None


def _find_ranks(
    candidates: Sequence[Candidate], ranks: dict[str, Any]
) -> list[Choice | None]:
    names = [candidate.layer.name for candidate in candidates]
    unknown = sorted(set(ranks) - set(names))
    if unknown:
        raise ValueError(
            f"`budget['ranks']` must name layers that can be compressed: {names}. "
            f"Received also: {unknown}"
        )
    return [
        candidate.find_ranks(ranks[name]) if name in ranks else None
        for candidate, name in zip(candidates, names, strict=True)
    ]


def _check_sizes(model: keras.Model, candidates: Sequence[Candidate]) -> None:
    """Rejects layers with inputs of several shapes whose replacements take one."""
    # Layers inside recurrent ones take sequences of any length.
    recurrent = names_of_owners(model, ProjectedRNN)
    for candidate in candidates:
        if candidate.structure.any_size or id(candidate.layer) in recurrent:
            continue
        if len({call.own_shape for call in candidate.calls}) > 1:
            raise ValueError(
                f"Layer {candidate.layer.name!r} is applied to inputs of several "
                "shapes, and the layers that would take its place are for one. "
                "Leave it out with `layers`, or take the structure 'manifold'."
            )
