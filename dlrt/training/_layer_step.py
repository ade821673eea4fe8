"""One phase of a step of one low-rank layer, up to the step of the inner optimizer.

`begin` puts the values to be stepped in place of the factors, and the inner optimizer
steps them there; `start.increments` are the resulting increments.
"""

import functools
from typing import Any

import keras
from keras import ops

from dlrt import linalg
from dlrt.backend.shapes import cropped, dynamic_shapes, padded, with_shape
from dlrt.backend.values import value_of
from dlrt.factors import Factors
from dlrt.integrators import Integrator
from dlrt.layers import LowRankLayer
from dlrt.training import _scaling, optimizer_slots
from dlrt.training._update import Rule

Tensor = Any


class Start:
    """Where a layer is at the start of a phase.

    Args:
        rule: What the layer has in common with others.
        variables: The variables of its factors, by name.
        whole: Their values at the start of the phase.
        rank: The rank at the start of the step; `None` where `whole` tells it.
    """

    def __init__(
        self, rule: Rule, variables: dict, whole: Factors, rank: Tensor | int | None
    ) -> None:
        self._rule = rule
        self._variables = variables
        self.whole = whole
        self._rank = rank

    # Computed on demand: an adaptive step computes its own in a shared trace, and
    # tracing unused ones is slow for many layers.

    @functools.cached_property
    def rank(self) -> Tensor | int:
        """The rank at the start of the step."""
        return linalg.basis_rank(self.whole.u) if self._rank is None else self._rank

    @functools.cached_property
    def _width(self) -> Tensor | int:
        return self._rule.width(self.whole.u, self.rank)

    def crop(self, value: Tensor, name: str) -> Tensor:
        """Returns a value shaped like a factor without its unused columns."""
        return cropped(value, name, self._width)

    @functools.cached_property
    def used(self) -> Factors:
        """The factors without unused columns."""
        return Factors(*map(self.crop, self.whole, "usv"))

    @functools.cached_property
    def prepared(self) -> Factors:
        """The same in the gauge that the integrator wants."""
        return self._rule.integrator.prepare(self.used)

    @functools.cached_property
    def points(self) -> dict[str, Tensor]:
        """The values from which the inner optimizer steps, by name."""
        return self._rule.points(self.prepared)

    def increments(self) -> dict[str, Tensor]:
        """How far the inner optimizer has moved the values that it steps."""
        return {
            name: self.crop(value_of(self._variables[name]), name) - point
            for name, point in self.points.items()
        }


class LayerStep:
    """One phase of a step of one layer.

    Args:
        layer: The layer.
        rule: What it has in common with others.
        optimizer: The inner optimizer.
        initial_rank: Keeps the rank that the step began with, for integrators that
            augment the bases between their phases.
    """

    def __init__(
        self,
        layer: LowRankLayer,
        rule: Rule,
        optimizer: keras.optimizers.Optimizer,
        initial_rank: keras.Variable | None,
    ) -> None:
        self.layer = layer
        self.rule = rule
        self._optimizer = optimizer
        self._initial_rank = initial_rank
        self.variables = {"u": layer.u, "s": layer.s, "v": layer.v}

    def collect(self, grads: dict[int, Tensor]) -> bool:
        """Takes the gradients of this layer; returns false if it has none."""
        self._grads = {
            name: with_shape(grads[id(variable)], variable.shape)
            for name, variable in self.variables.items()
            if grads.get(id(variable)) is not None
        }
        integrator, phase = self.rule.integrator, self.rule.phase
        return self._grads.keys() >= set(integrator.phases[phase].steps)

    def begin(self) -> list[tuple[Tensor, keras.Variable]]:
        """Puts the values to be stepped in place of the factors.

        Returns:
            What the inner optimizer is to apply: gradients and variables.
        """
        rule = self.rule
        whole = Factors(*map(value_of, self.variables.values()))
        adaptive = rule.bounds is not None
        if adaptive and rule.phase == 0 and self._initial_rank is not None:
            rank = linalg.basis_rank(whole.u)
            self._initial_rank.assign(ops.cast(rank, "float32"))
        self.start = Start(rule, self.variables, whole, self.rank)
        if not rule.in_place:
            for name, point in self.start.points.items():
                variable = self.variables[name]
                variable.assign(padded(point, variable))
        if rule.is_augmented():
            self._fill_new_magnitudes()
        phase = rule.integrator.phases[rule.phase]
        grads = self._transformed(self._grads)
        return [
            (grads[name] if phase.direction == 1 else -grads[name], variable)
            for name, variable in self.variables.items()
            if name in phase.steps
        ]

    def _transformed(self, grads: dict[str, Tensor]) -> dict[str, Tensor]:
        """The gradients of the values that the integrator steps."""
        integrator = self.rule.integrator
        if type(integrator).gradients is Integrator.gradients:
            return grads
        used = {name: self.start.crop(value, name) for name, value in grads.items()}
        found = integrator.gradients(self.start.used, used)
        return {name: padded(value, grads[name]) for name, value in found.items()}

    def _fill_new_magnitudes(self) -> None:
        """Gives coefficients of new directions the mean second moment of the others.

        New entries have no history; from zeros, Adam would divide the gradient by its
        own size.
        """
        for _, slot in self.slots(("s",)):
            if optimizer_slots.holds_magnitudes(slot):
                value = ops.convert_to_tensor(slot)
                old = ops.cast(self.start.rank, value.dtype)
                mean = ops.sum(value) / ops.square(old)
                new = _scaling.new_coefficients(value.shape[0], self.columns_before())
                slot.assign(ops.where(new, mean, value))

    @property
    def rank(self) -> Tensor | int | None:
        """The rank at the start of the step; `None` where the factors tell it."""
        if self.rule.bounds is None:
            return self.rule.columns
        if self._initial_rank is None:
            return None
        return ops.cast(self._initial_rank, "int32")

    def columns_before(self) -> Tensor:
        """Number of columns of the bases before they were augmented."""
        return self.rank if dynamic_shapes() else self.rule.columns

    def slots(self, names: tuple[str, ...]) -> list[tuple[str, keras.Variable]]:
        """The slots of the factors, with the factors' names."""
        inner = self._optimizer
        indices = {n: inner._get_variable_index(self.variables[n]) for n in names}
        return [
            (name, slot)
            for name, index in indices.items()
            for slot in optimizer_slots.slots_of(inner, index)
        ]

    @functools.cached_property
    def carried_slots(self) -> list[tuple[str, keras.Variable]]:
        """The slots that change with the bases at the end of a step."""
        if not self.rule.is_last_phase():
            return []
        if self.rule.bounds is not None:
            return self.slots(("u", "s", "v"))
        # At fixed rank the gauge stays, and augmented directions are dropped.
        return self.slots(("s",)) if self.rule.integrator.augments else []
