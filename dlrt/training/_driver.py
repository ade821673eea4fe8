"""The updates of all layers of a model, after the step of the inner optimizer.

Stepped values are read, updated and written. Similar layers share a trace; those at
fixed rank are computed in one batch.
"""

from typing import Any, NamedTuple

from keras import ops

from dlrt.backend import tracing
from dlrt.backend.shapes import padded
from dlrt.backend.values import value_of
from dlrt.factors import Factors
from dlrt.ragged import Ragged
from dlrt.training import optimizer_slots
from dlrt.training._layer_step import LayerStep, Start
from dlrt.training._update import Choice, Rule, update

Tensor = Any

# The number of layers of one shape from which on they are decomposed as a batch.
# Batching copies their factors, but traces, optimises and launches the operations once
# for each shape, not for each layer. With a few large layers it doesn't pay.
_STACKED = 8


def finish(steps: list[LayerStep], choice: Choice, updating: Tensor | None) -> None:
    """Turns the stepped values of layers into factors and assigns them.

    Args:
        steps: The steps of the layers, begun and stepped by the inner optimizer.
        choice: Whether adaptive ranks are chosen at this step, and how.
        updating: Whether this step ends an accumulation of gradients; `None` where
            there is none.
    """
    for step in steps:
        if step.rule.bounds is not None:
            _finish_adaptive(step, choice, updating)
    for batch in _batches([step for step in steps if step.rule.bounds is None]):
        slots = [[slot for _, slot in step.carried_slots] for step in batch]
        found = tracing.shared(_Shared(_with_slots(batch[0])), "update_alike")(
            [step.start.prepared for step in batch],
            [step.start.increments() for step in batch],
            [list(map(value_of, each)) for each in slots],
        )
        for step, own, (factors, values) in zip(batch, slots, found, strict=True):
            _write(list(step.variables.values()), factors, step.start.whole, updating)
            for slot, value in zip(own, values, strict=True):
                slot.assign(value)


def _finish_adaptive(step: LayerStep, choice: Choice, updating: Tensor | None) -> None:
    shared = _Shared(_with_slots(step))
    tracing.shared(shared, "update_adaptive", any_height=True)(
        list(step.variables.values()),
        [slot for _, slot in step.carried_slots],
        step.start.whole,
        step.rank,
        choice,
        updating,
    )


def _with_slots(step: LayerStep) -> Rule:
    kinds = (
        (name, optimizer_slots.holds_magnitudes(slot))
        for name, slot in step.carried_slots
    )
    return step.rule._replace(slots=tuple(kinds))


class _Shared(NamedTuple):
    """Updates with one trace for similar layers.

    Written out for each of the hundred layers of a transformer, they would be most of
    the graph that TensorFlow has to optimise.
    """

    rule: Rule

    def update_alike(
        self,
        factors: list[Factors],
        increments: list[dict[str, Tensor]],
        slots: list[list[Tensor]],
    ) -> list[tuple[Factors, list[Tensor]]]:
        """New factors and slots of layers at one fixed rank."""
        count = len(factors)
        u, s, v = zip(*factors, strict=True)
        found, carried = update(
            self.rule,
            Factors(_batch(u), _stack(s), _batch(v)),
            {
                name: (_stack if name == "s" else _batch)([s[name] for s in increments])
                for name in increments[0]
            },
            # Only the slots of coefficients.
            list(map(_stack, zip(*slots, strict=True))),
            self.rule.columns,
            Choice(),
        )
        each = zip(*(_split(part, count) for part in found), strict=True)
        values = [_split(value, count) for value in carried]
        return [
            (Factors(*parts), [value[index] for value in values])
            for index, parts in enumerate(each)
        ]

    def update_adaptive(
        self,
        variables: list,
        slots: list,
        old: Factors,
        rank: Tensor | None,
        choice: Choice,
        updating: Tensor | None,
    ) -> None:
        """Finds new factors and slots of a layer, and assigns them.

        Args:
            variables: `U`, `S` and `V`, which hold the stepped values.
            slots: The slots, in the order of `rule.slots`.
            old: The factors at the start of the phase, at the width of the variables.
            rank: The rank at the start of the step; `None` where `old` tells it.
            choice: Whether the rank is chosen at this step, and how.
            updating: Whether this step ends an accumulation of gradients; `None` where
                there is none.
        """
        start = Start(self.rule, dict(zip("usv", variables, strict=True)), old, rank)
        factors, values = update(
            self.rule,
            start.prepared,
            start.increments(),
            list(map(value_of, slots)),
            start.rank,
            choice,
        )
        _write(variables, factors, old, updating)
        for slot, value in zip(slots, values, strict=True):
            slot.assign(value)


def _write(
    variables: list, factors: Factors, old: Factors, updating: Tensor | None
) -> None:
    """Writes new factors; the old ones while gradients are accumulated."""
    for variable, new, before in zip(variables, factors, old, strict=True):
        value = padded(new, before)
        variable.assign(
            value if updating is None else ops.where(updating, value, before)
        )


def _batches(steps: list[LayerStep]) -> list[list[LayerStep]]:
    """Groups layers to be updated together: same rule, shapes that can be batched."""
    by_rule: dict[Any, dict[tuple[int, int], list[LayerStep]]] = {}
    for step in steps:
        layer = step.layer
        shapes = by_rule.setdefault((step.rule, layer.s.dtype), {})
        shapes.setdefault(layer.matrix_shape, []).append(step)
    batches = []
    for (rule, _), shapes in by_rule.items():
        few = []
        for alike in shapes.values():
            if len(alike) >= _STACKED:
                batches.append(alike)
            else:
                few += alike
        if rule.integrator.ragged:
            batches += [few] if few else []
        else:
            batches += [[step] for step in few]
    return batches


def _batch(matrices: Any) -> Any:
    """Tall matrices as a batch, a ragged one if they are few or differ in height."""
    if len(matrices) == 1:
        return matrices[0]
    if len(matrices) >= _STACKED and len({tuple(m.shape) for m in matrices}) == 1:
        return ops.stack(matrices)
    return Ragged(tuple(matrices))


def _stack(matrices: Any) -> Any:
    """Small matrices as a batch."""
    return matrices[0] if len(matrices) == 1 else ops.stack(matrices)


def _split(batch: Any, count: int) -> Any:
    """The matrices of a batch."""
    if isinstance(batch, Ragged):
        return batch.parts
    return [batch] if count == 1 else ops.unstack(batch, count)
