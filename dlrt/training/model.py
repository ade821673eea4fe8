"""A Keras model for integrators with several gradients a step."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models.functional import Functional  # not exported by Keras

from dlrt.backend.compiled import OutdatedFunction
from dlrt.layers.factor import Factor, refuse_step
from dlrt.layers.set_weights import make_room
from dlrt.training import capacity
from dlrt.training._shared_calls import shared_calls
from dlrt.training.adapt_capacity import AdaptCapacity
from dlrt.training.resize import compact


def _functional_arguments(args: tuple, kwargs: dict) -> bool:
    return len(args) >= 2 or {"inputs", "outputs"} <= kwargs.keys() | (
        {"inputs"} if args else set()
    )


@keras.saving.register_keras_serializable(package="dlrt")
class Model(keras.Model):
    """`keras.Model` that trains with every integrator.

    Use it as `keras.Model`, with inputs and outputs or as a base class. `fit`
    evaluates as many gradients a step as the integrator of its
    `dlrt.optimizers.LowRank` asks for, all on the same batch; loss and metrics are
    those of the first, at the weights before the step. Layers with random or moving
    state (dropout, batch normalisation) are run once for each pass: `"kls"` makes two,
    `"projector_splitting"` three, and `"augmented_bug"` one, unless a low-rank layer
    is called within a loop or its kernel is used by itself, which takes a second.

    While the ranks of a model adapt, `fit` also fits its variables to the ranks
    between epochs, so that the cost of a step follows the rank and ranks can grow
    beyond their start.

    Example:

    >>> inputs = keras.Input((784,))
    >>> hidden = dlrt.layers.LowRankDense(500, rank=40, activation="relu")(inputs)
    >>> model = dlrt.Model(inputs, keras.layers.Dense(10)(hidden))
    >>> model.compile(
    ...     dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-3), integrator="kls"),
    ...     keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "Model":
        if cls is Model and _functional_arguments(args, kwargs):
            return keras.Model.__new__(FunctionalModel)
        return keras.Model.__new__(cls)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        optimizer = capacity.low_rank_optimizer(self)
        if optimizer is not None and not isinstance(
            callbacks, keras.callbacks.CallbackList
        ):
            callbacks = [AdaptCapacity(), *_listed(callbacks)]
        return super().fit(
            x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs
        )

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        optimizer = capacity.low_rank_optimizer(self)
        several = optimizer is not None and len(optimizer.integrator.phases) > 1
        built = all(layer.built for layer in self._flatten_layers())
        if several and not built and self._distribute_strategy is None:
            # TensorFlow would build a subclass within its first step, too late to set
            # the capacity of its variables.
            self._symbolic_build(iterator=iterator, data_batch=data_batch)
        else:
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def make_train_function(self, force: bool = False) -> Any:
        if type(self).train_step is Model.train_step:
            self._check_optimizer()
        settled = capacity.settle(self)
        reserved = capacity.reserve(self)
        capacity.mark(self)
        self._build_optimizer()
        outdated = isinstance(self.train_function, OutdatedFunction)
        return super().make_train_function(force or settled or reserved or outdated)

    def _check_optimizer(self) -> None:
        """Rejects an optimizer that can't step factors, before its first step.

        On JAX, an error within a step is raised after Keras has detached the weights.
        """
        other = getattr(self, "optimizer", None) is not None
        if other and capacity.low_rank_optimizer(self) is None:
            for variable in self.trainable_variables:
                if isinstance(variable, Factor):
                    refuse_step(variable)

    def _build_optimizer(self) -> None:
        """Makes the slots before the first step.

        If made within it, every slot adds a branch to the traced step, and the step is
        traced twice, which takes half of the tracing time of a network of many layers.
        """
        optimizer = getattr(self, "optimizer", None)
        built = all(layer.built for layer in self._flatten_layers())
        if optimizer is not None and not optimizer.built and built:
            with capacity.variable_scope(self), keras.name_scope(optimizer.name):
                optimizer.build(self.trainable_variables)

    def set_weights(self, weights: list[Any]) -> None:
        """Sets all weights; factors may have any rank."""
        super().set_weights(make_room(self, weights))

    def save(self, *args: Any, **kwargs: Any) -> None:
        with _exact_slots(self):
            super().save(*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> None:
        with _exact_slots(self):
            super().save_weights(*args, **kwargs)

    def load_weights(
        self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any
    ) -> None:
        """Loads weights; factors may have any rank. See `keras.Model.load_weights`."""
        optimizer = getattr(self, "optimizer", None)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # It loads only slots of the shapes that its own have. With the factors
            # loaded first, these are the shapes in the file.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                super().load_weights(filepath, skip_mismatch=True, **kwargs)
            compact(self)
        super().load_weights(filepath, skip_mismatch, **kwargs)

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        optimizer = capacity.low_rank_optimizer(self)
        if optimizer is None or len(optimizer.integrator.phases) == 1:
            with shared_calls(self):
                return super().train_step(*args, **kwargs)
        backend = keras.backend.backend()
        if backend not in ("tensorflow", "jax"):
            raise ValueError(
                f"The integrator {optimizer.integrator.name!r} needs the TensorFlow "
                f"or JAX backend. Received: backend={backend!r}"
            )
        module = importlib.import_module(f"dlrt.training._train_step_{backend}")
        # Where one pass gives all gradients, the step records every low-rank product.
        recorded = optimizer.integrator.one_pass
        with contextlib.nullcontext() if recorded else shared_calls(self):
            return module.train_step(self, optimizer, *args, **kwargs)


@keras.saving.register_keras_serializable(package="dlrt")
class FunctionalModel(Model, Functional):
    """What `dlrt.Model(inputs, outputs)` is an instance of."""


@contextlib.contextmanager
def _exact_slots(model: keras.Model) -> Iterator[None]:
    """Within this context the slots of a scaled optimizer have no room to spare.

    A file has its factors at their ranks, and `LowRank` saves its slots alike, but
    `LossScaleOptimizer` saves the slots of what it wraps as they are.
    """
    optimizer = getattr(model, "optimizer", None)
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if scaled:
        compact(model)
    try:
        yield
    finally:
        if scaled and model.train_function is not None:
            model.make_train_function()


def _listed(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
