"""Recurrent layers whose products with kernels are layers."""

import abc
from collections.abc import Callable
from typing import Any

import keras
from keras import ops
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell  # not exported

Tensor = Any
Shape = tuple[int | None, ...]


class _Cell(keras.layers.Layer, DropoutRNNCell, abc.ABC):
    """A step of a recurrent layer of Keras, without the product with the input."""

    # How many parts its products and its state have.
    gates: int
    states: int

    def __init__(self, layer: Any, projection: keras.layers.Layer) -> None:
        super().__init__(
            name=layer.cell.name, dtype=layer.dtype_policy, trainable=layer.trainable
        )
        self.units = layer.units
        self.state_size = [layer.units] * self.states
        self.output_size = layer.units
        self.activation = layer.activation
        # Gate activation; SimpleRNN has none.
        self.recurrent_activation: Callable[[Tensor], Tensor] = getattr(
            layer, "recurrent_activation", layer.activation
        )
        self.projection = projection
        # Dropout of the input can't be left to `keras.layers.RNN`, which sees the
        # products instead of the input.
        self.dropout = 0.0
        self.recurrent_dropout = layer.recurrent_dropout
        # One mask for each gate.
        self.dropout_mask_count = self.gates
        self.seed_generator = keras.random.SeedGenerator(layer.cell.seed)

    def build(self, input_shape: Shape) -> None:
        if not self.projection.built:
            self.projection.build((None, self.units))
        self.built = True

    def call(
        self, inputs: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        masks = None
        if training and 0 < self.recurrent_dropout < 1:
            masks = self.get_recurrent_dropout_mask(states[0])
        states = self.step(inputs, project(self.projection, states[0], masks), states)
        return states[0], states

    @abc.abstractmethod
    def step(self, x: Tensor, y: Tensor, states: list[Tensor]) -> list[Tensor]:
        """The next states, from the products with the input and with the state."""


class _SimpleRNNCell(_Cell):
    gates = 1
    states = 1

    def step(self, x: Tensor, y: Tensor, states: list[Tensor]) -> list[Tensor]:
        return [self.activation(x + y)]


class _LSTMCell(_Cell):
    gates = 4
    states = 2

    def step(self, x: Tensor, y: Tensor, states: list[Tensor]) -> list[Tensor]:
        taken, kept, new, shown = ops.split(x + y, 4, axis=-1)
        taken, kept, shown = map(self.recurrent_activation, (taken, kept, shown))
        carry = kept * states[1] + taken * self.activation(new)
        return [shown * self.activation(carry), carry]


class _GRUCell(_Cell):
    gates = 3
    states = 1

    def step(self, x: Tensor, y: Tensor, states: list[Tensor]) -> list[Tensor]:
        x_kept, x_reset, x_new = ops.split(x, 3, axis=-1)
        y_kept, y_reset, y_new = ops.split(y, 3, axis=-1)
        kept = self.recurrent_activation(x_kept + y_kept)
        reset = self.recurrent_activation(x_reset + y_reset)
        new = self.activation(x_new + reset * y_new)
        return [kept * states[0] + (1 - kept) * new]


_CELLS: dict[type[keras.layers.Layer], type[_Cell]] = {
    keras.layers.SimpleRNN: _SimpleRNNCell,
    keras.layers.LSTM: _LSTMCell,
    keras.layers.GRU: _GRUCell,
}
RECURRENT = tuple(_CELLS)


@keras.saving.register_keras_serializable(package="dlrt")
class ProjectedRNN(keras.layers.RNN):
    """A Keras recurrent layer whose products with its kernels are layers.

    The product with the input is computed for the whole sequence at once, before the
    recurrence, the product with the state at every step. With `Dense` layers this
    equals the Keras layer; `dlrt.compress` makes it smaller by replacing them with
    layers that hold factors.

    Masks, states, dropout and what is returned are those of `keras.layers.RNN`. It
    can't use cuDNN's fused loop, which runs `LSTM` and `GRU` on a GPU under TensorFlow.

    Args:
        layer: A `SimpleRNN`, an `LSTM` or a `GRU` with `reset_after=True`, which
            provides everything but the products: units, activations, dropout, what is
            returned. It need not be built and is not kept.
        input_projection: A layer from `(batch, time, features)` to
            `(batch, time, gates · units)`, of the 1, 4 or 3 gates of these, as the
            layer of Keras has them, with their bias.
        recurrent_projection: A layer from `(batch, units)` to `(batch, gates · units)`,
            with the second bias of a `GRU`.
        **kwargs: Arguments of `keras.layers.Layer`, in place of those of `layer`.

    Attributes:
        input_projection: The product with the input.
        recurrent_projection: The product with the state.

    Input shape:
        `(batch, time, features)`.

    Output shape:
        As for `layer`.

    Raises:
        ValueError: If `layer` is of another kind; when the layer is built, if a
            projection gives another number of channels.

    Example:

    >>> layer = dlrt.layers.ProjectedRNN(
    ...     keras.layers.LSTM(32),
    ...     keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(128)]),
    ...     keras.layers.Dense(128, use_bias=False))
    >>> tuple(layer(np.ones((2, 7, 16), "float32")).shape)
    (2, 32)
    """

    def __init__(
        self,
        layer: Any,
        input_projection: keras.layers.Layer,
        recurrent_projection: keras.layers.Layer,
        **kwargs: Any,
    ) -> None:
        why_not = obstacle(layer)
        if why_not is not None:
            raise ValueError(
                "`layer` must be a SimpleRNN, an LSTM or a GRU whose products are with "
                f"its input and its state. Received: {layer}, which {why_not}"
            )
        common = {
            "name": layer.name,
            "dtype": layer.dtype_policy,
            "trainable": layer.trainable,
            "activity_regularizer": layer.activity_regularizer,
        }
        super().__init__(
            _CELLS[type(layer)](layer, recurrent_projection),
            return_sequences=layer.return_sequences,
            return_state=layer.return_state,
            go_backwards=layer.go_backwards,
            stateful=layer.stateful,
            unroll=layer.unroll,
            zero_output_for_mask=layer.zero_output_for_mask,
            **{**common, **kwargs},
        )
        self.input_projection = input_projection
        self.dropout = layer.dropout
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self._original = keras.saving.serialize_keras_object(layer)

    @property
    def layer(self) -> Any:
        """A new Keras layer like the one from which this was made."""
        return keras.saving.deserialize_keras_object(dict(self._original))

    @property
    def recurrent_projection(self) -> keras.layers.Layer:
        return self.cell.projection

    @property
    def projections(self) -> tuple[keras.layers.Layer, keras.layers.Layer]:
        """The product with the input, and that with the state."""
        return self.input_projection, self.recurrent_projection

    @property
    def units(self) -> int:
        return self.cell.units

    def build(self, sequences_shape: Shape, initial_state_shape: Any = None) -> None:
        # Of any length, so that the layer can be used for several lengths.
        sequences = (None, None, sequences_shape[-1])
        if not self.input_projection.built:
            self.input_projection.build(sequences)
        super().build(sequences_shape, initial_state_shape)
        shapes = {
            "input_projection": sequences,
            "recurrent_projection": (None, self.units),
        }
        for name, shape in shapes.items():
            wanted = (*shape[:-1], self.cell.gates * self.units)
            found = tuple(getattr(self, name).compute_output_shape(shape))
            if found != wanted:
                raise ValueError(
                    f"`{name}` must make {wanted} of {shape}. "
                    f"Received: a layer that makes {found} of it"
                )
        self.built = True

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
    ) -> Any:
        masks = None
        if training and 0 < self.dropout < 1:
            # One mask for all gates unless the state has one for each, as in Keras.
            count = self.cell.gates if self.cell.recurrent_dropout else 1
            ones = ops.ones_like(sequences[:, :1])
            seed = self.cell.seed_generator
            masks = [
                keras.random.dropout(ones, self.dropout, seed=seed)
                for _ in range(count)
            ]
        products = project(self.input_projection, sequences, masks)
        return super().call(
            products, initial_state=initial_state, mask=mask, training=training
        )

    def get_config(self) -> dict[str, Any]:
        layers = {
            "input_projection": self.input_projection,
            "recurrent_projection": self.recurrent_projection,
        }
        return {
            "name": self.name,
            "trainable": self.trainable,
            "layer": dict(self._original),
            **{k: keras.saving.serialize_keras_object(it) for k, it in layers.items()},
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "ProjectedRNN":
        layers = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("layer", "input_projection", "recurrent_projection")
        }
        return cls(**{**config, **layers})


def project(
    projection: keras.layers.Layer, x: Tensor, masks: list[Tensor] | None
) -> Tensor:
    """The product with `x`, with dropout masks: one for all gates or one for each."""
    if masks is None:
        return projection(x)
    if len(masks) == 1:
        return projection(x * masks[0])
    parts = [
        ops.split(projection(x * mask), len(masks), axis=-1)[gate]
        for gate, mask in enumerate(masks)
    ]
    return ops.concatenate(parts, axis=-1)


def obstacle(layer: Any) -> str | None:
    """Why a layer can't be a `ProjectedRNN`, `None` if it can."""
    if type(layer) not in RECURRENT:
        return f"is of type {type(layer).__name__}"
    if not getattr(layer, "reset_after", True):
        return "has `reset_after=False`, and its kernel multiplies a gated state"
    if isinstance(layer, keras.layers.GRU) and layer.bias_constraint is not None:
        return "has a `bias_constraint` of two biases in one"
    return None
