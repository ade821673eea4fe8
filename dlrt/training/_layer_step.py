"""One step of one low-rank layer, around the step of the inner optimizer."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from dlrt import linalg
from dlrt.backend import tracing
from dlrt.backend.shapes import cropped, dynamic_shapes, padded, with_shape
from dlrt.backend.values import value_of
from dlrt.factors import Factors
from dlrt.integrators import Integrator, Update
from dlrt.layers import LowRankLayer
from dlrt.training import _scaling, optimizer_slots
from dlrt.training._adaptation import Adaptation, assign

if TYPE_CHECKING:
    from dlrt.training.optimizer import LowRank

Tensor = Any

# Layers of one shape from which on their decompositions run as one. That copies their
# factors, but leaves fewer operations to be traced, optimised and launched: those of a
# shape in place of those of every layer. A few large layers would only be copied.
_STACKED = 8


def layer_of(variable: Any) -> LowRankLayer | None:
    """The low-rank layer that a variable is a factor of."""
    reference = getattr(variable, "low_rank_layer", None)
    return None if reference is None else reference()


def present(variable: Any) -> Any:
    """A variable, or the one that its layer has now in its place."""
    layer = layer_of(variable)
    return variable if layer is None else getattr(layer, variable.name)


def phase_variables(optimizer: "LowRank", index: int, variables: list) -> set[int]:
    """Ids of the weights whose gradients a phase of the integrator needs."""
    phases = optimizer.integrator.phases
    wanted = set()
    for variable in variables:
        layer = layer_of(variable)
        if layer is None:
            # Ordinary weights are stepped once, with the last gradient.
            needed = index == len(phases) - 1
        else:
            needed = any(
                variable is getattr(layer, name) for name in phases[index].steps
            )
        if needed:
            wanted.add(id(variable))
    return wanted


def phase_gradients(
    optimizer: "LowRank", index: int, variables: list, gradients: list
) -> list[Tensor | None]:
    """Gradients without those of weights that a phase does not step."""
    wanted = phase_variables(optimizer, index, variables)
    return [
        gradient if id(variable) in wanted else None
        for variable, gradient in zip(variables, gradients, strict=True)
    ]


def layers_of(variables: list) -> list[LowRankLayer]:
    """The low-rank layers that variables belong to, in order, each once."""
    layers = {}
    for variable in variables:
        layer = layer_of(variable)
        if layer is not None:
            layers[id(layer)] = layer
    return list(layers.values())


def grouped(steps: list["LayerStep"]) -> list[list["LayerStep"]]:
    """Steps at one fixed rank together: their small decompositions run as one."""
    groups: dict[Any, list[LayerStep]] = {}
    for step in steps:
        rank = step.fixed_rank()
        groups.setdefault(id(step) if rank is None else rank, []).append(step)
    return list(groups.values())


def finish_together(
    steps: list["LayerStep"], truncating: Tensor, updating: Tensor | None
) -> None:
    """Turns the stepped values of a group of layers into factors.

    Args:
        steps: The layers, as `grouped` puts them together.
        truncating: Whether adaptive ranks are chosen anew at this step.
        updating: Whether this step ends an accumulation of gradients; `None` where
            there is none.
    """
    first = steps[0]
    bound = first.bound()
    if bound is not None:
        first.finish_adaptive(*bound, truncating, updating)
        return
    traced = tracing.shared(first.integrator, "update_all")
    separate, stacks = _stacks(steps)
    updates: dict[int, Update] = {}
    if separate:
        factors = [step.prepared for step in separate]
        increments = [step.increments() for step in separate]
        found = traced(first.phase, factors, increments)
        updates.update(zip(map(id, separate), found, strict=True))
    for stack in stacks:
        found = _update_stacked(traced, stack)
        updates.update(zip(map(id, stack), found, strict=True))
    for step in steps:
        step.finish(updates[id(step)].factors, updating)


def _stacks(
    steps: list["LayerStep"],
) -> tuple[list["LayerStep"], list[list["LayerStep"]]]:
    """Layers of a group to compute by themselves, and stacks of equal shape."""
    by_shape: dict[tuple[int, int], list[LayerStep]] = {}
    for step in steps:
        by_shape.setdefault(step.layer.matrix_shape, []).append(step)
    stacks = [alike for alike in by_shape.values() if len(alike) >= _STACKED]
    separate = [
        step for alike in by_shape.values() if len(alike) < _STACKED for step in alike
    ]
    return separate, stacks


def _update_stacked(traced: Callable, steps: list["LayerStep"]) -> list[Update]:
    """The updates of matrices of one shape, as one with a batch dimension."""
    first, count = steps[0], len(steps)
    prepared = Factors(
        *(ops.stack([step.prepared[i] for step in steps]) for i in range(3))
    )
    increments = first.scaled(
        {name: ops.stack([step.moved(name) for step in steps]) for name in first.points}
    )
    (update,) = traced(first.phase, [prepared], [increments])

    def split(part: Tensor | None) -> list[Tensor | None]:
        return [None] * count if part is None else ops.unstack(part, count)

    factors = map(Factors, *map(split, update.factors))
    return list(map(Update, factors, split(update.left), split(update.right)))


class LayerStep:
    """One phase of a step of one layer: before and after the inner optimizer."""

    def __init__(
        self,
        optimizer: "LowRank",
        layer: LowRankLayer,
        phase: int,
        initial_rank: keras.Variable | None,
    ) -> None:
        self._optimizer = optimizer
        self.integrator = optimizer.integrator
        self.layer = layer
        self.phase = phase
        self._initial_rank = initial_rank
        self._bound = optimizer.truncation_of(layer)
        self._variables = {"u": layer.u, "s": layer.s, "v": layer.v}

    def collect(self, grads: dict[int, Tensor]) -> bool:
        """Takes the gradients of this layer; false if it has none."""
        self._grads = {
            name: with_shape(grads[id(variable)], variable.shape)
            for name, variable in self._variables.items()
            if grads.get(id(variable)) is not None
        }
        return self._grads.keys() >= set(self.integrator.phases[self.phase].steps)

    def begin(self) -> list[tuple[Tensor, keras.Variable]]:
        """Puts the values to be stepped in place of the factors."""
        integrator = self.integrator
        phase = integrator.phases[self.phase]
        self._whole = Factors(*map(value_of, self._variables.values()))
        if self.phase == 0 and self._initial_rank is not None:
            rank = linalg.basis_rank(self._old.u)
            self._initial_rank.assign(ops.cast(rank, "float32"))
        if not self._steps_factors():
            for name, point in self.points.items():
                self._write(name, point)
        grads = self._grads
        if type(integrator).gradients is not Integrator.gradients:
            used = {name: self._crop(g, name) for name, g in grads.items()}
            found = integrator.gradients(self._old, used)
            grads = {name: padded(g, grads[name]) for name, g in found.items()}
        if self._is_augmented():
            self._fill_new_magnitudes()
        return [
            (grads[name] if phase.direction == 1 else -grads[name], variable)
            for name, variable in self._variables.items()
            if name in phase.steps
        ]

    def _steps_factors(self) -> bool:
        """Whether steps may start from the factors in the place of `K`, `S` and `L`.

        That saves the products `K = U S` and `L = V Sᵀ`, and four writes.
        """
        return self.integrator.perpendicular and not self._optimizer._value_dependent

    # Found where they are needed: an adaptive step finds its own in a shared trace, and
    # what nobody needs takes long to trace for many layers.

    @functools.cached_property
    def _old(self) -> Factors:
        """The factors at the start of the phase, without unused columns."""
        parts = zip(self._whole, "usv", strict=True)
        return Factors(*(self._crop(value, name) for value, name in parts))

    @functools.cached_property
    def prepared(self) -> Factors:
        """The same in the gauge that the integrator wants."""
        return self.integrator.prepare(self._old)

    @functools.cached_property
    def points(self) -> dict[str, Tensor]:
        """The values from which the inner optimizer steps, by name."""
        if self._steps_factors():
            steps = self.integrator.phases[self.phase].steps
            return {name: getattr(self.prepared, name) for name in steps}
        return self.integrator.points(self.phase, self.prepared)

    def increments(self) -> dict[str, Tensor]:
        """How far the inner optimizer has moved the stepped values, scaled."""
        return self.scaled({name: self.moved(name) for name in self.points})

    def moved(self, name: str) -> Tensor:
        """How far the inner optimizer has moved one of the stepped values."""
        return self._read(name) - self.points[name]

    def scaled(self, increments: dict[str, Tensor]) -> dict[str, Tensor]:
        """Increments, of this layer or of a stack of layers like it, scaled."""
        if not (self._optimizer._scaled and self.integrator.orthonormal):
            return increments
        before = self.columns_before() if self._is_augmented() else None
        return _scaling.scaled(
            increments, self.layer.matrix_shape, self._rank(), before
        )

    def _is_augmented(self) -> bool:
        return self.phase > 0 and self.integrator.growth > 1

    def _fill_new_magnitudes(self) -> None:
        """Gives coefficients of new directions the mean second moment of the others.

        They have no past. An optimizer that found zeros there would divide a gradient
        by itself, and step by its sign.
        """
        inner, core = self._optimizer.inner_optimizer, self.layer.s
        for slot in optimizer_slots.slots_of(inner, inner._get_variable_index(core)):
            if optimizer_slots.holds_magnitudes(slot):
                value = ops.convert_to_tensor(slot)
                old = ops.cast(self._rank(), value.dtype)
                mean = ops.sum(value) / ops.square(old)
                new = _scaling.new_coefficients(value.shape[0], self.columns_before())
                slot.assign(ops.where(new, mean, value))

    def columns_before(self) -> Tensor | int:
        """Width of the bases before their augmentation; what is new is to the right."""
        if dynamic_shapes():
            return self._rank()
        return self.layer.capacity // self.integrator.growth

    def bound(self) -> tuple[float, int] | None:
        """Tolerance and largest rank; `None` if the rank stays or in an early phase."""
        return self._bound if self._is_last_phase() else None

    def fixed_rank(self) -> tuple[str, int] | None:
        """What layers updated together must share, `None` for those that can't."""
        if self._bound is not None:
            return None
        return self.layer.s.dtype, self.layer.capacity

    def finish(self, factors: Factors, updating: Tensor | None) -> None:
        """Writes new factors of a rank that stays."""
        assign(list(self._variables.values()), factors, self._whole, updating)
        if self.integrator.growth > 1 and self._is_last_phase():
            self._forget_new_coefficients()

    def finish_adaptive(
        self,
        tolerance: float,
        max_rank: int,
        truncating: Tensor,
        updating: Tensor | None,
    ) -> None:
        """Finds and writes new factors of any rank, and moves the slots along."""
        optimizer = self._optimizer
        inner = optimizer.inner_optimizer
        slots = [
            (name, slot)
            for name, variable in self._variables.items()
            for slot in optimizer_slots.slots_of(
                inner, inner._get_variable_index(variable)
            )
        ]
        columns = self.layer.capacity // self.integrator.growth
        adaptation = Adaptation(
            self.integrator,
            self.phase,
            columns,
            tolerance,
            optimizer.min_rank,
            min(max_rank, columns),
            optimizer._scaled and self.integrator.orthonormal,
            self._steps_factors(),
            tuple(
                (name, optimizer_slots.holds_magnitudes(slot)) for name, slot in slots
            ),
        )
        tracing.shared(adaptation, "run", any_height=True)(
            list(self._variables.values()),
            [slot for _, slot in slots],
            self._whole,
            None if self._initial_rank is None else self._rank(),
            truncating,
            updating,
        )

    def _is_last_phase(self) -> bool:
        return self.phase == len(self.integrator.phases) - 1

    def _forget_new_coefficients(self) -> None:
        """Clears the slots of coefficients in directions that a step has dropped."""
        inner, core = self._optimizer.inner_optimizer, self.layer.s
        new = _scaling.new_coefficients(self.layer.capacity, self.columns_before())
        for slot in optimizer_slots.slots_of(inner, inner._get_variable_index(core)):
            value = ops.convert_to_tensor(slot)
            slot.assign(ops.where(new, ops.zeros_like(value), value))

    @functools.cached_property
    def _width(self) -> Tensor | int:
        """Number of columns to compute with: the rank, where shapes can be dynamic."""
        layer = self.layer
        if self._bound is not None and dynamic_shapes():
            return linalg.basis_rank(self._whole.u)
        growth = self.integrator.growth if self.phase == 0 else 1
        return layer.capacity // growth

    def _rank(self) -> Tensor | int:
        """The rank at the start of the step."""
        if self._bound is None:
            return self.layer.capacity // self.integrator.growth
        if self._initial_rank is None:
            return self._width if dynamic_shapes() else linalg.basis_rank(self._old.u)
        return ops.cast(self._initial_rank, "int32")

    def _read(self, name: str) -> Tensor:
        return self._crop(value_of(self._variables[name]), name)

    def _write(self, name: str, value: Tensor) -> None:
        variable = self._variables[name]
        variable.assign(padded(value, variable))

    def _crop(self, value: Tensor, name: str) -> Tensor:
        return cropped(value, name, self._width)
