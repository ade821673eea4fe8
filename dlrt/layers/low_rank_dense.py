"""A densely connected layer whose kernel has low rank."""

import weakref
from typing import Any

import keras
import numpy as np
from keras import activations, constraints, initializers, ops, regularizers
from keras.src.backend.common import global_state  # who calls, not exported by Keras

from dlrt._shapes import dynamic_shapes
from dlrt.factors import Factors
from dlrt.layers._galerkin import low_rank_matmul, represented, schatten_penalty
from dlrt.layers._initializers import factor_initializers
from dlrt.layers._recording import record_other_use, record_product
from dlrt.linalg import basis_rank

Tensor = Any


@keras.saving.register_keras_serializable(package="dlrt")
class LowRankDense(keras.layers.Layer):
    """`keras.layers.Dense` with a kernel of low rank, `activation(x U S Vᵀ + b)`.

    The kernel `W: (n, units)` is kept as `U: (n, r)`, `S: (r, r)` and `V: (units, r)`
    with orthonormal `U` and `V`, and never formed. Compile the model with
    `dlrt.optimizers.LowRank`, which keeps it so; any other optimizer would treat the
    Galerkin gradients of this layer as ordinary gradients, and refuses nothing.

    A layer costs less than a dense one below rank `n * units / (n + units)`.

    Args:
        units: Positive integer, dimensionality of the output space.
        activation: Activation function. Defaults to none (linear).
        use_bias: Whether the layer has a bias.
        kernel_initializer: Initializer of the kernel. For one that draws independent
            entries (Glorot, He, LeCun, random normal or uniform) the bases are random
            orthonormal and `S = σ I`, with `σ` such that the outputs have the variance
            that they have in a `Dense` layer. For any other, the dense kernel is drawn
            once and approximated by truncated SVD.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the represented kernel `W = U S Vᵀ`. `L2`
            is `l2 ‖W‖_F² = l2 ‖S‖_F²`, the same number as for a dense kernel. `L1`
            acts on the singular values of `W`, `l1 Σ σ_j` (the nuclear norm), since
            an entrywise norm would need the dense product and says nothing about
            rank. `L1L2` is the sum of both. Any other regularizer is applied to the
            dense kernel, at the cost of forming it.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Must be `None`: a projection of the entries of the kernel
            would not keep its rank.
        bias_constraint: Constraint of the bias.
        rank: Positive integer, the rank of the kernel, at most `min(n, units)`; the
            starting rank if the rank is adaptive.
        tolerance: Float in `(0, 1)`, the relative truncation tolerance of this layer;
            overrides that of the optimizer. Defaults to the optimizer's.
        max_rank: Upper bound of the rank when it is adaptive, at least `rank` and at
            most `min(n, units)`; overrides that of the optimizer.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        `(batch, ..., n)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If an argument is outside of its range; for ranks above
            `min(n, units)` when the layer is built.

    Example:

    >>> layer = dlrt.layers.LowRankDense(500, rank=40, activation="relu")
    >>> tuple(layer(np.ones((2, 784), "float32")).shape)
    (2, 500)

    References:
        - Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
          arXiv:2205.13571.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        rank: int,
        tolerance: float | None = None,
        max_rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_positive_integer("units", units)
        check_positive_integer("rank", rank)
        if tolerance is not None and not 0 < tolerance < 1:
            raise ValueError(
                f"`tolerance` must lie in (0, 1). Received: tolerance={tolerance}"
            )
        if max_rank is not None:
            check_positive_integer("max_rank", max_rank)
            if max_rank < rank:
                raise ValueError(
                    "`max_rank` must be at least `rank`. Received: "
                    f"max_rank={max_rank}, rank={rank}"
                )
        if kernel_constraint is not None:
            raise ValueError(
                "`kernel_constraint` must be None: a constraint on the entries of the "
                "kernel does not keep its rank. Received: "
                f"kernel_constraint={kernel_constraint}"
            )
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = units
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)
        self.tolerance = tolerance
        self.max_rank = max_rank
        self._initial_rank = rank
        # Set while columns may be padding. With dynamic shapes, it then costs nothing.
        self.computes_at_rank = False
        self._outermost_model: weakref.ref | None = None
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True
        # XLA has no kernel for a determinant and no shapes known at run time only,
        # which a training step needs on TensorFlow. JAX has other ways for both.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                "The last dimension of the input must be known. Received: "
                f"input_shape={input_shape}"
            )
        limit = min(features, self.units)
        for name, value in (("rank", self._initial_rank), ("max_rank", self.max_rank)):
            if value is not None and value > limit:
                raise ValueError(
                    f"`{name}` must be at most min(n, units) = {limit} for a kernel "
                    f"of shape ({features}, {self.units}). Received: {name}={value}"
                )
        self._shape = (features, self.units)
        self._add_factors(
            self._initial_rank,
            factor_initializers(
                self.kernel_initializer, self._shape, self._initial_rank
            ),
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})
        self.built = True

    @property
    def factors(self) -> Factors:
        """The factors `U`, `S`, `V` at the current rank, as NumPy arrays."""
        u, s, v = (np.asarray(w.numpy()) for w in (self.u, self.s, self.v))
        rank = _used_columns(u)
        return Factors(u[:, :rank], s[:rank, :rank], v[:, :rank])

    @factors.setter
    def factors(self, factors: Factors) -> None:
        self.set_factors(factors)

    @property
    def rank(self) -> int:
        """The current rank."""
        return _used_columns(self.u.numpy()) if self.built else self._initial_rank

    @property
    def capacity(self) -> int:
        """Number of columns of the variables that hold the factors."""
        return int(self.s.shape[0])

    @property
    def kernel_shape(self) -> tuple[int, int]:
        """The shape `(n, units)` of the represented kernel."""
        return self._shape

    @property
    def kernel(self) -> Tensor:
        """The represented kernel `U S Vᵀ`, a dense `(n, units)` tensor."""
        record_other_use()
        return represented(*self._tensors())

    def outermost_model(self) -> keras.Model | None:
        """The outermost model that has called this layer last, if any.

        No property: Keras takes what it finds as attributes for parts to save and load.
        """
        return None if self._outermost_model is None else self._outermost_model()

    def set_factors(self, factors: Factors, capacity: int | None = None) -> None:
        """Replaces the factors, and the variables if their shape changes.

        A compiled function of a model that holds the layer keeps the old variables;
        inside of a model use `dlrt.resize`, which sees to that and to the optimizer.

        Args:
            factors: NumPy arrays or tensors of matching shapes, rank `r`.
            capacity: Number of columns of the variables, at least `r`. Defaults to
                `r`. Columns beyond the rank are zero.
        """
        arrays = [np.asarray(ops.convert_to_numpy(factor)) for factor in factors]
        rank = arrays[1].shape[0]
        capacity = rank if capacity is None else capacity
        expected = [(self._shape[0], rank), (rank, rank), (self._shape[1], rank)]
        if [a.shape for a in arrays] != expected or capacity < rank:
            raise ValueError(
                f"`factors` of a kernel of shape {self._shape} must have shapes "
                f"(n, r), (r, r), (units, r) with r at most capacity={capacity}. "
                f"Received shapes: {[a.shape for a in arrays]}"
            )
        extra = capacity - rank
        padded = [
            np.pad(arrays[0], [(0, 0), (0, extra)]),
            np.pad(arrays[1], [(0, extra), (0, extra)]),
            np.pad(arrays[2], [(0, 0), (0, extra)]),
        ]
        if capacity == self.capacity:
            for variable, value in zip((self.u, self.s, self.v), padded, strict=True):
                variable.assign(value)
            return
        old = (self.u, self.s, self.v)
        paths = [variable._path for variable in old]
        for variable in (*old, *([] if self.bias is None else [self.bias])):
            self._untrack_variable(variable)
        self._tracker.unlock()
        self._add_factors(capacity, [_constant(value) for value in padded])
        for variable, path in zip((self.u, self.s, self.v), paths, strict=True):
            variable._path = path
        if self.bias is not None:
            # Tracked last, so that the order of the weights stays the same.
            self._track_variable(self.bias)
        self._tracker.lock()

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        context = global_state.get_global_attribute("current_call_ctx")
        if context is not None and isinstance(context.entry_layer, keras.Model):
            self._outermost_model = weakref.ref(context.entry_layer)
        x = inputs
        shape = ops.shape(inputs)
        if len(shape) > 2:
            x = ops.reshape(x, (-1, shape[-1]))
        x = ops.cast(x, self.compute_dtype)
        x = record_product(self, x, low_rank_matmul(x, *self._tensors()))
        if len(shape) > 2:
            x = ops.reshape(x, (*shape[:-1], self.units))
        if self.bias is not None:
            x = ops.add(x, ops.cast(self.bias, x.dtype))
        if self.activation is not None:
            x = self.activation(x)
        return x

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)

    def save_own_variables(self, store: Any) -> None:
        # Saved at the current rank, whatever the capacity of the variables is.
        for name, value in zip("usv", self.factors, strict=True):
            store[name] = value
        if self.bias is not None:
            store["bias"] = self.bias.numpy()

    def load_own_variables(self, store: Any) -> None:
        self.set_factors(Factors(*(np.asarray(store[name]) for name in "usv")))
        if self.bias is not None:
            self.bias.assign(store["bias"])

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            units=self.units,
            activation=activations.serialize(self.activation),
            use_bias=self.use_bias,
            kernel_initializer=initializers.serialize(self.kernel_initializer),
            bias_initializer=initializers.serialize(self.bias_initializer),
            kernel_regularizer=regularizers.serialize(self.kernel_regularizer),
            bias_regularizer=regularizers.serialize(self.bias_regularizer),
            activity_regularizer=regularizers.serialize(self.activity_regularizer),
            bias_constraint=constraints.serialize(self.bias_constraint),
            rank=self.rank,
            tolerance=self.tolerance,
            max_rank=self.max_rank,
        )
        return config

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        # A copy, because a custom gradient must not be handed live variables.
        u, s, v = (
            ops.copy(ops.cast(variable, self.compute_dtype))
            for variable in (self.u, self.s, self.v)
        )
        if self.computes_at_rank and dynamic_shapes():
            rank = basis_rank(u)
            features, units = self._shape
            # The gradient of `[]` takes several times as long as the padding of these.
            u, s, v = (
                ops.slice(factor, (0, 0), (rows, rank))
                for factor, rows in ((u, features), (s, rank), (v, units))
            )
        return u, s, v

    def _add_factors(self, capacity: int, factor_initializers: Any) -> None:
        """Makes the variables `u`, `s` and `v`."""
        features, units = self._shape
        shapes = [(features, capacity), (capacity, capacity), (units, capacity)]
        penalty = None if self.kernel_regularizer is None else self._kernel_penalty
        for name, shape, initializer in zip(
            "usv", shapes, factor_initializers, strict=True
        ):
            variable = self.add_weight(
                name=name,
                shape=shape,
                initializer=initializer,
                # One penalty a layer: it hangs on `s` and reads all three factors.
                regularizer=penalty if name == "s" else None,
            )
            variable.low_rank_layer = weakref.ref(self)
            setattr(self, name, variable)

    def _kernel_penalty(self, s: Tensor) -> Tensor:
        u, s, v = (ops.copy(ops.convert_to_tensor(w)) for w in (self.u, s, self.v))
        regularizer = self.kernel_regularizer
        if type(regularizer) in (regularizers.L1, regularizers.L2, regularizers.L1L2):
            l1 = float(getattr(regularizer, "l1", 0.0))
            l2 = float(getattr(regularizer, "l2", 0.0))
            # Its gradient lies in the bases, so it has no part in new directions.
            return schatten_penalty(u, s, v, l1, l2)
        record_other_use()
        return regularizer(represented(u, s, v))


def check_positive_integer(name: str, value: Any) -> None:
    """Raises a ValueError that names the argument unless it is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value}"
        )


def _constant(value: np.ndarray) -> Any:
    return lambda shape, dtype=None: ops.convert_to_tensor(value, dtype=dtype)


def _used_columns(basis: np.ndarray) -> int:
    """The rank that a basis padded with zero columns stands for."""
    return max(1, int(np.count_nonzero(np.any(basis != 0, axis=0))))
