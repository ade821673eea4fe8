"""The low-rank layers, each beside the Keras layer that it stands for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradients
import keras
import numpy as np
from conftest import as_program

from dlrt.layers import (
    LowRankConv1D,
    LowRankConv2D,
    LowRankDense,
    LowRankEinsumDense,
    LowRankEmbedding,
    LowRankMultiHeadAttention,
)

array = gradients.array


@dataclass(frozen=True)
class Case:
    """A low-rank layer and how it is called.

    Attributes:
        low_rank: Its type.
        keras: The type of the Keras layer.
        arguments: Arguments of both.
        full: The largest ranks.
        shapes: Shapes of the inputs.
        call: Arguments of a call beside them.
        vocabulary: Inputs are integers below this; 0 for real numbers.
    """

    low_rank: type
    keras: type
    arguments: dict[str, Any]
    full: int | dict[str, int]
    shapes: tuple[tuple[int, ...], ...]
    call: dict[str, Any] = field(default_factory=dict)
    vocabulary: int = 0

    @property
    def kernel(self) -> str:
        """What the arguments call the kernel."""
        return "embeddings" if self.low_rank is LowRankEmbedding else "kernel"

    def inputs(self, seed: int = 0, dtype: str = "float32") -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        if self.vocabulary:
            sizes = self.shapes
            return [rng.integers(0, self.vocabulary, s, dtype="int32") for s in sizes]
        return [rng.normal(size=shape).astype(dtype) for shape in self.shapes]

    def symbols(self, known: int) -> list[keras.KerasTensor]:
        """Symbolic inputs whose axes but the last `known` ones have no known length."""
        dtype = "int32" if self.vocabulary else "float32"
        return [
            keras.Input(
                batch_shape=(None,) * (len(shape) - known)
                + shape[len(shape) - known :],
                dtype=dtype,
            )
            for shape in self.shapes
        ]

    def function(self, layer: keras.layers.Layer) -> Callable:
        """A layer as a function of its inputs, on JAX a single program."""
        return as_program(lambda *inputs: layer(*inputs, **self.call))

    def _build(self, layer: keras.layers.Layer) -> None:
        inputs: list[Any] = self.inputs()
        if keras.backend.backend() == "jax":
            # Nothing is compiled for symbols.
            inputs = [keras.KerasTensor(x.shape, x.dtype) for x in inputs]
        layer(*inputs, **self.call)

    def make(self, rank: Any = None, **arguments: Any) -> keras.layers.Layer:
        """The low-rank layer, built."""
        rank = self.full if rank is None else rank
        layer = self.low_rank(**self.arguments, **arguments, rank=rank)
        self._build(layer)
        rng = np.random.default_rng(7)
        for part in parts(layer):
            if part.bias is not None:
                part.bias.assign(rng.normal(size=part.bias.shape))
        return layer

    def make_keras(self, like: keras.layers.Layer, **arguments: Any) -> Any:
        """The Keras layer with the kernels and biases of a low-rank one."""
        layer = self.keras(**self.arguments, **arguments)
        self._build(layer)
        for part, other in zip(parts(like), parts(layer), strict=True):
            if self.kernel == "embeddings":
                other.embeddings.assign(part.embeddings)
                continue
            other.kernel.assign(part.kernel)
            if part.bias is not None:
                other.bias.assign(part.bias)
        return layer


def parts(layer: keras.layers.Layer) -> list[Any]:
    """The layers with a kernel that a layer consists of."""
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return [layer]
    gate = [layer._gate_dense] if layer._use_gate else []
    projections = [layer.query_dense, layer.key_dense, *gate, layer.value_dense]
    return [*projections, layer.output_dense]


def gradients_of(
    layer: keras.layers.Layer, case: Case, inputs: list, loss: Callable
) -> dict[int, np.ndarray]:
    """Gradients of `loss(layer(inputs))` by the id of the variable."""
    variables = layer.trainable_variables
    if keras.backend.backend() == "jax":
        import jax

        def value(values: list) -> Any:
            state = [v.value for v in layer.non_trainable_variables]
            y, _ = layer.stateless_call(values, state, *inputs, **case.call)
            return loss(y)

        found = jax.jit(jax.grad(value))([v.value for v in variables])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(layer(*inputs, **case.call))
        found = tape.gradient(value, [v.value for v in variables])
        found = [tf.convert_to_tensor(g) for g in found]
    return {id(v): array(g) for v, g in zip(variables, found, strict=True)}


def _dense(**changes: Any) -> Case:
    return Case(LowRankDense, keras.layers.Dense, **changes)


def _einsum(equation: str, output: Any, shape: tuple, full: int, **more: Any) -> Case:
    arguments = {"equation": equation, "output_shape": output, **more}
    return Case(LowRankEinsumDense, keras.layers.EinsumDense, arguments, full, (shape,))


def _conv(
    axes: int, shape: tuple, full: int, filters: int = 6, size: Any = 3, **more: Any
) -> Case:
    low_rank, plain = {
        1: (LowRankConv1D, keras.layers.Conv1D),
        2: (LowRankConv2D, keras.layers.Conv2D),
    }[axes]
    arguments = {"filters": filters, "kernel_size": size, **more}
    return Case(low_rank, plain, arguments, full, (shape,))


def _attention(
    *shapes: tuple[int, ...],
    full: int | dict[str, int] = 6,
    call: dict | None = None,
    **arguments: Any,
) -> Case:
    sizes = {"num_heads": 2, "key_dim": 3, **arguments}
    return Case(
        LowRankMultiHeadAttention,
        keras.layers.MultiHeadAttention,
        sizes,
        full,
        shapes,
        call or {},
    )


_MASK = np.random.default_rng(1).integers(0, 2, (2, 4, 5)).astype(bool) | np.eye(
    4, 5, dtype=bool
)
_X, _MEMORY = (2, 4, 8), (2, 5, 8)

CASES = {
    "dense": _dense(arguments={"units": 5}, full=5, shapes=((4, 6),)),
    "dense, sequence": _dense(
        arguments={"units": 7, "activation": "tanh"}, full=6, shapes=((2, 3, 6),)
    ),
    "einsum, matrix": _einsum("ab,bc->ac", 5, (4, 6), 5, bias_axes="c"),
    "einsum, to heads": _einsum(
        "abc,cde->abde", (None, 2, 4), (2, 3, 6), 6, bias_axes="de"
    ),
    "einsum, from heads": _einsum(
        "abcd,cde->abe", (None, 7), (2, 3, 2, 3), 6, bias_axes="e", activation="relu"
    ),
    "einsum, one bias axis": _einsum(
        "abc,cde->abde", (3, 2, 4), (2, 3, 6), 6, bias_axes="d"
    ),
    "einsum, ellipsis in front": _einsum(
        "...x,xy->...y", 5, (2, 3, 2, 6), 5, bias_axes="y"
    ),
    "einsum, ellipsis behind": _einsum(
        "ab...,bc->ac...", 5, (2, 6, 3, 2), 5, bias_axes="c"
    ),
    "einsum, permuted output": _einsum("abc,dc->adb", (5, 3), (2, 3, 6), 5),
    "einsum, permuted kernel": _einsum(
        "abcd,ecfd->abfe", (3, 4, 2), (2, 3, 2, 5), 8, bias_axes="fe"
    ),
    "einsum, sum within": _einsum("abc,bd->acd", (6, 5), (2, 4, 6), 4, bias_axes="d"),
    "conv": _conv(2, (2, 6, 5, 3), 6),
    "conv, wide": _conv(2, (2, 6, 5, 1), 9, filters=12),
    "conv, same": _conv(
        2, (2, 6, 5, 3), 6, size=(3, 2), padding="same", activation="tanh"
    ),
    "conv, strides": _conv(2, (2, 7, 8, 3), 6, strides=(2, 3)),
    "conv, strides, same": _conv(2, (2, 7, 8, 3), 6, strides=2, padding="same"),
    "conv, dilated": _conv(
        2, (2, 8, 7, 3), 6, dilation_rate=(2, 1), padding="same", use_bias=False
    ),
    "conv, a point": _conv(2, (2, 4, 5, 7), 6, size=1),
    "conv, one axis": _conv(1, (2, 7, 4), 6),
    "conv, one axis, strides": _conv(1, (2, 9, 4), 6, strides=2, padding="same"),
    "conv, causal": _conv(
        1, (2, 9, 4), 6, size=2, padding="causal", dilation_rate=3, activation="relu"
    ),
    "embedding": Case(
        LowRankEmbedding,
        keras.layers.Embedding,
        {"input_dim": 9, "output_dim": 6},
        6,
        ((3, 5),),
        vocabulary=9,
    ),
    "embedding, no sequence": Case(
        LowRankEmbedding,
        keras.layers.Embedding,
        {"input_dim": 4, "output_dim": 6},
        4,
        ((3,),),
        vocabulary=4,
    ),
    "attention, self": _attention(_X, _X),
    "attention, cross": _attention(
        _X, (2, 5, 7), (2, 5, 3), full={"query": 6, "key": 3, "value": 6, "output": 6}
    ),
    "attention, causal": _attention(_X, _X, call={"use_causal_mask": True}),
    "attention, masked": _attention(_X, _MEMORY, call={"attention_mask": _MASK}),
    "attention, gate and value_dim": _attention(
        _X,
        _MEMORY,
        value_dim=2,
        use_gate=True,
        # Without it Keras on JAX takes a way that has no other `value_dim`.
        dropout=0.1,
        full={"query": 6, "key": 6, "value": 4, "output": 4, "gate": 4},
    ),
    "attention, output_shape": _attention(_X, _MEMORY, output_shape=(3, 4)),
    "attention, window": _attention(_X, _X, sliding_window=2, use_bias=False),
    "attention, dropout": _attention(_X, _X, dropout=0.5, seed=3),
    "attention, two axes": _attention((2, 3, 4, 8), (2, 3, 4, 8), attention_axes=(2,)),
}

# One of each kind, and what is most of its own.
QUICK = (
    "dense, sequence",
    "einsum, permuted kernel",
    "conv, dilated",
    "conv, causal",
    "embedding",
    "attention, cross",
    "attention, masked",
)
