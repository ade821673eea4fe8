"""The optimizer that trains low-rank layers."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from dlrt import integrators
from dlrt.backend.values import scope_of, value_of
from dlrt.integrators import Integrator
from dlrt.layers import LowRankLayer
from dlrt.layers.factor import layer_of, layers_of, present, stepping_factors
from dlrt.training import _scaling, _slot_files, optimizer_slots
from dlrt.training._arguments import (
    check_arguments,
    check_tolerances,
    check_whole,
    get_inner,
)
from dlrt.training._driver import finish
from dlrt.training._layer_step import LayerStep
from dlrt.training._shared_updates import shared_updates
from dlrt.training._update import Bounds, Choice, Rule
from dlrt.training.resize import compact_trained

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class LowRank(keras.optimizers.Optimizer):
    """Trains low-rank layers with any Keras optimizer and an integrator.

    The inner optimizer steps `K = U S`, `L = V Sᵀ` and `S` of every low-rank layer,
    each with its Galerkin gradient, and all other weights as usual. The integrator
    then turns the stepped values into the next `U`, `S` and `V`, in the gauge nearest
    to the old bases, so that moments keep their meaning. Where the rank changes,
    moments are carried over to the new coordinates.

    A step that is not finite makes coefficients NaN, as it does dense kernels, and
    leaves adaptive ranks unchanged. Within a `keras.optimizers.LossScaleOptimizer`,
    which Keras adds under `mixed_float16`, it is skipped: a step of several gradients
    has one scale and is taken as a whole or not at all.

    Args:
        inner_optimizer: A `keras.optimizers.Optimizer`. Schedules, clipping, weight
            decay and gradient accumulation are set there. Moving averages of the
            weights (`use_ema`) are rejected: averages of bases are not bases.
        integrator: Name of an integrator or a `dlrt.integrators.Integrator`. One that
            needs several gradients a step (`"kls"`, `"augmented_bug"`,
            `"projector_splitting"`) needs a `dlrt.Model`.
        tolerance: Float in `(0, 1)`: makes the rank adaptive. After a step the rank
            becomes the smallest one with a truncation error of at most `tolerance`
            times the norm of the kernel (both Frobenius). Layers can override it.
            Defaults to `None`, ranks stay as they are.
        min_rank: Smallest rank of an adaptive layer. Defaults to 2.
        max_rank: Largest rank of an adaptive layer; layers can override it. Defaults
            to `None`, no bound. A plain `keras.Model` can't enlarge variables during
            `fit`: there the starting rank is a bound as well. `dlrt.Model` can.
        truncation_start: Step number from which on ranks are truncated. Before it the
            ranks stay as they are, while the singular values become meaningful.
            Defaults to 0.
        truncation_interval: Number of steps from one truncation to the next; between
            them the rank stays, and candidates grow. Defaults to 10.
        truncation_stop: Step number from which on the rank stays. Defaults to `None`,
            never.
        candidates: Number of directions that a truncation keeps beyond those that the
            tolerance asks for, as far as `max_rank` allows. A new direction is as
            small as one step; a candidate has until the next truncation to show that
            training makes it larger than the tolerance. The last truncation before
            `truncation_stop` keeps none. Defaults to 2. With 0 and
            `truncation_interval=1` it is the rule of the paper, by which ranks hardly
            ever grow.
        update_scaling: `"dense"` scales the steps of `K` and `L` so that they move the
            kernel as far as the same optimizer moves a dense kernel, which lets the
            learning rate of a dense network carry over; `"none"` leaves them;
            `"auto"` (default) scales unless the inner optimizer's step is
            proportional to the gradient (SGD) or to the norm of the variable.
        name: Name of the optimizer.

    Raises:
        ValueError: If an argument is out of range, or options exclude each other.

    Example:

    >>> optimizer = dlrt.optimizers.LowRank(
    ...     keras.optimizers.Adam(1e-3), integrator="parallel_bug", tolerance=0.1)
    >>> round(float(optimizer.learning_rate), 6)
    0.001

    References:
        - Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
          arXiv:2205.13571.
        - Ceruti, Kusch & Lubich, SIAM J. Sci. Comput. 46 (2024).
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        integrator: str | Integrator = "parallel_bug",
        tolerance: float | None = None,
        min_rank: int = 2,
        max_rank: int | None = None,
        truncation_start: int = 0,
        truncation_interval: int = 10,
        truncation_stop: int | None = None,
        candidates: int = 2,
        update_scaling: str = "auto",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        for argument in kwargs:
            raise ValueError(
                f"LowRank does not take `{argument}`. Set it on `inner_optimizer`."
            )
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = get_inner(inner_optimizer)
        self.integrator = integrators.get(integrator)
        self.tolerance = tolerance
        self.min_rank = min_rank
        self.max_rank = max_rank
        self.truncation_start = truncation_start
        self.truncation_interval = truncation_interval
        self.truncation_stop = truncation_stop
        self.candidates = candidates
        self.update_scaling = update_scaling
        self._scaled = _scaling.resolve(update_scaling, self.inner_optimizer)
        self._value_dependent = _scaling.depends_on_values(self.inner_optimizer)
        # Whether the ranks stay from now on, known before a training step is compiled.
        self.settled = False
        self._phase: int | None = None
        check_arguments(self)

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        check_whole(variables)
        check_tolerances(self.integrator, variables)
        # Between the phases of an augmenting integrator the factors no longer tell the
        # rank that the step began with.
        self._ranks = []
        if self.integrator.augments:
            self._ranks = [
                self.add_variable(shape=(), name=f"{layer.name}_rank")
                for layer in layers_of(variables)
            ]
        self.inner_optimizer.build(variables)
        super().build(variables)
        for layer in layers_of(variables):
            layer.remember(self)
            layer.keeps_room = self.bounds_of(layer) is not None

    def follow(self) -> None:
        """Updates the optimizer to the current variables of its layers."""
        variables = [present(v) for v in self._trainable_variables]
        with scope_of(variables[0]):
            optimizer_slots.rebuild(self.inner_optimizer, variables)
        optimizer_slots.follow(self, variables)

    @property
    def variables(self) -> list[keras.Variable]:
        return self._variables + self.inner_optimizer.variables

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    def scale_loss(self, loss: Tensor) -> Tensor:
        return self.inner_optimizer.scale_loss(loss)

    @contextlib.contextmanager
    def phase(self, index: int) -> Iterator[None]:
        """Within this context `apply` runs one phase of the integrator.

        `dlrt.Model` enters it once for each gradient of a step.
        """
        self._phase = index
        try:
            yield
        finally:
            self._phase = None

    def apply(
        self, grads: list[Tensor], trainable_variables: list | None = None
    ) -> None:
        """Runs one step, or the phase of a step named by `phase`.

        Args:
            grads: Gradients; Galerkin gradients for the factors of low-rank layers.
            trainable_variables: The weights; needed on the first call only.
        """
        variables = list(
            self._trainable_variables
            if trainable_variables is None
            else trainable_variables
        )
        if not self.built:
            with keras.name_scope(self.name):
                self.build(variables)
        self._check_variables_are_known(variables)
        check_whole(variables)
        phases = self.integrator.phases
        if self._phase is None and len(phases) > 1:
            raise ValueError(
                f"The integrator {self.integrator.name!r} evaluates {len(phases)} "
                "gradients a step and needs a `dlrt.Model` in place of keras.Model. "
                "'parallel_bug' works with any Keras model."
            )
        index = self._phase or 0
        last = index == len(phases) - 1
        by_id = {id(v): g for v, g in zip(variables, grads, strict=True)}
        steps = [step for step in self.steps(variables, index) if step.collect(by_id)]
        pairs = [pair for step in steps for pair in step.begin()]
        if last:
            pairs += [
                (g, v)
                for v, g in zip(variables, grads, strict=True)
                if g is not None and layer_of(v) is None
            ]
        # As they are before the inner optimizer counts its step.
        choice, updating = self._choice_and_updating()
        if pairs:
            self._step_inner(pairs, last)
        finish(steps, choice, updating)

    def _step_inner(self, pairs: list[tuple[Tensor, Any]], last: bool) -> None:
        inner = self.inner_optimizer
        with stepping_factors(), shared_updates(inner):
            inner.apply([g for g, _ in pairs], [v for _, v in pairs])
        if not last:
            # One step of the user's optimizer, whatever the number of phases.
            inner.iterations.assign_sub(1)

    def steps(self, variables: list, index: int) -> list[LayerStep]:
        """One `LayerStep` for each low-rank layer among the variables."""
        known = [id(layer) for layer in layers_of(self._trainable_variables)]
        return [
            LayerStep(
                layer,
                self._rule(layer, index),
                self.inner_optimizer,
                self._ranks[known.index(id(layer))] if self._ranks else None,
            )
            for layer in layers_of(variables)
        ]

    def _rule(self, layer: LowRankLayer, phase: int) -> Rule:
        integrator = self.integrator
        bounds, columns = self.bounds_of(layer), integrator.rank_of_room(layer.capacity)
        if bounds is not None:
            bounds = bounds._replace(max_rank=min(bounds.max_rank, columns))
        return Rule(
            integrator,
            phase,
            columns,
            scaled=self._scaled and integrator.orthonormal,
            in_place=integrator.perpendicular and not self._value_dependent,
            bounds=bounds,
        )

    def _choice_and_updating(self) -> tuple[Choice, Tensor | None]:
        """Whether and how this step chooses adaptive ranks, and whether it updates.

        The latter is `None` where gradients are not accumulated.
        """
        inner = self.inner_optimizer
        choice = self._choice(value_of(inner.iterations))
        if not inner.gradient_accumulation_steps:
            return choice, None
        count = ops.convert_to_tensor(inner._iterations) + 1
        updating = count % inner.gradient_accumulation_steps == 0
        return choice._replace(now=ops.logical_and(choice.now, updating)), updating

    def _choice(self, iteration: Tensor) -> Choice:
        """Whether and how the step of this number chooses adaptive ranks."""
        now = iteration >= self.truncation_start
        if self.truncation_interval > 1:
            since = iteration - self.truncation_start
            now = ops.logical_and(now, since % self.truncation_interval == 0)
        if self.truncation_stop is not None:
            now = ops.logical_and(now, iteration < self.truncation_stop)
        candidates = ops.where(now, self.candidates, 0)
        if self.truncation_stop is not None:
            last = iteration + self.truncation_interval >= self.truncation_stop
            candidates = ops.where(last, 0, candidates)
        return Choice(now, candidates)

    def bounds_of(self, layer: LowRankLayer) -> Bounds | None:
        """Bounds of the rank of a layer, `None` if it stays."""
        tolerance = self.tolerance if layer.tolerance is None else layer.tolerance
        if tolerance is None or self.settled:
            return None
        largest = self.max_rank if layer.max_rank is None else layer.max_rank
        limit = min(layer.matrix_shape)
        largest = limit if largest is None else min(largest, limit)
        return Bounds(tolerance, self.min_rank, largest)

    def finalize_variable_values(self, var_list: list) -> None:
        compact_trained(self, var_list)

    def __dir__(self) -> list[str]:
        # Keras saves the objects that it finds here; the inner optimizer's variables
        # are saved by `save_own_variables`, at the current rank.
        return [name for name in super().__dir__() if name != "inner_optimizer"]

    def save_own_variables(self, store: Any) -> None:
        _slot_files.save(self, store)

    def load_own_variables(self, store: Any) -> None:
        _slot_files.load(self, store)

    def get_config(self) -> dict[str, Any]:
        return {
            "inner_optimizer": keras.saving.serialize_keras_object(
                self.inner_optimizer
            ),
            "integrator": integrators.serialize(self.integrator),
            "tolerance": self.tolerance,
            "min_rank": self.min_rank,
            "max_rank": self.max_rank,
            "truncation_start": self.truncation_start,
            "truncation_interval": self.truncation_interval,
            "truncation_stop": self.truncation_stop,
            "candidates": self.candidates,
            "update_scaling": self.update_scaling,
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "LowRank":
        # Before there were candidates, none were kept.
        config = {"candidates": 0, **config}
        config["inner_optimizer"] = keras.saving.deserialize_keras_object(
            config["inner_optimizer"], custom_objects=custom_objects
        )
        if "integrator" in config:
            config["integrator"] = integrators.get(config["integrator"], custom_objects)
        return cls(**config)
