"""A training step in phases, taken as a whole where losses are scaled.

`keras.optimizers.LossScaleOptimizer` decides at every `apply` whether gradients are
finite and whether the scale changes. In a step with several gradients it would apply
some and skip others, and divide gradients of one loss by different scales.
"""

from typing import Any

import keras
from keras import ops

from dlrt.backend.values import value_of
from dlrt.integrators import Integrator
from dlrt.layers.factor import layer_of
from dlrt.training.optimizer import LowRank

Tensor = Any


def phase_weights(integrator: Integrator, index: int, variables: list) -> set[int]:
    """Ids of the weights whose gradients a phase needs.

    Ordinary weights are stepped once, with the last gradient.
    """
    last = index == len(integrator.phases) - 1
    steps = integrator.phases[index].steps
    return {
        id(variable)
        for variable in variables
        if (last if layer_of(variable) is None else variable.name in steps)
    }


class PhasedStep:
    """One step of `LowRank`, with a gradient for each phase of its integrator."""

    def __init__(self, optimizer: LowRank, variables: list) -> None:
        """Begins a step.

        Args:
            optimizer: The optimizer.
            variables: The trainable variables.
        """
        self._optimizer = optimizer
        self._variables = variables

    def apply(self, index: int, gradients: list[Tensor | None]) -> None:
        """Runs a phase with those of the gradients that it needs."""
        needed = self._needed(index, gradients)
        with self._optimizer.phase(index):
            self._optimizer.apply(needed, self._variables)

    def finish(self) -> None:
        """Ends the step."""

    def _needed(self, index: int, gradients: list) -> list[Tensor | None]:
        """Gradients without those of weights that a phase does not step."""
        weights = phase_weights(self._optimizer.integrator, index, self._variables)
        return [
            gradient if id(variable) in weights else None
            for variable, gradient in zip(self._variables, gradients, strict=True)
        ]


class ScaledStep(PhasedStep):
    """A step within a `LossScaleOptimizer`: one scale, and all phases or none.

    If a gradient of any phase is not finite, all variables get back the values that
    they had before the step. The phases run on all the same, with zeros for the
    gradients of factors, so that later passes through the model see finite weights.
    """

    def __init__(
        self,
        outer: keras.optimizers.LossScaleOptimizer,
        optimizer: LowRank,
        variables: list,
    ) -> None:
        super().__init__(optimizer, variables)
        if not outer.built:
            with keras.name_scope(outer.name):
                outer.build(variables)
        self._outer = outer
        self._changing = [*variables, *optimizer.variables]
        self._before = [value_of(variable) for variable in self._changing]
        self._finite = ops.convert_to_tensor(True)

    def apply(self, index: int, gradients: list[Tensor | None]) -> None:
        outer = self._outer
        gradients = self._needed(index, gradients)
        finite = _on_all_devices(outer.check_finite(gradients))
        self._finite = ops.logical_and(self._finite, finite)
        pairs = zip(gradients, self._variables, strict=True)
        super().apply(index, [self._unscaled(*pair) for pair in pairs])

    def _unscaled(self, gradient: Tensor | None, variable: Any) -> Tensor | None:
        if gradient is None or self._outer._overwrite_variable_with_gradient(variable):
            return gradient
        gradient = ops.divide(gradient, self._outer.dynamic_scale)
        if layer_of(variable) is None:
            return gradient
        return ops.where(self._finite, gradient, ops.zeros_like(gradient))

    def finish(self) -> None:
        for variable, before in zip(self._changing, self._before, strict=True):
            variable.assign(ops.where(self._finite, value_of(variable), before))
        counter, scale = self._outer.step_counter, self._outer.dynamic_scale
        full = ops.equal(counter, self._outer.dynamic_growth_steps - 1)
        factor = ops.where(self._finite, ops.where(full, 2.0, 1.0), 0.5)
        counted = ops.logical_and(self._finite, ops.logical_not(full))
        counter.assign(ops.where(counted, counter + 1, 0))
        scale.assign(scale * factor)


def phased_step(outer: Any, optimizer: LowRank, variables: list) -> PhasedStep:
    """Begins a step of a model's optimizer, which is `LowRank` or wraps it."""
    if outer is optimizer:
        return PhasedStep(optimizer, variables)
    return ScaledStep(outer, optimizer, variables)


def _on_all_devices(finite: Tensor) -> Tensor:
    """Whether a condition holds on every device."""
    if keras.backend.backend() != "tensorflow":
        return finite
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return finite
    failures = ops.cast(ops.logical_not(finite), "int32")
    return ops.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, failures), 0)
