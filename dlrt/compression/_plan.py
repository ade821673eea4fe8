"""What each layer of a model becomes, within a budget."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from dlrt import accounting
from dlrt.accounting.calls import Call, find_calls
from dlrt.accounting.flops import count_flops
from dlrt.compression._allocation import (
    Context,
    OutOfBudget,
    Table,
    choose_within,
    find_allocation,
)
from dlrt.compression._budget import Budget
from dlrt.compression._candidates import Candidate, Plan
from dlrt.compression._selected import check_finite, select_layers
from dlrt.compression.structures import Choice
from dlrt.layers import ProjectedRNN
from dlrt.surgery.recurrent import project_recurrent, types_of_products
from dlrt.surgery.selection import LayerFilter, names_of_owners
from dlrt_names.compression import Method


class Planner(NamedTuple):
    """Plans a compression.

    Attributes:
        method: How.
        budget: What may be left.
        data: Inputs and targets, for allocations that look at them.
        compiled: The model whose loss is used if none is given.
    """

    method: Method
    budget: Budget
    data: Any
    compiled: keras.Model

    def plan(self, model: keras.Model, layers: LayerFilter) -> tuple[keras.Model, Plan]:
        """The plan for the layers of a model that may be compressed.

        Args:
            model: The model.
            layers: Which of its layers.

        Returns:
            A copy of the model with layers in place of the kernels of recurrent ones,
            or the model itself if it has none; and the plan for it.
        """
        model, layers = project_recurrent(model, layers)
        applied: dict[int, list[Call]] = {}
        for call in find_calls(model):
            applied.setdefault(id(call.layer), []).append(call)
        types = types_of_products(model)
        candidates = [
            Candidate(
                layer,
                self.method.structure,
                [call.shape for call in applied[id(layer)]],
                types.get(id(layer)),
            )
            for layer in select_layers(model, layers)
        ]
        self._check_sizes(model, candidates, applied)
        return model, list(
            zip(candidates, self._choose(model, candidates), strict=True)
        )

    def plan_again(
        self, layer: Any, before: Candidate, choice: Choice
    ) -> tuple[Candidate, Choice | None]:
        """The replacement of a layer after training, from the one planned before."""
        check_finite(layer.weights[:1], "`fine_tune` has left")
        candidate = Candidate(layer, self.method.structure, before.shapes)
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
            return self._find_ranks(candidates)
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

    def _find_ranks(self, candidates: Sequence[Candidate]) -> list[Choice | None]:
        ranks = self.budget.amount
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

    def _check_sizes(
        self,
        model: keras.Model,
        candidates: Sequence[Candidate],
        applied: dict[int, list[Call]],
    ) -> None:
        """Rejects layers with inputs of several shapes whose replacements take one."""
        # Layers inside recurrent ones take sequences of any length.
        recurrent = names_of_owners(model, ProjectedRNN)
        for candidate in candidates:
            key = id(candidate.layer)
            if candidate.structure.any_size or key in recurrent:
                continue
            if len({call.own_shape for call in applied[key]}) > 1:
                raise ValueError(
                    f"Layer {candidate.layer.name!r} is applied to inputs of several "
                    "shapes, and the layers that would take its place are for one. "
                    "Leave it out with `layers`, or take the structure 'manifold'."
                )
