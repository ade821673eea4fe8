"""What layers with a kernel of low rank have in common."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import initializers, ops, regularizers
from keras.src.backend.common import global_state  # the calling layer; not exported

from dlrt.backend.compiled import outdate, retire
from dlrt.backend.shapes import dynamic_shapes
from dlrt.backend.values import count_nonzero_columns, scope_of, value_of
from dlrt.factors import Factors
from dlrt.layers._arguments import check_ranks
from dlrt.layers._factor_arrays import padded_arrays, without_padding
from dlrt.layers._galerkin import (
    low_rank_convolution,
    low_rank_lookup,
    low_rank_matmul,
    low_rank_matrix,
    schatten_penalty,
)
from dlrt.layers._initializers import Unfold, factor_initializers
from dlrt.layers.factor import Factor
from dlrt.layers.recording import record_other_use, record_product
from dlrt.layers.set_weights import accept_any_rank, make_room

Tensor = Any


class LowRankLayer(keras.layers.Layer):
    """Base of layers that hold one matrix `W = U S Vᵀ` of low rank.

    `W: (n, m)` is kept as `U: (n, r)`, `S: (r, r)` and `V: (m, r)` with orthonormal `U`
    and `V`, and never formed. Compile the model with `dlrt.optimizers.LowRank`, which
    keeps the bases orthonormal; a step of any other optimizer on these weights is an
    error, since their gradients are Galerkin gradients.

    `trainable = False`, set before `compile`, freezes a layer: neither its factors nor
    its rank change, and any optimizer may train the rest of the model. `trainable` of
    `u`, `s` and `v` does the same for the kernel alone; it must agree for all three.
    When a layer is trained again, its slots start from scratch, with the new optimizer
    that Keras requires.

    A subclass calls `add_factors` in `build`, and computes its products by `multiply`,
    `convolve`, or `look_up` for rows of `W`. `coordinates` defines what these products
    do to a basis.

    Args:
        rank: Positive integer, the rank, at most `min(n, m)`; the starting rank if it
            is adaptive.
        tolerance: Float in `(0, 1)`, the relative truncation tolerance of this layer;
            overrides that of the optimizer. Defaults to the optimizer's.
        max_rank: Upper bound of the rank when it is adaptive, at least `rank` and at
            most `min(n, m)`; overrides that of the optimizer.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        rank: int,
        tolerance: float | None = None,
        max_rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_ranks(rank, tolerance, max_rank)
        super().__init__(**kwargs)
        self.tolerance = tolerance
        self.max_rank = max_rank
        self._initial_rank = rank
        # True while columns may be padding, free of cost with dynamic shapes.
        self.computes_at_rank = False
        # True while spare capacity is kept for larger ranks, also when factors are
        # loaded.
        self.keeps_room = False
        self._holders: weakref.WeakSet = weakref.WeakSet()
        self.bias: keras.Variable | None = None
        # XLA supports neither determinants nor dynamic shapes, and a training step on
        # TensorFlow needs both. JAX handles both differently.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def add_factors(
        self,
        shape: tuple[int, int],
        initializer: Any,
        regularizer: Any = None,
        kernel_shape: tuple[int, ...] | None = None,
        unfold: Unfold | None = None,
        fans: tuple[int, int] | None = None,
    ) -> None:
        """Makes the variables `u`, `s` and `v`.

        Args:
            shape: Shape `(n, m)` of the matrix.
            initializer: Initializer of the dense kernel that the matrix represents.
            regularizer: Regularizer of that kernel.
            kernel_shape: Shape of the dense kernel. Defaults to `shape`.
            unfold: Turns a dense kernel into the matrix. Defaults to the identity.
            fans: Fan-in and fan-out of the kernel, for initializers that scale with
                them. Defaults to `shape`.

        Raises:
            ValueError: If a rank is above `min(n, m)`.
        """
        limit = min(shape)
        for name, value in (("rank", self._initial_rank), ("max_rank", self.max_rank)):
            if value is not None and value > limit:
                raise ValueError(
                    f"`{name}` must be at most min(n, m) = {limit} for a kernel "
                    f"of shape {shape}. Received: {name}={value}"
                )
        self._shape = shape
        self._factor_regularizer = regularizer
        self._add_variables(
            self._initial_rank,
            factor_initializers(
                initializer, shape, self._initial_rank, kernel_shape, unfold, fans
            ),
        )

    def multiply(self, x: Tensor) -> Tensor:
        """`x W` for `x: (..., n)`, shape `(..., m)`."""
        self.remember_model()
        shape = ops.shape(x)
        if len(shape) > 2:
            x = ops.reshape(x, (-1, shape[-1]))
        x = ops.cast(x, self.compute_dtype)
        y = record_product(self, x, low_rank_matmul(x, *self._operands()))
        return ops.reshape(y, (*shape[:-1], self._shape[1])) if len(shape) > 2 else y

    def look_up(self, indices: Tensor) -> Tensor:
        """The rows of `W` at integers `indices: (...)`, shape `(..., m)`."""
        self.remember_model()
        shape = ops.shape(indices)
        flat = ops.reshape(indices, (-1,))
        y = record_product(self, flat, low_rank_lookup(flat, *self._operands()))
        return ops.reshape(y, (*shape, self._shape[1]))

    def convolve(
        self, x: Tensor, convolution: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """The convolution of `x` with the columns of `W`, shape `(batch, ..., m)`.

        Args:
            x: The input of `convolution`.
            convolution: Convolves `x` with the filters in the columns of a matrix
                `(n, q)`, to `(batch, ..., q)`; linear in both. On TensorFlow `q` may be
                unknown during tracing. A layer that uses this overrides `coordinates`.
        """
        self.remember_model()
        y = low_rank_convolution(convolution, x, *self._operands())
        return record_product(self, x, y)

    def coordinates(self, x: Tensor, basis: Tensor) -> Tensor:
        """Multiplies a recorded input by `basis: (n, r)`.

        Args:
            x: The input of one of this layer's products, as it has recorded it.
            basis: `(n, r)`.

        Returns:
            `(batch, r)`, a row for each row of the output.
        """
        return x @ ops.cast(basis, x.dtype)

    def matrix(self) -> Tensor:
        """The represented matrix `U S Vᵀ`, dense."""
        record_other_use()
        return low_rank_matrix(*self._operands())

    @property
    def factors(self) -> Factors:
        """The factors `U`, `S`, `V` at the current rank, as NumPy arrays."""
        self._check_built()
        return without_padding(
            *(np.asarray(w.numpy()) for w in (self.u, self.s, self.v))
        )

    @factors.setter
    def factors(self, factors: Factors) -> None:
        self.set_factors(factors)

    @property
    def rank(self) -> int:
        """The current rank."""
        if not self.built:
            return self._initial_rank
        # Not stored beside the factors: users, checkpoints and JAX's stateless
        # functions may set these without updating it.
        return max(1, count_nonzero_columns(self.u))

    @property
    def capacity(self) -> int:
        """Number of columns of the variables that hold the factors."""
        return int(self.s.shape[0])

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """The shape `(n, m)` of the represented matrix."""
        return self._shape

    def outermost_models(self) -> list[keras.Model]:
        """The models that have called this layer, outermost ones only.

        Not a property: Keras saves and loads whatever it finds as an attribute.
        """
        return [h for h in list(self._holders) if isinstance(h, keras.Model)]

    def remember(self, holder: Any) -> None:
        """Registers a model or `LowRank` optimizer to be notified of new variables."""
        if holder not in self._holders:
            self._holders.add(holder)
            accept_any_rank(holder)

    def remember_model(self) -> None:
        """Registers the outermost model that is being called."""
        context = global_state.get_global_attribute("current_call_ctx")
        if context is not None and isinstance(context.entry_layer, keras.Model):
            self.remember(context.entry_layer)

    def set_factors(self, factors: Factors, capacity: int | None = None) -> None:
        """Replaces the factors, and the variables if their shape changes.

        Then the models that have called the layer rebuild their compiled functions, and
        the `LowRank` optimizers that train it get slots of the new shapes. Functions
        that a user has compiled must be compiled again; on TensorFlow they fail
        otherwise.

        Args:
            factors: NumPy arrays or tensors of matching shapes, rank `r`.
            capacity: Number of columns of the variables, at least `r`. Defaults to
                `r`. Columns beyond the rank are zero.
        """
        self._check_built()
        padded = padded_arrays(factors, self._shape, capacity)
        capacity = padded[1].shape[0]
        if capacity == self.capacity:
            for variable, value in zip((self.u, self.s, self.v), padded, strict=True):
                variable.assign(value)
            return
        old = (self.u, self.s, self.v)
        own = self._trainable_variables + self._non_trainable_variables
        others = [v for v in own if all(v is not factor for factor in old)]
        for variable in (*old, *others):
            self._untrack_variable(variable)
        self._tracker.unlock()
        with scope_of(self.u):
            self._add_variables(capacity, map(initializers.get, padded))
        for variable, before in zip((self.u, self.s, self.v), old, strict=True):
            variable._path = before._path
            variable.trainable = before.trainable
        for variable in others:
            # Tracked last, to keep the order of the weights.
            self._track_variable(variable)
        self._tracker.lock()
        for holder in list(self._holders):
            if isinstance(holder, keras.Model):
                outdate(holder)
            else:
                holder.follow()
        for variable in old:
            retire(variable)

    def set_weights(self, weights: list[Any]) -> None:
        """Sets all weights; factors may have any rank."""
        super().set_weights(make_room(self, weights))

    def save_own_variables(self, store: Any) -> None:
        # Saved at the current rank, whatever the capacity of the variables is.
        for name, value in zip("usv", self.factors, strict=True):
            store[name] = value
        if self.bias is not None:
            store["bias"] = self.bias.numpy()

    def load_own_variables(self, store: Any) -> None:
        factors = Factors(*(np.asarray(store[name]) for name in "usv"))
        rank = factors.s.shape[-1]
        room = max(rank, self.capacity) if self.keeps_room else rank
        self.set_factors(factors, room)
        if self.bias is not None:
            self.bias.assign(store["bias"])

    def get_config(self) -> dict[str, Any]:
        ranks = {
            "rank": self.rank,
            "tolerance": self.tolerance,
            "max_rank": self.max_rank,
        }
        return {**super().get_config(), **ranks}

    def _check_built(self) -> None:
        if not self.built:
            raise ValueError(
                "Factors need a layer that has been built, by a call or by `build`. "
                f"Received: layer {self.name!r}, which is not"
            )

    def _operands(self) -> tuple[Tensor, Tensor, Tensor, bool]:
        """The factors, and whether to leave out their columns of zeros."""
        # Values, since a custom gradient can't take variables.
        values = map(value_of, (self.u, self.s, self.v))
        u, s, v = (ops.cast(value, self.compute_dtype) for value in values)
        return u, s, v, self.computes_at_rank and dynamic_shapes()

    def _add_variables(self, capacity: int, initial: Iterable[Any]) -> None:
        features, units = self._shape
        shapes = [(features, capacity), (capacity, capacity), (units, capacity)]
        penalty = None if self._factor_regularizer is None else self._kernel_penalty
        for name, shape, initializer in zip("usv", shapes, initial, strict=True):
            # `add_weight` would make variables of another class.
            with keras.name_scope(self.name, caller=self):
                variable = Factor(
                    self,
                    initializer=initializer,
                    shape=shape,
                    dtype=self.variable_dtype,
                    name=name,
                )
            if name == "s":
                # One penalty a layer, which reads all three factors.
                variable.regularizer = penalty
            self._track_variable(variable)
            setattr(self, name, variable)

    def _kernel_penalty(self, s: Tensor) -> Tensor:
        u, s, v = (value_of(w) for w in (self.u, s, self.v))
        regularizer = self._factor_regularizer
        if type(regularizer) in (regularizers.L1, regularizers.L2, regularizers.L1L2):
            l1 = float(getattr(regularizer, "l1", 0.0))
            l2 = float(getattr(regularizer, "l2", 0.0))
            # Its gradient lies in the bases and has no component in new directions.
            return schatten_penalty(u, s, v, l1, l2)
        record_other_use()
        return regularizer(low_rank_matrix(u, s, v))
